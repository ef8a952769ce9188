"""Flat rows and the tiled head against the model's own forward pass in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BloomConfig, FalconConfig, OPTConfig, PhimoeConfig, Starcoder2Config

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward import attention, head
from lidr.components.shared.forward.attention import (
    fits_kernel,
    flat_attention,
    varlen_attention,
)
from lidr.components.shared.forward.batches import (
    Segments,
    flat_batch,
    padded_batch,
    separate_batch,
)
from lidr.components.shared.forward.head import HeadShape, completion_logps
from lidr.components.shared.forward.scoring import install_scoring, score
from lidr.components.shared.models.adapters import skeleton
from lidr.components.shared.models.attention_form import why_padded
from lidr.components.train.forward.loss import pair_losses
from tests.unit.train.models import APART, FLAT, PADDED, longrope, random_model, random_pairs

CPU = torch.device("cpu")
PAIRS = random_pairs()
REFERENCE = torch.linspace(-90, -60, 2 * len(PAIRS)).view(-1, 2)


def own_scores(model, pairs) -> torch.Tensor:
    """Score each side by itself through the model's own forward pass."""
    scores = []
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            logits = model(torch.tensor([pair.prompt + side]), use_cache=False).logits[0]
            logps = logits[len(pair.prompt) - 1 : -1].log_softmax(-1)
            scores.append(logps[torch.arange(len(side)), torch.tensor(side)].sum())
    return torch.stack(scores).view(-1, 2)


def objective(scores: torch.Tensor, pairs, reference: torch.Tensor) -> torch.Tensor:
    lengths = torch.tensor([len(pair.chosen) for pair in pairs])
    losses = pair_losses(scores, lengths, reference, 0.1)
    return (losses.dpo + losses.nll).sum() / len(PAIRS)


def loss_and_grads(model, parts, layout) -> tuple[float, dict[str, torch.Tensor]]:
    """Run forward and backward over some micro-batches, rows of PAIRS."""
    model.zero_grad()
    total = 0.0
    for rows in parts:
        pairs = [PAIRS[row] for row in rows]
        found = score(model, layout(pairs, CPU)) if layout else own_scores(model, pairs)
        loss = objective(found, pairs, REFERENCE[rows])
        loss.backward()
        total += loss.item()
    grads = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return total, copy.deepcopy(grads)


@pytest.mark.parametrize("name", [*FLAT, *APART, *PADDED])
def test_losses_and_gradients_are_those_of_the_model_in_float64(name: str, capsys):
    config = {**FLAT, **APART, **PADDED}[name]
    expected = loss_and_grads(random_model(config, torch.float64).eval(), [range(5)], None)
    model = random_model(config)
    layout = install_scoring(model, PAIRS)
    layouts = {flat_batch: FLAT, separate_batch: APART, padded_batch: PADDED}
    assert name in layouts[layout]
    assert ("batches are padded" in capsys.readouterr().err) == (name in PADDED)
    model.train()
    for parts in ([[0, 1, 2, 3, 4]], [[3, 1], [0, 4], [2]], [[0], [1], [2], [3], [4]]):
        loss, grads = loss_and_grads(model, parts, layout)
        assert loss == pytest.approx(expected[0], rel=1e-6)
        assert grads.keys() == expected[1].keys()
        for key, grad in grads.items():
            scale = expected[1][key].abs().max().item()
            assert torch.allclose(grad.double(), expected[1][key], atol=1e-5 * scale + 1e-7), key


def test_admission_sees_without_weights_how_batches_are_made():
    found = {name: why_padded(skeleton(config)) for name, config in {**FLAT, **PADDED}.items()}
    unseen = [name for name, reason in found.items() if reason is None]
    assert [name for name in FLAT if found[name]] == []
    assert [name for name in PADDED if found[name] == ""] == []
    assert set(unseen) <= {"mixtral", "qwen3 moe"}, "experts are chosen by values"
    assert "is chunked attention" in found["llama4, chunks"]
    assert "sliding window only in the attention mask" in found["qwen2 moe, window"]


@pytest.mark.parametrize("window", [None, 20])
def test_admission_sees_a_window_that_only_the_mask_has(window: int | None):
    reason = why_padded(skeleton(PhimoeConfig(**_SIZES, sliding_window=window)))
    assert bool(reason) == bool(window)


def test_a_mask_of_the_model_s_own_is_not_dropped():
    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(NotImplementedError, match="Module is not a plain causal softmax"):
        flat_attention(torch.nn.Module(), states, states, states, torch.zeros(1, 1, 3, 3))


def test_layer_that_loses_the_segments_is_named():
    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(NotImplementedError, match="Module does not pass `segments` on to its"):
        flat_attention(torch.nn.Module(), states, states, states, None)


