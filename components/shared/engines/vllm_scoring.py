"""How vLLM scores text: the settings of a pass, and the scores in its output."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.engines.scoring import Pass, Score


def score_sampling(one: Pass) -> Any:
    """Return vLLM's `SamplingParams` for a pass.

    One-token alternatives: generate one token and ask for their logprobs; the context comes from
    the prefix cache. Longer texts: the prompt is context and text; ask for its logprobs.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        logprob_token_ids=one.targets if one.together else None,
        prompt_logprobs=None if one.together else 1,
        skip_clone=True,
    )


def scores_of(one: Pass, output: Any) -> tuple[Pass, list[Score]]:
    """Return a pass with the scores of its targets, from vLLM's output for it."""
    if one.together:
        best = output.outputs[0]
        by_token = best.logprobs[0]
        return one, [(by_token[each].logprob, each == best.token_ids[0]) for each in one.targets]
    logprobs = output.prompt_logprobs[-len(one.targets) :]
    return one, [
        (by_token[token].logprob, by_token[token].rank == 1)
        for by_token, token in zip(logprobs, one.targets, strict=True)
    ]
