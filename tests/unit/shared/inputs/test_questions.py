from __future__ import annotations

import pytest

from lidr.components.shared.config.judge import JudgedTask
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.questions import (
    Question,
    digest_of_questions,
    read_questions,
    read_references,
)

LINES = '{"id": 1, "instruction": "Un ?"}\n\n{"id": "b", "prompt": "Deux ?", "reference": "2"}\n'
ARRAY = """\ufeff [
  {"id": 1,
   "instruction": "Un ?"},
  {"id": "b", "prompt": "Deux ?", "reference": "2"} ]
"""
WANTED = [Question("1", ("Un ?",)), Question("b", ("Deux ?",), "2")]


def task(folder, name: str = "care", **settings: object) -> JudgedTask:
    questions = str(folder / "{language}.json")
    return JudgedTask.model_validate({"name": name, "questions": questions, **settings})


def read(folder, text: str | bytes, name: str = "care", **settings: object) -> list[Question]:
    (folder / "fr.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_questions(task(folder, name, **settings), "fr")


@pytest.mark.parametrize("text", [LINES, ARRAY])
def test_an_array_and_lines_hold_the_same(tmp_path, text):
    assert read(tmp_path, text) == WANTED
    assert read(tmp_path, text, limit=1) == WANTED[:1]


def test_what_a_question_may_lack_may_also_be_empty(tmp_path):
    row = '{"question_id": 81, "turns": ["a", "b"], "reference": "", "criteria": ""}'
    assert read(tmp_path, row, "mt_bench") == [Question("81", ("a", "b"))]


def test_turns_are_for_conversations(tmp_path):
    row = '{"question_id": 81, "turns": ["a", "b"]}'
    assert read(tmp_path, row, "mt_bench") == [Question("81", ("a", "b"))]
    with pytest.raises(BadInput, match=r"fr.json:1: care takes one turn, not 2"):
        read(tmp_path, row)


def test_reference_may_be_one_for_each_turn_as_in_mt_bench_s_own_file(tmp_path):
    """FastChat's question 103 has none for its second turn."""
    turns = '{"question_id": 103, "turns": ["Why?", "Why is that interesting?"], "reference": '
    (found,) = read(tmp_path, turns + '["Thomas may work at a hospital.", ""]}', "mt_bench")
    assert [found.reference_to(turn) for turn in (0, 1)] == ["Thomas may work at a hospital.", ""]
    (found,) = read(tmp_path, turns + '"He may work there."}', "mt_bench")
    assert [found.reference_to(turn) for turn in (0, 1)] == ["He may work there."] * 2


def test_first_name_that_is_not_null_counts(tmp_path):
    row = '{"id": null, "question_id": 81, "turns": null, "instruction": null, "prompt": "a"}'
    assert read(tmp_path, row) == [Question("81", ("a",))]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, "nothing in the file"),
        ("[]", 0, "nothing in the file"),
        ('{"id": 1, "instruction": "x"}\n{"id": 1, "instruction": "y"}', 2, "'1' appears twice"),
        ('[{"id": 1, "instruction": "x"},\n\n {"id": 2}]', 3, "`instruction` is missing"),
        ('[{"id": 1, "instruction": "x"},\n 7]', 2, "not a JSON object"),
        ('[{"id": 1,\n "instruction": "x"},\n}]', 3, "not valid JSON"),
        ('{"id": true, "instruction": "x"}', 1, "no usable id"),
        ('{"instruction": "x"}', 1, "no usable id"),
        ('{"id": 1, "instruction": " "}', 1, "empty"),
        ('{"id": 1, "turns": []}', 1, "`turns` is not a list"),
        ('{"id": 1, "turns": ["a", 2]}', 1, "`turns` is not a list"),
        ('{"id": 1, "prompt": "x", "reference": ["y", "z"]}', 1, "not a list of 1 texts"),
        ('{"id": 1, "prompt": "x", "reference": [2]}', 1, "not a list of 1 texts"),
        ('{"id": 1, "prompt": "x", "reference": [" "]}', 1, "not a list of 1 texts"),
        (b'{"id": 1, "instruction": "\xff"}', 1, "not UTF-8"),
        (b'[\n{"id": 1, "instruction": "\xff"}]', 2, "not UTF-8"),
    ],
)
def test_bad_files_are_told_with_their_line(tmp_path, text, line, words):
    with pytest.raises(BadInput, match=words) as caught:
        read(tmp_path, text)
    assert caught.value.line == line
    assert caught.value.file.endswith("fr.json")
    assert caught.value.remedy


def test_an_empty_reference_answer_is_refused(tmp_path):
    path = tmp_path / "ref.fr.jsonl"
    path.write_text('{"id": 1, "response": "Oui."}\n{"id": 2, "response": ""}\n')
    references = str(tmp_path / "ref.{language}.jsonl")
    with pytest.raises(BadInput, match=r"ref.fr.jsonl:2: `response` is missing"):
        read_references(task(tmp_path, "x_alpacaeval", references=references), "fr")


def test_the_digest_follows_what_is_asked_and_not_how_it_is_written(tmp_path):
    read(tmp_path, LINES)
    first = digest_of_questions(task(tmp_path), "fr")
    read(tmp_path, ARRAY)
    assert digest_of_questions(task(tmp_path), "fr") == first
    assert digest_of_questions(task(tmp_path, limit=1), "fr") != first


def test_digest_names_the_answers_and_judgements_that_are_on_stores(tmp_path):
    read(tmp_path, LINES)
    assert digest_of_questions(task(tmp_path), "fr")[:16] == "a7b0990c51918dcf"


def test_digest_of_what_is_asked_leaves_out_what_only_the_judge_sees(tmp_path):
    plain = '{"id": 1, "instruction": "Un ?"}\n'
    read(tmp_path, plain)
    whole = digest_of_questions(task(tmp_path), "fr")
    asked = digest_of_questions(task(tmp_path), "fr", asked=True)
    for more in ('"reference": "1"', '"criteria": "court"'):
        read(tmp_path, plain.replace("}", f", {more}}}"))
        assert digest_of_questions(task(tmp_path), "fr", asked=True) == asked
        assert digest_of_questions(task(tmp_path), "fr") != whole
    read(tmp_path, plain.replace("Un", "Deux"))
    assert digest_of_questions(task(tmp_path), "fr", asked=True) != asked


def test_a_hub_file_must_be_pinned(tmp_path):
    settings = {"name": "care", "questions": "hf://org/care#{language}.json"}
    with pytest.raises(BadInput, match="no revision and file"):
        read_questions(JudgedTask.model_validate(settings), "fr")
