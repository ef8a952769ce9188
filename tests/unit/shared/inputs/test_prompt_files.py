from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lidr.components.shared.config.prompts import Prompts
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import listening
from lidr.components.shared.inputs.fetched import source_stage
from lidr.components.shared.inputs.files import is_parquet, json_rows
from lidr.components.shared.inputs.prompt_files import (
    listed_tasks,
    load_prompt_file,
    load_prompts,
    note_of_unread,
    place_of,
    unread_fields,
)
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.local import LocalStore
from tests.fakes import make_recipe

GOOD = '{"prompt_id": "1", "text": "One"}\n{"prompt_id": "2", "text": "Two"}\n'


def write(folder: Path, data: str | bytes, name: str = "en.jsonl") -> str:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def parquet(**columns: list) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def load(file: str, **fields: str) -> list[Prompt]:
    return load_prompt_file(file, "en", Prompts(fields=fields))


def recipe_over(files: dict[str, str]) -> Recipe:
    return make_recipe(model={"source": "m0"}, prompts={"files": files})


def test_lines_become_prompts_in_their_order(tmp_path):
    assert load(write(tmp_path, GOOD)) == [Prompt("1", "en", "One"), Prompt("2", "en", "Two")]


def test_parquet_is_read_like_json_lines(tmp_path):
    data = parquet(prompt_id=["1", "2"], text=["One", "Two"])
    assert load(write(tmp_path, data, "en.parquet")) == load(write(tmp_path, GOOD))


def test_fields_may_have_other_names(tmp_path):
    row = {"id": 7, "instruction": "Ask", "gold": 12, "is_tr": True, "unused": []}
    found = load(
        write(tmp_path, json.dumps(row)),
        prompt_id="id",
        text="instruction",
        answer="gold",
        translation_task="is_tr",
    )
    assert found == [Prompt("7", "en", "Ask", "12", True)]


def test_blank_lines_windows_ends_and_a_byte_order_mark_are_no_fault(tmp_path):
    data = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n\r\n").encode()
    assert [prompt.prompt_id for prompt in load(write(tmp_path, data))] == ["1", "2"]


@pytest.mark.parametrize(
    "text", ["a\0b", "\u202e", "line\u2028line\r\nline", "👩‍👩‍👧", "x" * (1 << 20)]
)
def test_hostile_text_is_kept(tmp_path, text):
    for ascii_only in (True, False):
        row = json.dumps({"prompt_id": "1", "text": text + "."}, ensure_ascii=ascii_only)
        assert load(write(tmp_path, row))[0].text == text + "."


def test_lone_surrogates_are_replaced(tmp_path):
    [prompt] = load(write(tmp_path, '{"prompt_id": "\\ud800", "text": "a\\ud800"}'))
    assert (prompt.prompt_id, prompt.text) == ("\ufffd", "a\ufffd")


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (GOOD + '{"prompt_id": "3", "text": "Thr\n', 3, "not valid JSON"),
        (GOOD + "\n\nnonsense", 5, "not valid JSON"),
        (GOOD + "[" * 100_000, 3, "not valid JSON"),
        (GOOD + '["3", "Three"]', 3, "not a JSON object"),
        (GOOD.encode() + b'{"prompt_id": "3", "text": "\xff"}', 3, "byte 29 is not UTF-8"),
        (GOOD.encode("utf-16"), 1, "not UTF-8"),
        (GOOD + '{"prompt_id": "1", "text": "Again"}', 3, "'1' appears twice"),
        (GOOD + '{"prompt_id": 1, "text": "Again"}', 3, "'1' appears twice"),
        (GOOD + '{"text": "No id"}', 3, "'prompt_id' is missing"),
        (GOOD + '{"prompt_id": "", "text": "No id"}', 3, "'prompt_id' is missing, empty"),
        (GOOD + '{"prompt_id": true, "text": "No id"}', 3, "'prompt_id' is missing"),
        (GOOD + '{"prompt_id": "3"}', 3, "'text' is missing"),
        (GOOD + '{"prompt_id": "3", "text": " \\n "}', 3, "'text' is missing, empty"),
        (GOOD + '{"prompt_id": "3", "text": 3}', 3, "'text' is missing, empty or not text"),
        (GOOD + '{"prompt_id": "3", "text": "x", "translation_task": "false"}', 3, "true nor"),
    ],
)
def test_a_broken_line_names_file_line_and_remedy(tmp_path, data, line, words):
    file = write(tmp_path, data)
    with pytest.raises(BadInput) as caught:
        load(file)
    assert words in caught.value.message
    assert (caught.value.file, caught.value.line) == (file, line)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert caught.value.remedy
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("data", "name"), [("", "en.jsonl"), ("\n\n", "en.jsonl")])
def test_an_empty_file_is_refused(tmp_path, data, name):
    with pytest.raises(BadInput, match=r"en\.jsonl: no prompts in the file\. Add"):
        load(write(tmp_path, data, name))


