"""The report step on small stores: result.json's contract, the page, early stops, escaping."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lidr.components.report.run import report
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.stats.intervals import wilson
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import note_admission
from lidr.components.shared.store.stage import open_stage
from tests.unit.report.runs import (
    IDENTICAL,
    RUN,
    forget,
    recipe,
    state_of,
    stop_before_training,
    write_run,
)

ITERATION_KEYS = [
    "iteration",
    "model",
    "accuracy",
    "average",
    "off_target",
    "average_truncated",
    "truncated",
    "if_cut_right",
    "judged",
    "decision",
    "verdict",
    "promoted",
    "reason",
    "version",
]


def run_report(store: str, **changes: object) -> tuple[str, dict, str]:
    final = report(recipe=recipe(**changes).model_dump_json(), store=store, run=RUN)
    folder = Path(store, "runs", RUN)
    result = json.loads((folder / "result.json").read_text())
    return final, result, (folder / "report.html").read_text()


def test_what_was_decided_about_the_model_is_on_the_page(tmp_path):
    store = write_run(tmp_path)
    findings = [{"property": "thinking", "decision": "removed, from <think>", "refused": False}]
    note_admission(open_store(store), RUN, {"findings": findings})
    _, _, page = run_report(store)
    assert "What M_0 is" in page
    assert "removed, from &lt;think&gt;" in page


def test_the_result_has_exactly_the_agreed_keys(tmp_path):
    final, result, _ = run_report(write_run(tmp_path))
    assert list(result) == [
        "run",
        "recipe",
        "seed",
        "dominant",
        "others",
        "stopped",
        "iterations",
        "final_model",
        "warnings",
        "used",
        "report",
    ]
    assert result["used"] == {"gpu_hours": 0.0, "cost": 0.0, "currency": "USD"}
    assert result["warnings"] == []
    assert [list(entry) for entry in result["iterations"]] == [ITERATION_KEYS] * 3
    for entry in result["iterations"]:
        assert list(entry["accuracy"]) == ["en", "es", "de", "fr"]
        assert set(entry["accuracy"]["es"]) == {"value", "low", "high", "n"}
        assert set(entry["average"]) == {"value", "low", "high", "n"}
        assert list(entry["off_target"]) == ["en", "es", "de", "fr"]
    assert (result["run"], result["recipe"], result["seed"]) == (RUN, "tiny-world", 0)
    assert result["others"] == ["es", "de", "fr"]
    assert result["iterations"][0]["accuracy"]["es"]["value"] == pytest.approx(134 / 300)
    assert result["final_model"] == final == f"{state_of(str(tmp_path), 2)['model']}/model"
    assert result["report"] == f"{tmp_path}/runs/{RUN}/report.html"
    assert Path(final, "config.json").is_file()


def test_truncation_stands_beside_every_accuracy_and_warns_where_it_decides(tmp_path):
    spanish = {"truncated": wilson(99, 300), "if_cut_right": wilson(233, 300)}
    german = {"truncated": wilson(3, 300)}
    store = write_run(tmp_path, start={"languages": {"es": spanish, "de": german}})
    _, result, page = run_report(store)
    first = result["iterations"][0]
    assert first["truncated"] == {"en": 0.0, "es": 0.33, "de": 0.01, "fr": 0.0}
    assert first["if_cut_right"]["es"] == wilson(233, 300)
    [warning] = result["warnings"]
    assert warning.startswith("M₀: answers were cut at the token limit")
    assert "es 44.7 [39.1, 50.3] would be 77.7 [72.6, 82.0] (33.0% cut)" in warning
    assert "; de" not in warning and ", de" not in warning
    text = unescape(page)
    assert "39.1–50.3, 33.0% cut" in text, "beside the accuracy"
    assert warning in text
    assert "11.3% cut" in text, "the average of the others"


def test_a_start_that_breaks_the_premise_is_the_first_thing_said(tmp_path):
    premise = {
        "holds": False,
        "dominant": "en",
        "stronger": [{"language": "fr", "score": 0.55, "lead": 0.05, "p": 0.01}],
        "score": {"en": 0.5, "fr": 0.55, "es": 0.4, "de": 0.4},
    }
    _, result, page = run_report(write_run(tmp_path, start={"premise": premise}))
    assert "English is not the strongest language" in result["warnings"][0]
    assert "French has 55.0% against 50.0% (+5.0, p = 0.01)" in unescape(page)


def test_the_gap_has_one_sign_the_dominant_language_s_lead(tmp_path):
    _, _, page = run_report(write_run(tmp_path))
    text = unescape(re.sub("<[^>]*>", " ", page))
    assert re.search(r"Gap, in points\s+\S+\s+from 53\.9", text)
    assert re.search(r"53\.9 points", text), "the chart"
    heat = text[text.index("Lead of English, in points") :]
    assert re.search(r"Spanish\s+55\.3\s", heat), "the map: 100 less 44.7"
    assert re.search(r"Accuracy of English\s+100%", heat)


def test_writing_it_again_gives_the_same_bytes(tmp_path):
    store = write_run(tmp_path)
    assert run_report(store) == run_report(store)


def test_the_last_promoted_model_is_the_final_one(tmp_path):
    final, result, page = run_report(write_run(tmp_path, promoted=False))
    assert final == f"{state_of(str(tmp_path), 1)['model']}/model"
    assert [entry["promoted"] for entry in result["iterations"]] == [True, True, False]
    assert "46.1%\xa0→\xa095.0%" in page
    assert "M₂ was not promoted: M₁ stays." in page
    assert "plateau: the mean gain" in page


def test_after_a_model_that_was_kept_out_the_next_is_compared_with_the_one_before(tmp_path):
    store = write_run(tmp_path)
    kept = state_of(store, 1) | {"promoted": False, "verdict": "continue"}
    (tmp_path / "runs" / RUN / "iteration-1" / "state.json").write_text(json.dumps(kept))
    _, _, page = run_report(store)
    assert "M₂ against M₀" in page
    assert "M₂ against M₁" not in page
    assert "each later model was trained from the last one promoted before it." in page
    assert "Whiskers are 95% intervals." in page


def test_items_among_the_training_prompts_are_counted_with_the_score_without_them(tmp_path):
    _, _, page = run_report(write_run(tmp_path))
    table = page[page.index("Evaluation items of M₂ that share") :]
    assert "7 of 300" in table[: table.index("</table>")]


def test_a_run_without_a_promoted_model_ends_where_it_started(tmp_path):
    final, _, page = run_report(write_run(tmp_path, 1, promoted=False))
    assert final == f"{state_of(str(tmp_path), 0)['model']}/model"
    assert "No model was promoted." in page


def test_a_run_that_stopped_at_the_start_has_a_report(tmp_path):
    final, result, page = run_report(write_run(tmp_path, 0))
    assert len(result["iterations"]) == 1
    assert final.endswith("/model")
    assert "Only the start was measured." in page
    for absent in ("gate", "pairs", "reward", "training", "pairs-browser"):
        assert f'id="{absent}"' not in page


def test_an_outside_model_is_named_by_its_source(tmp_path):
    store = write_run(tmp_path, 0)
    stage = open_stage(state_of(store, 0)["model"])
    stage = replace(stage, identity=stage.marker()["identity"])
    stage.store.delete(stage.key("model/config.json"))
    stage.write("model.json", json.dumps({"source": "hf://org/chat@1234"}).encode())
    stage.finish({})
    assert run_report(store)[0] == "hf://org/chat@1234"


def test_parts_that_were_pruned_leave_their_sections_out(tmp_path):
    store = write_run(tmp_path)
    for key in ("responses", "translations", "pairs", "decision"):
        forget(state_of(store, 1)[key])
    forget(state_of(store, 2)["pairs"])
    _, result, page = run_report(store)
    assert len(result["iterations"]) == 3
    assert 'id="pairs"' not in page
    assert 'id="gate"' in page


def test_a_pruned_model_that_was_refused_does_not_matter(tmp_path):
    store = write_run(tmp_path, promoted=False)
    refused = state_of(store, 2)["model"]
    forget(refused)
    _, result, _ = run_report(store)
    assert result["iterations"][2]["model"] == f"{refused}/model"


@pytest.mark.parametrize("missing", ["reward", "swapped"])
def test_counts_that_a_pair_stage_does_not_have_are_left_out(tmp_path, missing):
    run_report(write_run(tmp_path, pair_changes={missing: None}))


def test_a_run_without_states_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no evaluated model"):
        run_report(str(tmp_path))


def test_an_evaluation_that_is_gone_is_named(tmp_path):
    store = write_run(tmp_path, 0)
    forget(state_of(store, 0)["evaluation"])
    with pytest.raises(BadInput, match="is gone"):
        run_report(store)


def test_the_page_shows_all_parts_and_asks_nobody_for_anything(tmp_path):
    _, _, page = run_report(write_run(tmp_path))
    assert re.findall(r'<section id="([a-z0-9-]+)"', page) == [
        "imbalance",
        "accuracy",
        "gap",
        "gate",
        "flips-1",
        "flips-2",
        "pairs",
        "reward",
        "training",
        "pairs-browser",
        "lineage",
        "models",
        "throughput",
        "configuration",
    ]
    assert page.count("<script>") == 1
    assert page.count("<script") == 1 + page.count('<script type="application/json">')
    policy = r"default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; "
    assert re.search(policy, unescape(page))
    loads = re.findall(r"""(?:src|href|action|data|srcset)=["']?([^"'> ]+)""", page)
    stages = [target for target in loads if target.startswith("../../stages/pair/")]
    assert len(stages) == 4, "two files of each iteration"
    assert all((Path(tmp_path, "runs", RUN) / stage).parent.is_dir() for stage in stages)
    assert all(t.startswith("#") or t == "data:," or t in stages for t in loads)
    assert not re.search(r"url\(|@import|style=", page)


def test_every_chart_has_a_title_a_description_and_unique_ids(tmp_path):
    _, _, page = run_report(write_run(tmp_path))
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) >= 12
    for chart in charts:
        assert 'role="img"' in chart
        assert re.search(r"<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>", chart)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_is_well_formed(tmp_path):
    checker = _Nesting()
    checker.feed(run_report(write_run(tmp_path))[2])
    assert checker.open == []


