"""The transformers engine against `model.generate` on single requests, and the choice of engine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lidr.components.shared.config import engine_choice
from lidr.components.shared.config.engine_choice import choose_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core import gpu
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.engines import (
    ChatRequest,
    Completion,
    Decoding,
    require_installed,
    served_name,
    start_engine,
)
from lidr.components.shared.models.chat import ChatRenderer, eos_token_ids
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.shared.records.schema import Failure
from tests.unit.shared.engines.cases import (
    CONTEXT,
    STOP,
    cases,
    complete,
    lively_model,
    requests,
    same_scores,
    score_requests,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return lively_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder):
    engine = _engine(folder)
    yield engine
    engine.close()


def _engine(folder: Path, batch_tokens: int = 1024):
    from lidr.components.shared.engines.transformers_engine import TransformersEngine

    return TransformersEngine(folder, dtype="auto", max_length=0, batch_tokens=batch_tokens)


def _by_key(completions) -> dict[str, Completion]:
    found = list(completions)
    keyed = {completion.key: completion for completion in found}
    assert len(keyed) == len(found)
    return keyed


class Oracle:
    """Hugging Face's own `generate`, one request at a time, without padding."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.chat = ChatRenderer(self.tokenizer, eos_ids=eos_token_ids(folder))
        self.ends = sorted(self.chat.stops)

    def complete(self, request: ChatRequest, decoding: Decoding) -> Completion:
        import torch
        from transformers import GenerationConfig

        prompt = self.chat.render(request)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=min(decoding.max_tokens, CONTEXT - len(prompt)),
            repetition_penalty=decoding.repetition_penalty,
            eos_token_id=self.ends,
            pad_token_id=0,
        )
        ids = torch.tensor([prompt])
        output = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
        written = output[0, len(prompt) :].tolist()
        ended = written[-1] in self.ends
        # Not generate's own stop_strings: they also look into the names of special tokens.
        for count in range(1, len(written) + 1 - ended):
            text = self.chat.decode(written[:count])
            cut = min((text.find(s) + len(s) for s in decoding.stop if s in text), default=-1)
            if cut >= 0:
                return Completion(request.key, text[:cut], "stop", len(prompt), count)
        text = self.chat.decode(written[:-1] if ended else written)
        reason = "stop" if ended else "length"
        return Completion(request.key, text, reason, len(prompt), len(written))


@pytest.fixture(scope="module")
def oracle(folder) -> Oracle:
    return Oracle(folder)


@pytest.mark.parametrize("name", ["greedy", "backwards", "penalty", "stop", "primed", "long"])
def test_batches_answer_as_single_requests_do(engine, oracle, name):
    asked, decoding = cases(stop="a")[name]
    found = _by_key(complete(engine, asked, decoding))
    assert found.keys() == {request.key for request in asked}
    served = [request for request in asked if not found[request.key].failure]
    assert len(served) >= 7
    for request in served:
        assert found[request.key] == oracle.complete(request, decoding)
    assert {found[request.key].finish_reason for request in served} == {"stop", "length"}


def test_stop_strings_stay_in_the_text(engine):
    found = list(complete(engine, *cases(stop="a")["stop"]))
    stopped = [c.text for c in found if c.text.endswith("a")]
    assert len(stopped) > 10
    assert all(text.count("a") == 1 for text in stopped)


def test_a_stop_string_may_span_tokens_and_characters(engine, oracle):
    """Any part of a greedy text can be the stop string, also one that begins inside a token."""
    decoding = Decoding(max_tokens=24)
    wide = [c for c in complete(engine, requests(), decoding) if len(c.text) > 12]
    for completion in wide[:6]:
        request = next(r for r in requests() if r.key == completion.key)
        for start in range(2, 8):
            stop = completion.text[start : start + 3]
            (found,) = complete(engine, [request], Decoding(max_tokens=24, stop=(stop,)))
            end = completion.text.find(stop) + len(stop)
            assert found.text == completion.text[:end]
            assert found.finish_reason == "stop"
            assert found.output_tokens <= completion.output_tokens


def test_a_prompt_beyond_the_context_fails_alone(engine):
    found = _by_key(complete(engine, *cases(stop="a")["long"]))
    long = found["long"]
    assert (long.failure, long.finish_reason, long.text) == (Failure.PROMPT_TOO_LONG, "failed", "")
    assert long.prompt_tokens > CONTEXT
    full = found["full"]
    assert full.prompt_tokens + full.output_tokens <= CONTEXT
    assert full.failure is None
    assert max(c.output_tokens for c in found.values()) == 24  # its limit binds nobody else