@pytest.mark.parametrize(
    ("value", "why"), [("", "Expecting value at column 7)"), ("9" * 5000, "Exceeds the limit")]
)
def test_a_broken_line_has_one_line_number(tmp_path, value, why):
    file = write(tmp_path, GOOD + f'{{"a": {value}}}')
    with pytest.raises(BadInput) as caught:
        load(file)
    assert caught.value.message.startswith(f"{file}:3: not valid JSON ({why}")


def test_a_file_that_was_not_fetched_is_no_damage(tmp_path):
    stage = source_stage(LocalStore(tmp_path), {"files": "any"})
    stage.write("en.jsonl", GOOD.encode())
    place = stage.finish({})
    assert len(load(f"{place}/en.jsonl")) == 2
    with pytest.raises(BadInput, match=r"de\.jsonl: no such file\. Correct prompts\.files"):
        load(f"{place}/de.jsonl")


def test_an_empty_parquet_file_is_refused(tmp_path):
    file = write(tmp_path, parquet(prompt_id=[], text=[]), "en.parquet")
    with pytest.raises(BadInput, match="no prompts in the file"):
        load(file)


@pytest.mark.parametrize("data", [b"", b"PAR1 but not really PAR1", GOOD.encode()])
def test_what_is_no_parquet_is_refused(tmp_path, data):
    with pytest.raises(BadInput, match=r"en\.parquet: not a Parquet file"):
        load(write(tmp_path, data, "en.parquet"))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    data = bytearray(parquet(prompt_id=[str(n) for n in range(99)], text=["x" * 99] * 99))
    data[4:200] = b"\xff" * 196
    with pytest.raises(BadInput, match=r"en\.parquet: not a Parquet file"):
        load(write(tmp_path, bytes(data), "en.parquet"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"none\.jsonl: no such file\. Correct prompts\.files"):
        load(str(tmp_path / "none.jsonl"))
    with pytest.raises(BadInput, match="Is a directory"):
        load(str(tmp_path))


ALPACA = {"id": 1, "instruction": "Add the numbers.", "output": "5", "label": "math"}
ALPACA_FIELDS = {"prompt_id": "id", "text": "instruction", "answer": "output"}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"input": "2 and 3"}, "Add the numbers.\n2 and 3"),
        ({"input": ""}, "Add the numbers."),
        ({"input": None}, "Add the numbers."),
        ({}, "Add the numbers."),
    ],
)
def test_an_alpaca_file_s_input_follows_its_instruction(tmp_path, row, text):
    file = write(tmp_path, json.dumps(ALPACA | row))
    assert [prompt.text for prompt in load(file, **ALPACA_FIELDS)] == [text]
    table = parquet(id=["1"], instruction=["Add the numbers."], **{k: [v] for k, v in row.items()})
    fields = {"prompt_id": "id", "text": "instruction"}
    assert load(write(tmp_path, table, "en.parquet"), **fields)[0].text == text


def test_an_input_may_have_another_name_and_must_be_text(tmp_path):
    file = write(tmp_path, json.dumps(ALPACA | {"context": "2 and 3", "input": "?"}))
    assert load(file, **ALPACA_FIELDS, input="context")[0].text == "Add the numbers.\n2 and 3"
    file = write(tmp_path, json.dumps(ALPACA | {"input": ["2", "3"]}))
    with pytest.raises(BadInput, match="field 'input' is not text") as caught:
        load(file, **ALPACA_FIELDS)
    assert caught.value.line == 1


def test_fields_that_nothing_reads_are_named(tmp_path):
    rows = {code: json.dumps(ALPACA | {code: 1, "language": code}) for code in ("en", "es", "de")}
    files = {code: write(tmp_path, row, f"{code}.jsonl") for code, row in rows.items()}
    prompts = {"files": files, "fields": ALPACA_FIELDS}
    recipe, fields = make_recipe(model={"source": "m0"}, prompts=prompts), set[str]()
    load_prompts(recipe, found_fields=fields)
    found = unread_fields(recipe.prompts, fields)
    assert found == ["de", "en", "es", "label"]
    assert "fields de, en, es, label are not read" in note_of_unread(found)
    plain, fields = recipe_over(languages(tmp_path, GOOD)), set[str]()
    load_prompts(plain, found_fields=fields)
    assert "text" in fields
    assert unread_fields(plain.prompts, fields) == []


