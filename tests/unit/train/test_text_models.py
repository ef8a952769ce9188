"""Models whose text model lies inside another one, and models without a length or an end token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig

from lidr.components.shared.config.training import Training
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines import ChatRequest, Decoding
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.samples import CUT_FILE, CutSide, pair_key
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage, open_stage
from lidr.components.train.pairs import load_pairs
from lidr.components.train.run import train
from tests.shapes import SHAPES, gemma3_with_images, shaped_tokenizer, write_model
from tests.unit.train.stages import launch, pair_stage, preference, recipe

BESIDE = {"preprocessor_config.json": '{"do_resize": true}', "processor_config.json": "{}"}


def gemma3(folder: Path) -> Path:
    tokenizer = shaped_tokenizer(SHAPES["gemma-3"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    rows = len(tokenizer) - 1  # as in gemma-3-1b, the image token has none
    write_model(folder, SHAPES["gemma-3"], gemma3_with_images(rows), tokenizer)
    for name, text in BESIDE.items():
        (folder / name).write_text(text)
    return folder


def bloom(folder: Path, limit: int = 200) -> Path:
    tokenizer = shaped_tokenizer(SHAPES["no eos"])
    tokenizer.model_max_length = limit
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=2, initializer_range=0.2
    )
    return write_model(folder, SHAPES["no eos"], config, tokenizer)


MODELS = {"gemma 3 with images": gemma3, "bloom, no eos": bloom}


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp("model"))


def test_a_batch_is_what_each_request_gets_alone(folder: Path):
    engine = TransformersEngine(folder, dtype="float32", max_length=0, batch_tokens=4096)
    decoding = Decoding(max_tokens=12)
    asked = [
        ChatRequest(str(n), [{"role": "user", "content": "Nina tiene 4 libros. " * n}], decoding)
        for n in (1, 2, 5)
    ]
    together = {each.key: each.text for each in engine.complete(asked)}
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = ChatRenderer.load(folder, PLAIN_CHAT)
    for request in asked:
        prompt = torch.tensor([chat.render(request)])
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=sorted(chat.stops),
            pad_token_id=0,
        )[0, prompt.shape[1] :].tolist()
        expected = chat.decode([token for token in written if token not in chat.stops])
        assert together[request.key] == expected
    engine.close()


def test_it_is_trained_and_exported_with_all_that_lies_beside_its_weights(
    folder: Path, tmp_path: Path
):
    stage = new_stage(LocalStore(tmp_path), "prepare", 1, {}, {"model": "own"})
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    stage.finish({})
    pairs = [preference(n) for n in range(8)]
    uri = train(
        recipe=recipe(learning_rate=1e-2),
        launch=launch(),
        store=str(tmp_path),
        inputs=stage.uri,
        pairs=pair_stage(tmp_path, pairs),
        model=stage.uri,
        iteration=1,
    )
    first = json.loads(open_stage(uri).read("metrics.jsonl").splitlines()[0])
    assert first["dpo_loss"] == pytest.approx(0.693147, abs=1e-5)
    made = model_files(uri).folder
    assert {path.name for path in made.iterdir()} == {path.name for path in folder.iterdir()}
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            assert (made / path.name).read_bytes() == path.read_bytes(), path.name
    before, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (folder, made))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if "vision" in name or "projector" in name]
    chat = ChatRenderer.load(made, PLAIN_CHAT)
    assert chat.stops == ChatRenderer.load(folder, PLAIN_CHAT).stops


def test_a_side_that_was_cut_is_not_taught_to_end(tmp_path: Path):
    folder = bloom(tmp_path / "model")
    chat = ChatRenderer.load(folder, PLAIN_CHAT)
    record = preference(4)
    stage = new_stage(LocalStore(tmp_path), "pair", 1, {}, {"pairs": "cut"})
    stage.write_records("pairs.parquet", [record], type(record))
    stage.write_records(CUT_FILE, [CutSide(pair_key(record), "chosen")], CutSide)
    stage.finish({"pairs": 1})
    [pair] = load_pairs(stage.uri, chat, folder, Training()).pairs
    assert pair.chosen[-1] not in chat.stops
    assert pair.rejected[-1] in chat.stops


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [(200, "Raise training.max_length"), (64, "reads 64 tokens"), (10**30, "Raise")],
)
def test_a_prompt_without_room_names_what_bounds_it(tmp_path: Path, limit: int, remedy: str):
    folder = bloom(tmp_path / "model", limit)
    chat = ChatRenderer.load(folder, PLAIN_CHAT)
    pairs = pair_stage(tmp_path, [preference(1, prompt="Nina tiene 4 libros. " * 40)])
    with pytest.raises(BadInput, match=remedy):
        load_pairs(pairs, chat, folder, Training(max_length=64))