def test_rows_are_yielded_as_they_finish(folder):
    engine = _engine(folder, batch_tokens=100_000)
    found = list(complete(engine, requests(), Decoding(max_tokens=24)))
    lengths = [completion.output_tokens for completion in found]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_batches_stay_in_their_group_and_budget(folder, monkeypatch):
    from lidr.components.shared.engines import batch, transformers_engine

    seen: list[tuple[str, ...]] = []
    widths: list[int] = []

    class Watched(batch.GenerationBatch):
        def __init__(self, model, rows, *rest):
            seen.append(tuple(row.request.key for row in rows))
            widths.append(len(rows) * max(len(row.prompt) + row.limit for row in rows))
            super().__init__(model, rows, *rest)

    monkeypatch.setattr(transformers_engine, "GenerationBatch", Watched)
    groups = {request.key: f"g{index // 16}" for index, request in enumerate(requests())}
    asked = [replace(r, group=groups[r.key]) for r in requests()]
    list(complete(_engine(folder, batch_tokens=512), asked, Decoding(max_tokens=24)))
    assert sorted(key for keys in seen for key in keys) == sorted(groups)
    assert all(len({groups[key] for key in keys}) == 1 for keys in seen)
    assert max(widths) <= 512
    assert max(len(keys) for keys in seen) > 4


def test_sampling_is_seeded_and_does_not_depend_on_the_batch(engine, folder):
    asked, decoding = cases(stop="a")["sampled"]
    whole = _by_key(complete(engine, asked, decoding))
    again = _by_key(complete(engine, *cases(stop="a")["sampled again"]))
    alone = _by_key(
        completion for request in asked for completion in complete(engine, [request], decoding)
    )
    assert whole == again == alone
    reseeded = [ChatRequest(r.key, r.messages, seed=r.seed + 1) for r in asked]
    other = _by_key(complete(engine, reseeded, decoding))
    assert sum(other[key].text != whole[key].text for key in whole) > 30


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.5, 0.6)])
def test_samples_follow_the_models_distribution(folder, temperature, top_p):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = _engine(folder, batch_tokens=100_000)
    messages = requests()[1].messages
    chat = ChatRenderer(AutoTokenizer.from_pretrained(folder))
    prompt = torch.tensor([chat.render(ChatRequest("", messages))])
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(prompt).logits[0, -1]
    share = (logits / temperature).softmax(dim=-1).sort(descending=True)
    nucleus = share.values.cumsum(dim=0) - share.values < top_p
    share.values[~nucleus] = 0
    top = share.values[:2] / share.values.sum()
    draws = 2000
    asked = [ChatRequest(str(n), messages, seed=n) for n in range(draws)]
    decoding = Decoding(max_tokens=1, temperature=temperature, top_p=top_p)
    texts = [c.text for c in complete(engine, asked, decoding)]
    for token, wanted in zip(share.indices[:2].tolist(), top.tolist(), strict=True):
        spread = (wanted * (1 - wanted) / draws) ** 0.5
        assert abs(texts.count(chat.decode([token])) / draws - wanted) < 4 * spread + 1e-9


def test_running_out_of_memory_is_an_engine_failure(engine, monkeypatch):
    from lidr.components.shared.engines.batch import GenerationBatch

    def step(self):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(GenerationBatch, "step", step)
    with pytest.raises(EngineFailed, match=r"allocate memory.*engine\.batch_tokens in the profile"):
        list(complete(engine, requests(), Decoding(max_tokens=4)))


def test_nothing_is_printed(folder, capfd):
    engine = _engine(folder)
    list(complete(engine, requests(4), Decoding(max_tokens=4, stop=(STOP,))))
    engine.close()
    assert capfd.readouterr() == ("", "")


def _recipe(**generation) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "engines",
            "languages": {"others": ["es"]},
            "model": {"source": "toy"},
            "generation": generation,
            "evaluation": {"tasks": ["tiny_world_{language}"]},
        }
    )


@pytest.mark.parametrize(
    ("wanted", "vllm", "has_gpu", "engine", "reason"),
    [
        ("auto", True, True, "vllm", "there is a GPU and vllm is installed"),
        ("auto", True, False, "transformers", "there is no GPU"),
        ("auto", False, True, "transformers", "vllm is not installed"),
        ("transformers", True, True, "transformers", "the run's recipe names it"),
        ("vllm", True, False, "vllm", "the run's recipe names it"),
    ],
)
def test_the_choice_says_why(monkeypatch, wanted, vllm, has_gpu, engine, reason):
    monkeypatch.setattr(engine_choice, "find_spec", lambda name: object() if vllm else None)
    monkeypatch.setattr(engine_choice, "gpu_present", lambda: has_gpu)
    assert choose_engine(_recipe(engine=wanted)) == (engine, reason)