def test_the_line_of_an_id_is_found_again(tmp_path):
    file = write(tmp_path, "\n" + GOOD)
    settings = Prompts(files={"en": file})
    found = [place_of(prompt_id, "en", settings) for prompt_id in ("1", "2", "9")]
    assert found == [(file, 2), (file, 3), (file, 0)]


def test_files_of_a_list_follow_one_another(tmp_path):
    more = write(tmp_path, GOOD.replace('"1"', '"3"').replace('"2"', '"4"'), "more.jsonl")
    files = {code: [file, more] for code, file in languages(tmp_path, GOOD).items()}
    found = load_prompts(recipe_over(files))
    assert [prompt.prompt_id for prompt in found["de"]] == ["1", "2", "3", "4"]
    settings = Prompts(files={"en": files["en"]})
    assert place_of("4", "en", settings) == (more, 2)


def test_an_id_in_two_files_of_a_list_is_named_with_the_second_one_s_line(tmp_path):
    more = write(tmp_path, GOOD.replace('"1"', '"3"'), "more.jsonl")
    files = {code: [file, more] for code, file in languages(tmp_path, GOOD).items()}
    with pytest.raises(BadInput, match=r"more\.jsonl:2: id '2' is in an earlier file"):
        load_prompts(recipe_over(files))


def test_of_several_field_names_each_file_uses_its_own(tmp_path):
    own = '{"question": "One"}\n{"question": "Two", "id": 7}\n'
    settings = Prompts(fields={"prompt_id": ["id", "#"], "text": ["text", "question"]})
    found = load_prompt_file(write(tmp_path, own), "en", settings)
    assert [(prompt.prompt_id, prompt.text) for prompt in found] == [("0", "One"), ("7", "Two")]


def test_ids_of_the_list_of_translation_tasks_are_marked_in_every_language(tmp_path):
    listed = write(tmp_path, '{"prompt_id": "2", "why": "French"}\n', "list.jsonl")
    recipe = make_recipe(
        model={"source": "m0"},
        prompts={"files": languages(tmp_path, GOOD), "translation_tasks": listed},
    )
    flags = {
        code: [p.translation_task for p in rows] for code, rows in load_prompts(recipe).items()
    }
    assert set(map(tuple, flags.values())) == {(False, True)}


def test_a_list_s_own_line_numbers_are_no_ids(tmp_path):
    listed = write(tmp_path, '{"prompt_id": "1"}\n', "list.jsonl")
    settings = Prompts(fields={"prompt_id": ["#", "prompt_id"]}, translation_tasks=listed)
    assert listed_tasks(settings) == {"1"}


def test_a_line_of_a_list_without_an_id_names_the_field_it_needs(tmp_path):
    listed = write(tmp_path, '{"id": "1"}\n', "list.jsonl")
    settings = Prompts(fields={"prompt_id": "#"}, translation_tasks=listed)
    with pytest.raises(BadInput, match="no usable field 'prompt_id'; the line has id"):
        listed_tasks(settings)


def test_a_list_that_names_no_prompt_is_told(tmp_path):
    listed = write(tmp_path, '{"prompt_id": "en_2"}\n', "list.jsonl")
    prompts = {"files": languages(tmp_path, GOOD), "translation_tasks": listed}
    told: list[dict[str, object]] = []
    with listening(told.append):
        load_prompts(make_recipe(model={"source": "m0"}, prompts=prompts))
    assert "none of its 1 ids is a prompt's (it has 'en_2'" in str(told[0]["message"])


def test_an_answer_is_text_or_a_number(tmp_path):
    row = {"prompt_id": 1, "text": "Where?", "answer": {"text": ["Denver"], "answer_start": [177]}}
    with pytest.raises(BadInput, match=r"en.jsonl:1: the answer is neither text nor a number"):
        load(write(tmp_path, json.dumps(row)))


def test_an_address_with_a_query_still_says_what_it_names():
    assert is_parquet("https://h/en.parquet?download=true") and not is_parquet("https://h/en.jsonl")


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path):
    file = write(tmp_path, GOOD)
    pinned = hashlib.sha256(GOOD.encode()).hexdigest()
    assert load_prompt_file(f"{file}#sha256={pinned}", "en", Prompts())
    with pytest.raises(BadInput, match=rf"en\.jsonl: has the SHA-256 {pinned}, the recipe pins"):
        load_prompt_file(f"{file}#sha256={'0' * 64}", "en", Prompts())


