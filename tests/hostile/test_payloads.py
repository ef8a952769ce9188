"""Every payload goes through every step, onto the page, into MLflow, and stays what it is: text."""

from __future__ import annotations

import json
import unicodedata
from html import unescape

import pytest
from mlflow import MlflowClient
from transformers import AutoTokenizer

from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.engines import ChatRequest
from lidr.components.shared.forward.tokens import tokenize_pairs
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.schema import (
    DroppedPair,
    EvalItem,
    PreferencePair,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import mlflow_client
from lidr.components.shared.tracking.delivery import deliver
from lidr.components.shared.tracking.entries import Dataset, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox, now_ms
from lidr.components.shared.tracking.stage_metrics import clean
from tests.browser.chromium import Chromium, find_chromium
from tests.hostile.chain import PREFIX, RUN, HostileRun, carry_out, prompt_id
from tests.payloads import LONGEST_LINE, PAYLOADS
from tests.unit.shared.engines.test_chat import FAMILIES, family_tokenizer
from tests.unit.train.stages import preference


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return carry_out(HostileRun(tmp_path_factory.mktemp("hostile")))


def test_there_are_many_payloads_and_none_is_there_twice():
    assert len(PAYLOADS) >= 60
    assert len(set(PAYLOADS.values())) == len(PAYLOADS)
    assert len(LONGEST_LINE) >= 10_000_000


def test_prompts_answers_and_translations_are_exact(run):
    prompts = run.records("prepare", "prompts/", Prompt)
    assert {(p.prompt_id, p.language): p.text for p in prompts} == {
        key: PREFIX + text for key, text in run.expected.items()
    }
    responses = run.records("generate", "responses/", Response)
    assert {(r.prompt_id, r.language): r.text for r in responses} == run.expected
    translations = run.records("translate", "translations/", Translation)
    assert len(translations) == 4 * len(run.texts)
    for row in translations:
        assert (row.text, row.failure) == (
            run.expected[row.prompt_id, row.source_language].strip(),
            None,
        )


def test_every_pair_holds_its_own_texts(run):
    pairs = run.records("pair", "pairs.parquet", PreferencePair)
    dropped = run.records("pair", "dropped.parquet", DroppedPair)
    assert not dropped
    assert len(pairs) == 4 * len(run.texts)
    for row in pairs:
        own, other = (
            run.expected[row.prompt_id, code] for code in (row.language, row.other_language)
        )
        chosen, rejected = (side[0]["content"] for side in (row.chosen, row.rejected))
        wanted = (own, other.strip()) if row.kind == "own_chosen" else (other.strip(), own)
        assert (chosen, rejected) == wanted
        assert row.prompt == [{"role": "user", "content": PREFIX + own}]


def test_training_sees_text_and_ends(run):
    counts = run.stage("train").counts()
    parts = counts["languages"].values()
    assert sum(part["pairs"] + part["dropped"] for part in parts) == 4 * len(run.texts)
    assert counts["pairs"] > 200
    tokenizer = AutoTokenizer.from_pretrained(model_files(run.stages["train"]).folder)
    pairs = run.records("pair", "pairs.parquet", PreferencePair)
    pairs = [pair for pair in pairs if len(pair.prompt[0]["content"]) < 5000]
    require_plain(tokenizer, pairs)


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_payload_becomes_a_control_token(kind, family):
    tokenizer = family_tokenizer(kind, family)
    short = [text for text in PAYLOADS.values() if len(text) < 5000]
    pairs = [
        preference(number, prompt=text, chosen=f"{text} A", rejected=f"B {text}")
        for number, text in enumerate(short)
    ]
    require_plain(tokenizer, pairs)


def require_plain(tokenizer, pairs):
    """The special tokens of a pair are the template's, whatever its texts spell out."""
    added = tokenizer.added_tokens_decoder.items()
    special = {number for number, token in added if token.special and str(token) != "<unk>"}
    plain = [{"role": "user", "content": "x"}]
    wanted = [
        token
        for token in ChatRenderer(tokenizer).render(ChatRequest("", plain))
        if token in special
    ]
    for pair in tokenize_pairs(pairs, ChatRenderer(tokenizer), 1 << 20).pairs:
        assert [token for token in pair.prompt if token in special] == wanted, pair.key
        for side in (pair.chosen, pair.rejected):
            text_tokens = side[:-1]
            assert special.isdisjoint(text_tokens), tokenizer.decode(side)


def test_evaluation_keeps_every_item(run):
    for step in ("before", "after"):
        items = run.records(step, "items.parquet", EvalItem)
        assert {(item.item_id, item.language): item.response for item in items} == {
            (name, code): run.expected[prompt_id(name, text), code]
            for name, text in PAYLOADS.items()
            for code in run.codes
        }
        for item in items:
            assert (
                item.prompt
                == PREFIX
                + run.expected[prompt_id(item.item_id, PAYLOADS[item.item_id]), item.language]
            )


def test_mlflow_has_the_payloads_as_text(run, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    store = open_store(run.store)
    outbox = Outbox(store, RUN)
    outbox.write_recipe(run.recipe.model_dump_json())
    facts = {f"payload.{n}": clean(text) for n, text in enumerate(PAYLOADS.values())}
    data = [Dataset("pairs", run.stages["pair"], "ab", clean(PAYLOADS["script"]))]
    entry = TrackingEntry("1-pair", "end", now_ms(), tags=facts, params=facts, datasets=data)
    outbox.add(entry)
    outcome = deliver(store, RUN, 60)
    assert (outcome.left, outcome.problem) == (0, "")
    client: MlflowClient = mlflow_client(run.store)
    experiment = client.get_experiment_by_name("lidr/hostile")
    found = client.search_runs([experiment.experiment_id], "tags.`lidr.step` = 'pair'")
    (stage,) = [each for each in found if "payload.0" in each.data.tags]
    for name, text in facts.items():
        assert stage.data.tags[name] == text
        assert stage.data.params[name] == text
        assert all(_is_shown(char) for char in text)


def _is_shown(char: str) -> bool:
    """Return whether a character is text: spaces and joiners of words are, controls are not."""
    shown = char.isprintable() or char in "\n\t\u200c\u200d"
    return shown or unicodedata.category(char) == "Zs"


def test_the_result_is_json_and_the_page_has_one_policy(run):
    result = json.loads(open_store(run.store).read(f"runs/{RUN}/result.json"))
    assert len(result["iterations"]) == 2
    page = run.page.read_text("utf-8")
    head = unescape(page[: page.index("</head>")])
    assert head.count("Content-Security-Policy") == 1
    assert "default-src 'none'" in head
    assert not any(c in page for c in "\x00\x1b\x9b\u202e\u2066\u2028")


@pytest.mark.parametrize("size", [1_000_000, pytest.param(10_000_000, marks=pytest.mark.long)])
def test_a_line_of_millions_of_characters_is_one_text(size, tmp_path):
    line = LONGEST_LINE[:size]
    texts = {"long": line}
    run = carry_out(HostileRun(tmp_path, texts, ("en", "es")), training=False)
    (one, other) = run.records("generate", "responses/", Response)
    assert run.expected == {(row.prompt_id, row.language): row.text for row in (one, other)}
    pairs = run.records("pair", "pairs.parquet", PreferencePair)
    assert len(pairs) == 2
    assert all(len(pair.chosen[0]["content"]) >= size for pair in pairs)
    for item in run.records("after", "items.parquet", EvalItem):
        assert item.response == run.expected[prompt_id("long", line), item.language]
    assert run.page.stat().st_size < 1_000_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    binary = find_chromium()
    if binary is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    with Chromium(binary, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


SHOWN = """
(() => {
  for (const part of document.querySelectorAll('details')) part.open = true;
  for (const more of document.querySelectorAll('.more')) while (!more.hidden) more.click();
  return [...document.querySelectorAll('article')].map(article => ({
    section: article.closest('section').id,
    texts: [...article.querySelectorAll('.text, .prompt')].map(node => node.textContent),
    elements: [...new Set([...article.querySelectorAll('*')].map(node => node.tagName))],
    attributes: [...new Set([...article.querySelectorAll('*')]
      .flatMap(node => [...node.attributes].map(each => each.name)))],
  }));
})()
"""

OURS = {"H3", "H4", "I", "SPAN", "P", "DIV", "BDI", "MARK", "BR"}
ATTRIBUTES = {"class", "dir", "lang", "tabindex", "role", "aria-label"}


def test_in_a_browser_nothing_runs_nothing_leaves_and_every_text_stays_in_its_cell(run, browser):
    address = run.page.as_uri()
    browser.open(address)
    shown = browser.evaluate(SHOWN)
    assert browser.evaluate("typeof window.pwned") == "undefined"
    assert browser.complaints() == []
    assert browser.requests() == [address]
    assert browser.evaluate("location.href") == address
    forbidden = "img, iframe, object, form[action], base, link[rel=stylesheet], svg script, a[href]"
    links = browser.evaluate(
        f"[...document.querySelectorAll('{forbidden}')].map(node => node.getAttribute('href'))"
    )
    own = ("#", "../../stages/pair/")
    assert [link for link in links if not (link or "").startswith(own)] == []
    assert browser.evaluate("document.querySelectorAll('script:not([type])').length") == 1
    assert browser.evaluate("document.querySelectorAll('h1').length") == 1
    cells = [article for article in shown if article["section"] == "pairs-browser"]
    assert len(cells) > 100
    found = {text for article in shown for text in article["texts"]}
    for article in shown:
        assert set(article["elements"]) <= OURS
        assert set(article["attributes"]) <= ATTRIBUTES
    missing = [
        name
        for name, text in PAYLOADS.items()
        if not any(displayed(f"{text} {code}") in found for code in run.codes)
    ]
    assert missing == []


def displayed(text: str) -> str:
    """What the page shows of a text: 3,000 characters, unseen ones by number."""
    from lidr.components.report.browser import shortened
    from lidr.components.report.words import CONTROLS

    text = shortened(valid_unicode(text).strip())
    return CONTROLS.sub(lambda found: f"U+{ord(found[0]):04X}", text)
