from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.core.digest import (
    canonical_json,
    digest_of,
    digest_of_bytes,
    digest_of_file,
    digest_of_uri,
    seed_of,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_canonical_json_is_json_and_means_the_same(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), PLAIN, min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(value):
    turned = dict(reversed(value.items()))
    assert digest_of(turned) == digest_of(value)


@given(PLAIN, PLAIN)
def test_different_values_have_different_digests(first, second):
    same_text = canonical_json(first) == canonical_json(second)
    assert (digest_of(first) == digest_of(second)) == same_text


def test_the_digest_is_stable_over_releases():
    value = {"b": [1, 2.5, None, True], "a": "é"}
    text = '{"a":"é","b":[1,2.5,null,true]}'
    assert canonical_json(value) == text
    assert digest_of(value) == hashlib.sha256(text.encode()).hexdigest()


def test_whole_floats_are_not_integers():
    assert digest_of(1) != digest_of(1.0)


def test_lone_surrogates_can_be_digested():
    assert digest_of("\ud800") != digest_of("\ud801")


class Colour(StrEnum):
    RED = "red"


def test_enums_of_text_count_as_their_text():
    assert digest_of({"colour": Colour.RED}) == digest_of({"colour": "red"})


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {1, 2}}, r"\$\.a: set"),
        ({"a": [b"x"]}, r"\$\.a\[0\]: bytes"),
        ({"a": {1: 2}}, r"\$\.a: key 1"),
        (Path("x"), r"\$: PosixPath"),
        (object(), r"\$: object"),
        ({"a": MappingProxyType({})}, r"\$\.a: mappingproxy"),
    ],
)
def test_what_json_cannot_hold_is_refused(value, where):
    with pytest.raises(TypeError, match=where):
        digest_of(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": float("-inf")}]])
def test_numbers_without_a_canonical_form_are_refused(value):
    with pytest.raises(ValueError, match="no canonical JSON form"):
        digest_of(value)


def test_files_and_bytes_have_the_same_digest(tmp_path):
    data = b"x" * ((1 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert digest_of_file(tmp_path / "file") == digest_of_bytes(data) == expected


def test_the_digest_of_a_uri_is_its_end():
    assert digest_of_uri("s3://b/p/stages/pair/abc") == "abc"
    assert digest_of_uri("s3://b/p/stages/pair/abc/") == "abc"
    assert digest_of_uri("") == ""


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=4))
def test_seeds_fit_every_generator_and_repeat(parts):
    assert 0 <= seed_of(*parts) < 2**63
    assert seed_of(*parts) == seed_of(*parts)


def test_seeds_tell_their_parts_apart():
    seeds = {seed_of(0, 1, "ab", "c"), seed_of(0, 1, "a", "bc"), seed_of(0, 11, "", "abc")}
    assert len(seeds) == 3