def test_reward_section_answers_its_question_and_says_what_to_do(tmp_path):
    _, _, page = run_report(write_run(tmp_path, 1))
    assert 'id="reward-heading">Can the reward be trusted? Yes</h2>' in page
    reward = _pair_reward(tmp_path)
    broken = {
        **IDENTICAL,
        "level": "stop",
        "text": "translations lose numbers: <b>",
        "remedy": "Do.",
    }
    changes = {"reward": {**reward, "verdict": "stop", "findings": [broken]}, "swapped": True}
    _, _, page = run_report(write_run(tmp_path / "stopped", pair_changes=changes))
    assert 'id="reward-heading">Can the reward be trusted? No</h2>' in page
    assert "M₂: translations lose numbers: &lt;b&gt;. Do." in page
    assert "swapped on purpose" in page
    assert "Spanish answer over the translated English answer" in page
    assert "English answer, translated, over the Spanish answer" not in page


def test_report_of_a_run_that_the_reward_check_stopped_says_so_first(tmp_path):
    store = write_run(tmp_path, 1)
    reason = stop_before_training(tmp_path)
    final, result, page = run_report(store)
    assert final == f"{state_of(store, 1)['model']}/model"
    assert result["stopped"] == {"iteration": 2, "reason": reason}
    assert [entry["iteration"] for entry in result["iterations"]] == [0, 1]
    assert "<h1>M₂ was not trained: the reward cannot be trusted</h1>" in page
    assert f"<dt>Why it stopped</dt><dd>{reason}</dd>" in page
    assert "Take a model that speaks these languages better." in page
    assert "--set pairing.reward.on_stop=train" in page
    assert 'id="reward-heading">Can the reward be trusted? No</h2>' in page
    assert "M₂ was to learn from 1,788 of 1,800 candidates" in page
    assert "<dd>1,788</dd>" in page, "of the pairs that were trained on"


def test_reward_section_says_where_nothing_is_verifiable(tmp_path):
    _, _, page = run_report(write_run(tmp_path, 1))
    section = page[page.index('<section id="reward"') :]
    assert section.count("not verifiable here (4 texts)") == 9, "code, in each direction and pool"
    assert "Translations by M₀ in the language they should be in" in section


def _pair_reward(folder: Path) -> dict:
    return open_stage(state_of(str(folder), 1)["pairs"]).counts()["reward"]


def test_model_text_is_only_ever_text(tmp_path):
    hostile = '"><script>alert(1)</script></textarea><img src=x onerror=alert(2)>{{ 7 * 7 }}'
    sample = {
        "language": "es",
        "kind": "translation_chosen",
        "prompt": hostile,
        "chosen": f"{hostile} \u202egnirts",
        "rejected": "javascript:alert(3)\x00\x1b[31m\ud800",
    }
    store = write_run(tmp_path, samples=[{**sample, "rejected": sample["rejected"][:-1]}])
    _, _, page = run_report(store, name="tiny-world")
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "\\u003cscript>alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert "\u202e" not in page
    assert "\\u202egnirts" in page
    assert "\x00" not in page


class _Nesting(HTMLParser):
    """Raises where an element is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