def test_kernel_that_fails_in_the_passes_own_precision_leads_to_padded_batches(monkeypatch, capsys):
    by_segment = attention._by_segment

    def kernel(*given):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("FlashAttention only supports\nhead dimension at most 256")
        return by_segment(*given)

    monkeypatch.setattr(attention, "_by_segment", kernel)
    assert install_scoring(random_model(FLAT["llama"]), PAIRS) is flat_batch
    assert install_scoring(random_model(FLAT["llama"]), PAIRS, bfloat16=True) is padded_batch
    assert "(FlashAttention only supports head dimension at most 256)" in capsys.readouterr().err


def test_plain_model_keeps_flat_rows_where_passes_run_in_bfloat16():
    assert install_scoring(random_model(FLAT["gemma3"]), PAIRS, bfloat16=True) is flat_batch


def test_longrope_knows_short_pairs_from_long_ones(capsys):
    """Pairs shorter than the switch share their prompt; a switch between two sides parts them."""
    assert install_scoring(random_model(longrope(64)), PAIRS) is flat_batch
    lengths = [(len(p.prompt + p.chosen), len(p.prompt + p.rejected)) for p in PAIRS]
    assert any(min(pair) <= 20 < max(pair) for pair in lengths), "one pair has a side of each kind"
    assert any(max(pair) <= 20 for pair in lengths)
    assert "longrope" not in capsys.readouterr().err
    assert install_scoring(random_model(longrope(20)), PAIRS) is separate_batch
    assert "longrope: some pairs are longer than 20 tokens" in capsys.readouterr().err


def test_gradient_checkpointing_changes_nothing():
    model = random_model(FLAT["llama"])
    layout = install_scoring(model, PAIRS)
    model.train()
    plain = loss_and_grads(model, [range(5)], layout)
    model.gradient_checkpointing_enable()
    again = loss_and_grads(model, [range(5)], layout)
    assert again[0] == plain[0]
    assert all(torch.equal(again[1][key], grad) for key, grad in plain[1].items())