def languages(folder: Path, es: str) -> dict[str, str]:
    files = {"en": write(folder, GOOD), "es": write(folder, es, "es.jsonl")}
    return files | {"de": write(folder, GOOD, "de.jsonl")}


def test_every_language_gets_the_dominant_one_s_order(tmp_path):
    turned = "\n".join(reversed(GOOD.splitlines()))
    found = load_prompts(recipe_over(languages(tmp_path, turned)))
    assert {code: [p.prompt_id for p in rows] for code, rows in found.items()} == {
        "en": ["1", "2"],
        "es": ["1", "2"],
        "de": ["1", "2"],
    }
    assert {prompt.language for prompt in found["es"]} == {"es"}


def test_an_id_without_translation_is_named_with_its_line(tmp_path):
    files = languages(tmp_path, GOOD.splitlines()[0])
    with pytest.raises(BadInput) as caught:
        load_prompts(recipe_over(files))
    assert caught.value.file == files["es"]
    assert f"1 ids of en are missing, first '2' ({files['en']}:2)" in caught.value.message
    assert "same ids" in caught.value.remedy


def test_an_id_that_the_dominant_language_lacks_is_named_with_its_line(tmp_path):
    files = languages(tmp_path, GOOD + '{"prompt_id": "3", "text": "Tres"}\n')
    with pytest.raises(BadInput) as caught:
        load_prompts(recipe_over(files))
    assert (caught.value.file, caught.value.line) == (files["es"], 3)
    assert "1 ids are not in en, first '3'" in caught.value.message


def test_ids_that_carry_their_language_are_joined_by_the_part_they_share(tmp_path):
    rows = {code: f'{{"prompt_id": "{code}gsm8k_7", "text": "Hi"}}' for code in ("en", "es", "de")}
    files = {code: write(tmp_path, row, f"{code}.jsonl") for code, row in rows.items()}
    recipe = make_recipe(
        model={"source": "m0"}, prompts={"files": files, "id_pattern": r"gsm8k_(\d+)$"}
    )
    assert {rows[0].prompt_id for rows in load_prompts(recipe).values()} == {"7"}
    assert place_of("7", "es", recipe.prompts) == (files["es"], 1)


def test_an_id_without_the_shared_part_is_named_with_its_line(tmp_path):
    with pytest.raises(BadInput, match=r"id '2' does not match .* 'a\(\.\)'") as caught:
        load_prompt_file(
            write(tmp_path, GOOD.replace('"1"', '"a1"')), "en", Prompts(id_pattern="a(.)")
        )
    assert caught.value.line == 2


@pytest.mark.parametrize("pattern", ["(", "no group", "(two)(groups)"])
def test_an_id_pattern_must_have_one_group(pattern):
    with pytest.raises(ValueError, match=r"regular expression|one group"):
        Prompts(id_pattern=pattern)


def test_parquet_whose_text_is_no_unicode_is_refused(tmp_path):
    broken = pa.array([b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 1, broken.buffers())
    columns = {"prompt_id": ["1"], "text": text}
    with pytest.raises(BadInput, match="not a Parquet file that can be read"):
        load(write(tmp_path, parquet(**columns), "en.parquet"))


@pytest.mark.parametrize("task", [0, 1, "true", [], 1.0])
def test_what_is_neither_true_nor_false_is_no_flag(tmp_path, task):
    row = {"prompt_id": "1", "text": "One", "translation_task": task}
    with pytest.raises(BadInput, match="neither true nor false"):
        load(write(tmp_path, json.dumps(row)))


def test_an_answer_keeps_no_lone_surrogate(tmp_path):
    row = {"prompt_id": "1", "text": "One", "answer": "a\ud800"}
    assert load(write(tmp_path, json.dumps(row)))[0].answer == "a\ufffd"


@pytest.mark.parametrize(
    ("data", "line", "remedy"),
    [
        (b"[{},\n1]", 2, "Each element must be an object."),
        (b"{}\n1", 2, "One JSON object a line."),
    ],
)
def test_a_row_that_is_no_object_has_the_remedy_of_its_format(data, line, remedy):
    with pytest.raises(BadInput, match=f"^f:{line}: not a JSON object. {remedy}$"):
        list(json_rows("f", data))
