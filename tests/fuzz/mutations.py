"""Broken input out of good input: every draw comes from one `Random`, so that a seed repeats it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

from tests.payloads import FRAGMENTS

_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "-1", "true", "null", "en", "xx"),
    *("\ud800", "\0", "a" * 300, "../../etc/passwd", "s3://b/k", "hf://a/b@c#d", "http://u:p@h"),
    *([], {}, [[]], [{}], {"": ""}, [None], {"a": [1, {"b": None}]}, ["x"] * 50),
)

_NAMES = ("", "name", "id", "event", "run", "files", "__proto__", "seal", "digest", "é", "\ud800")


def text(random: Random, seeds: Sequence[str], edits: int = 6) -> str:
    """Return one of several texts with a few edits: characters, spans and fragments."""
    found = random.choice(seeds)
    for _ in range(random.randint(0, edits)):
        found = _edited(random, found, seeds)
    return found


def data(random: Random, seeds: Sequence[bytes], edits: int = 6) -> bytes:
    """Return one of several files with a few bits, bytes and spans changed, or torn off."""
    found = bytearray(random.choice(seeds))
    for _ in range(random.randint(0, edits)):
        place = random.randint(0, len(found))
        length = random.choice((1, 1, 2, 4, 8, 64))
        kind = random.randrange(6)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[place : place + length] = random.randbytes(length)
        elif kind == 2:
            del found[place : place + length]
        elif kind == 3:
            found[place:place] = random.randbytes(length)
        elif kind == 4:
            found[place:place] = found[: length * 8]
        elif random.random() < 0.2:
            del found[place:]
    return bytes(found)


def tree(random: Random, base: Any, edits: int = 3) -> Any:
    """Return a copy of a JSON value with a few of its parts changed, moved, removed or added."""
    found = json.loads(json.dumps(base))
    for _ in range(random.randint(0, edits)):
        found = _changed(random, found)
    return found


def odd_value(random: Random) -> Any:
    """Return a value that a field may not expect."""
    if random.random() < 0.3:
        return text(random, FRAGMENTS, 2)
    return deepcopy(random.choice(_ODD_VALUES))


def as_json(random: Random, value: Any) -> bytes:
    """Return JSON as other programs may write it, now and then torn or with bytes changed."""
    written = json.dumps(value, ensure_ascii=random.random() < 0.5)
    raw = written.encode("utf-8", "surrogatepass")
    return data(random, [raw], 3) if random.random() < 0.15 else raw


def _edited(random: Random, found: str, seeds: Sequence[str]) -> str:
    place = random.randint(0, len(found))
    length = random.choice((1, 1, 2, 3, 10, 50))
    kind = random.randrange(8)
    before, span, after = found[:place], found[place : place + length], found[place + length :]
    if kind == 0:
        return before + after
    if kind == 1:
        return before + chr(_code_point(random)) + after
    if kind == 2:
        return before + random.choice(FRAGMENTS) + span + after
    if kind == 3:
        return before + span * random.choice((2, 3, 20)) + after
    if kind == 4:
        return after + span + before
    if kind == 5:
        return before if random.random() < 0.2 else found
    if kind == 6:
        other = random.choice(seeds)
        return before + other[random.randint(0, len(other)) :]
    return before + "".join(chr(_code_point(random)) for _ in range(length)) + after


def _code_point(random: Random) -> int:
    highest = random.choice((0x7F, 0x7F, 0x24F, 0x2FFF, 0xFFFF, sys.maxunicode))
    return random.randint(0, highest)


def _changed(random: Random, found: Any) -> Any:
    """Change one part: walk down at random, and stop at random."""
    if isinstance(found, dict) and found and random.random() < 0.8:
        key = random.choice(list(found))
        kind = random.randrange(6)
        if kind == 0:
            del found[key]
        elif kind == 1:
            found[random.choice(_NAMES)] = found.pop(key)
        elif kind == 2:
            found[random.choice(_NAMES)] = odd_value(random)
        else:
            found[key] = _changed(random, found[key])
        return found
    if isinstance(found, list) and found and random.random() < 0.8:
        place = random.randrange(len(found))
        kind = random.randrange(4)
        if kind == 0:
            del found[place]
        elif kind == 1:
            found.insert(place, odd_value(random))
        else:
            found[place] = _changed(random, found[place])
        return found
    if isinstance(found, str) and random.random() < 0.5:
        return text(random, [found], 2)
    if isinstance(found, int | float) and random.random() < 0.5:
        return random.choice((-found, found + 1, found * 2, float(found), str(found)))
    return odd_value(random)