_SMALL = {"vocab_size": 61, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_SIZES = {**_SMALL, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.mark.parametrize(
    "config",
    [
        Starcoder2Config(
            **_SIZES, num_key_value_heads=2, residual_dropout=0.5, embedding_dropout=0.5
        ),
        BloomConfig(**_SMALL, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.5),
        FalconConfig(**_SIZES, hidden_dropout=0.5, attention_dropout=0.5),
        OPTConfig(**_SIZES, ffn_dim=48, word_embed_proj_dim=32, dropout=0.5, layerdrop=0.5),
    ],
    ids=lambda config: config.model_type,
)
def test_scoring_in_training_has_no_dropout_wherever_a_model_keeps_its_rate(config):
    model = random_model(config)
    layout = install_scoring(model, PAIRS)
    with torch.no_grad():
        batch = layout(PAIRS, CPU)
        assert torch.equal(score(model.train(), batch), score(model.eval(), batch))


def test_scoring_names_the_key_that_bounds_the_pairs(monkeypatch):
    monkeypatch.setattr("lidr.components.shared.forward.scoring._agree", lambda *_: False)
    with pytest.raises(BadInput, match=r"Set model\.max_length to 20 or less"):
        install_scoring(random_model(longrope(20)), PAIRS, length_key="model.max_length")


def test_a_model_that_does_more_to_its_logits_is_refused():
    model = random_model(FLAT["llama"])
    usual = model.forward

    def stranger(*args, **kwargs):
        out = usual(*args, **kwargs)
        out.logits = out.logits.square()
        return out

    model.forward = stranger
    with pytest.raises(BadInput, match="LlamaForCausalLM does more to its logits"):
        install_scoring(model, PAIRS)


@pytest.mark.parametrize(
    "shape", [HeadShape(), HeadShape(scale=0.3), HeadShape(cap=2.0), HeadShape(0.5, 1.5)]
)
@pytest.mark.parametrize("biased", [False, True])
def test_the_head_in_tiles(shape: HeadShape, biased: bool, monkeypatch):
    monkeypatch.setattr(head, "MIN_TILE_ROWS", 3)
    monkeypatch.setattr(head, "TILE_LOGITS", 1)
    torch.manual_seed(0)
    hidden, weight, bias = (
        torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((8, 6), (11, 6), 11)
    )
    targets = torch.randint(11, (8,))

    def tiled(hidden, weight, bias):
        return completion_logps(hidden, weight, bias if biased else None, targets, shape)

    logits = (hidden @ weight.t() + (bias if biased else 0)) * shape.scale
    logits = shape.cap * torch.tanh(logits / shape.cap) if shape.cap else logits
    expected = logits.log_softmax(-1)[torch.arange(8), targets]
    assert torch.allclose(tiled(hidden, weight, bias), expected)
    assert torch.autograd.gradcheck(tiled, (hidden, weight, bias))


def test_no_tile_holds_a_batch_of_logits(monkeypatch):
    seen = []
    logits = head._logits
    monkeypatch.setattr(head, "_logits", lambda *args: seen.append(logits(*args)) or seen[-1])
    hidden = torch.randn(300, 4, requires_grad=True)
    weight = torch.randn(128_000, 4, requires_grad=True)
    targets = torch.randint(128_000, (300,))
    completion_logps(hidden, weight, None, targets, HeadShape()).sum().backward()
    assert len(seen) == 20  # 10 tiles, forward and backward
    assert max(each.numel() for each in seen) <= 32 * 128_000


def test_many_tokens_in_bfloat16_do_not_blur_the_weight_s_gradient(monkeypatch):
    """Gradients of equal signs, as of the NLL term, are the hardest: each sum rounds them again."""
    monkeypatch.setattr(head, "TILE_LOGITS", 1)
    monkeypatch.setattr(head, "BLOCK_LOGITS", 40 * 1024)
    torch.manual_seed(0)
    hidden, weight = torch.randn(8192, 8), torch.randn(40, 8)
    targets = torch.randint(40, (8192,))

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        given = weight.to(torch.bfloat16).to(dtype).requires_grad_()
        states = (hidden.abs().to(torch.bfloat16)).to(dtype)
        completion_logps(states, given, None, targets, HeadShape()).sum().backward()
        return given.grad.double()

    exact = gradient(torch.float64)
    error = (gradient(torch.bfloat16) - exact).norm() / exact.norm()
    assert error < 0.01


@pytest.mark.parametrize(
    ("sizes", "dtype", "fits"),
    [
        ((128, 128), torch.bfloat16, True),
        ((192, 128), torch.float16, True),
        ((256, 256), torch.bfloat16, True),
        ((512, 512), torch.bfloat16, False),
        ((128, 192), torch.bfloat16, False),
        ((12, 12), torch.bfloat16, False),
        ((128, 128), torch.float32, False),
    ],
)
def test_kernel_is_given_only_heads_that_it_takes(sizes, dtype, fits: bool):
    query, value = (torch.empty(1, 2, 3, size, dtype=dtype) for size in sizes)
    assert fits_kernel(query, value) == fits


@pytest.mark.parametrize("value_size", [8, 5])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("torch_knows_groups", [True, False])
def test_the_gpu_s_call_of_one_kernel_attends_to_the_same(
    value_size: int, window: int | None, groups: int, torch_knows_groups: bool
):
    """The kernel needs a GPU; one that means the same stands in for it, torch 2.11's as well."""
    segments = Segments(((3, 5, 2), (1, 1, 6), (7, 2, 9)))
    torch.manual_seed(0)
    query, key = (torch.randn(1, heads, 36, 8) for heads in (4, 4 // groups))
    value = torch.randn(1, 4 // groups, 36, value_size)

    def newer(q, k, v, query_ends, key_ends, *_, scale, window_size, enable_gqa=False):
        assert enable_gqa == (groups > 1)
        assert q.shape[-1] == k.shape[-1] == v.shape[-1], "FlashAttention wants one head size"
        found = []
        for number in range(len(query_ends) - 1):
            qs, ks, vs = (
                each[ends[number] : ends[number + 1]].transpose(0, 1)
                for each, ends in ((q, query_ends), (k, key_ends), (v, key_ends))
            )
            ahead = torch.arange(ks.shape[1]) - torch.arange(qs.shape[1])[:, None]
            ahead -= ks.shape[1] - qs.shape[1]  # the last query and the last key meet
            seen = ahead <= window_size[1]
            if window_size[0] >= 0:
                seen &= ahead >= -window_size[0]
            found.append(
                torch.nn.functional.scaled_dot_product_attention(
                    qs, ks, vs, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
                ).transpose(0, 1)
            )
        return torch.cat(found)

    def older(q, k, v, query_ends, key_ends, *_, scale, window_size):
        assert q.shape[1] == k.shape[1] == v.shape[1]
        nonlocal groups
        groups = 1
        return newer(q, k, v, query_ends, key_ends, scale=scale, window_size=window_size)

    layer, kernel = torch.nn.Module(), newer if torch_knows_groups else older
    expected, _ = flat_attention(
        layer, query, key, value, None, segments=segments, scaling=0.3, sliding_window=window
    )
    found = varlen_attention(kernel, query, key, value, segments, 0.3, window)
    assert torch.allclose(found, expected, atol=1e-6)
