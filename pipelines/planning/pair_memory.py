"""The memory that `pair` needs: it holds an iteration's candidates and their texts at once."""

from __future__ import annotations

from lidr.components.shared.config.pools import quantity_bytes
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.sizing.memory import GIB
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import Lengths, PairLoad, PlannedPrompts, Requests

_PROCESS_BYTES = 0.4 * GIB
"""Of the Python process, with its libraries, and of the uploader beside it."""

_LANGUAGE_BYTES = 35e6
"""Of a language's models in the language identifier: 150 MB for 4 languages, 430 MB for 20."""

_CANDIDATE_BYTES = 2000
"""Of a candidate and its pair, without their texts. Measured with two texts of 1.5 KB: 4.5 KB with
the texts, and 3 to 4 KB more while the file is written."""

_TOKEN_BYTES = 4.0 * 2.0
"""Of a token's text, twice: in the pair, and in the file being written. In memory a token has about
four bytes in any script, since Python stores texts beyond Latin-1 in two bytes a character."""

REMEDY = "Raise steps.control.memory in the profile."


def pair_bytes(pairs: PairLoad) -> float:
    """Return roughly how much memory `pair` needs for an iteration's candidates."""
    texts = pairs.candidates * (_CANDIDATE_BYTES + _TOKEN_BYTES * pairs.length)
    return _PROCESS_BYTES + _LANGUAGE_BYTES * pairs.languages + texts


def pair_memory_fault(profile: Profile, pairs: PairLoad) -> str:
    """Return why the pods of a profile have too little memory for `pair`; "" if they have enough.

    Steps of a local run have no memory limit.
    """
    memory, needed = profile.resources_of("control").memory, pair_bytes(pairs)
    if profile.runner == "local" or needed <= quantity_bytes(memory):
        return ""
    return (
        f"pair needs about {needed / GIB:,.1f} GiB for {pairs.candidates:,} candidates, and "
        f"steps.control.memory is {memory}"
    )


def planned_pairs(recipe: Recipe, prompts: PlannedPrompts) -> PairLoad:
    """Return the pairs of one iteration of a recipe, with the assumed lengths of answers."""
    return Requests(recipe, prompts, figures().lengths, Lengths()).pairs