def test_vllm_that_is_not_installed_is_bad_input(monkeypatch):
    import lidr.components.shared.engines as engines

    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"lidr\[vllm\]"):
        require_installed(EngineName.VLLM)


def test_an_endpoint_without_its_client_is_bad_input(monkeypatch):
    import lidr.components.shared.engines as engines

    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"lidr\[endpoint\]"):
        require_installed(EngineName.OPENAI)


@pytest.mark.parametrize(
    ("name", "trained", "served"),
    [
        ("lidr-{digest}", False, "lidr-0123456789ab"),
        ("lidr-{digest}", True, "lidr-0123456789ab"),
        ("llama-3", False, "llama-3"),
    ],
)
def test_a_model_is_served_under_the_name_the_recipe_gives(name, trained, served):
    recipe = _recipe(engine="openai", endpoint={"model": name})
    files = ModelFiles(Path("none"), None, "0123456789abcdef", trained)
    assert served_name(recipe, files) == served


def test_a_name_that_never_changes_is_no_trained_model_s():
    recipe = _recipe(engine="openai", endpoint={"model": "llama-3"})
    with pytest.raises(BadInput, match="'llama-3' names M_0") as caught:
        served_name(recipe, ModelFiles(Path("none"), None, "0123", trained=True))
    assert "{digest}" in caught.value.remedy


def test_the_recipe_starts_its_engine(folder):
    engine = start_engine(_recipe(engine="transformers"), ModelFiles(folder))
    (completion,) = complete(engine, requests(1), Decoding(max_tokens=4))
    assert completion.output_tokens == 4
    engine.close()


@pytest.mark.parametrize(
    ("hidden", "expected"), [(None, True), ("0,1", True), ("", False), ("-1", False)]
)
def test_a_gpu_is_a_driver_that_is_not_hidden(tmp_path, monkeypatch, hidden, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(gpu, "_DRIVERS", ((("CUDA_VISIBLE_DEVICES",), driver, "nvidia[0-9]*"),))
    assert not gpu.gpu_present()
    driver.touch()
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu.gpu_present() is expected


def test_choosing_needs_no_torch():
    """Every step chooses, for its digest: also those that never start an engine."""
    code = (
        "import sys; from lidr.components.shared import engines;"
        "from lidr.components.shared.core.gpu import gpu_present; gpu_present();"
        "assert not {'torch', 'vllm', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_requests_are_read_as_there_is_room_and_may_follow_from_answers(engine):
    """A source may say that there is none now, and have more after the next completion."""
    decoding = Decoding(max_tokens=6)
    first = [replace(r, decoding=decoding, group="first") for r in requests(6)]
    answered: list[Completion] = []

    def source():
        yield from first
        while len(answered) < len(first):
            yield None
        yield from (replace(r, key=f"again {r.key}", group="second") for r in first)

    for completion in engine.complete(source()):
        answered.append(completion)  # noqa: PERF402
    texts = {completion.key: completion.text for completion in answered}
    assert len(texts) == 12
    assert all(texts[f"again {r.key}"] == texts[r.key] for r in first)


def test_likelihoods_are_those_of_the_harness(folder, engine):
    """lm-evaluation-harness's own model (HFLM) on the rendered chats, one text at a time."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    judge = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1)
    asked = [each for each in score_requests() if each.key.startswith("s")]
    found = {each.key: each for each in engine.score(asked)}
    for request in asked:
        chat = judge.tokenizer.apply_chat_template(
            request.messages, tokenize=False, add_generation_prompt=True
        )
        pairs = [(chat + request.primer, text) for text in request.continuations]
        instances = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
        expected = judge.loglikelihood(instances, disable_tqdm=True)
        answer = found[request.key]
        assert list(answer.greedy) == [greedy for _, greedy in expected]
        assert list(answer.logprobs) == pytest.approx([value for value, _ in expected], abs=1e-4)


def test_likelihoods_do_not_depend_on_what_else_is_asked(folder, engine):
    asked = score_requests()
    small = _engine(folder, batch_tokens=1)
    same_scores(small.score(asked[::-1]), engine.score(asked))
    small.close()


def test_what_cannot_be_scored_is_told(engine):
    found = {each.key: each for each in engine.score(score_requests())}
    assert found["long"].failure == Failure.PROMPT_TOO_LONG
    assert found["empty"].failure == Failure.EMPTY
    assert found["long"].logprobs == found["empty"].logprobs == ()
    assert sum(each.failure is not None for each in found.values()) == 2


def test_text_to_be_scored_cannot_become_a_control_token(engine):
    """The letters of a control token are many tokens; the token itself would be one."""
    (plain,) = engine.score([score_requests()[-4]])
    assert plain.key == "hostile"
    assert plain.logprobs[0] < plain.logprobs[1] - 20
