"""Profiles in layers, and environment variables in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lidr.components.shared.config.profile import VARIABLES, Profile, load_profile
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.acceptable import require_acceptable

DOCS = Path(__file__).resolve().parents[4] / "docs/cluster.md"

BASE = """\
name: base
namespace: lab
pools:
  gpu:
    accelerators: 1
    node_selector: {zone: a, disk: ssd}
    tolerations: [{key: gpu}, {key: lab}]
steps:
  generate: {pool: gpu}
secrets:
  hub: [HF_TOKEN]
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def layered(folder: Path, *texts: str) -> Profile:
    files = [folder / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return load_profile(*files)


def refused(folder: Path, *texts: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        layered(folder, *texts)
    assert caught.value.exit_code == 2 and caught.value.remedy
    return caught.value


def test_a_later_layer_wins_by_a_merge_key_too_and_its_nulls_leave_the_default(tmp_path):
    over = "pools: {big: &big {accelerators: 4}, gpu: {<<: *big}}\ntraining: {image: null}\n"
    found = layered(tmp_path, BASE, over)
    assert found.resources_of("generate").accelerators == 4
    assert found.training == Profile(name="x").training


def test_an_invalid_value_names_its_own_layer(tmp_path):
    assert refused(tmp_path, BASE, "name: 2024-02-30\n").file == str(tmp_path / "1.yaml")


def test_later_files_win_key_by_key_and_replace_lists(tmp_path):
    over = "pools: {gpu: {node_selector: {zone: b}, tolerations: [{key: spot}]}}\nshards: 4\n"
    found = layered(tmp_path, BASE, over, "shards: 8\nname: mine\n")
    pool = found.resources_of("generate")
    assert pool.node_selector == {"zone": "b", "disk": "ssd"}
    assert [each.key for each in pool.tolerations] == ["spot"]
    assert (found.name, found.shards, found.namespace) == ("mine", 8, "lab")
    assert pool.accelerators == 1


def test_one_file_is_what_its_layers_are(tmp_path):
    whole = BASE.replace("name: base", "name: base\nshards: 2")
    assert layered(tmp_path, BASE, "shards: 2\n") == layered(tmp_path, whole)


def test_a_null_takes_a_key_away(tmp_path):
    found = layered(tmp_path, BASE, "pools: {gpu: {node_selector: {zone: null}}}\nsecrets: ~\n")
    assert found.resources_of("generate").node_selector == {"disk": "ssd"}
    assert found.secrets == {}


def test_nulls_of_a_mapping_leave_the_default_where_the_base_has_none(tmp_path):
    over = "kubeflow: {oidc: {token_url: 'https://i', client_id: l, scope: null}}\n"
    alone = layered(tmp_path, BASE + over.replace(", scope: null", ""))
    assert layered(tmp_path, BASE + "kubeflow: {oidc: null}\n", over) == alone
    assert layered(tmp_path, BASE, over) == alone


@pytest.mark.parametrize("over", ["", "# nothing yet\n", "---\n# nothing\n", "~\n"])
def test_an_empty_later_layer_changes_nothing(tmp_path, over):
    assert layered(tmp_path, BASE, over, "shards: 2\n") == layered(tmp_path, BASE, "shards: 2\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_first_layer_is_refused(tmp_path, text):
    assert "expected keys and values" in refused(tmp_path, text, BASE).message


MERGING = """\
pools:
  a: &a {accelerators: 2, node_selector: {zone: a}}
  b:
    <<: *a
    node_selector: {disk: ssd}
"""


def test_keys_beside_a_merge_key_replace_its_own_in_every_layer(tmp_path):
    for layers in ((f"name: x\n{MERGING}",), ("name: x\n", MERGING)):
        found = layered(tmp_path, *layers).pools["b"]
        assert (found.accelerators, found.node_selector) == (2, {"disk": "ssd"})


def test_a_fault_beside_a_merge_key_is_named_with_its_own_line(tmp_path):
    over = MERGING.replace("{disk: ssd}", "{disk: 1}")
    error = refused(tmp_path, "name: x\n", over)
    assert "pools.b.node_selector" in error.message and error.line == 5


def test_anchors_stay_within_their_file(tmp_path):
    over = "pools: {gpu: &own {accelerators: 2}, other: *own}\n"
    found = layered(tmp_path, BASE, over)
    assert found.pools["other"].node_selector == {}
    assert found.pools["gpu"].node_selector == {"zone": "a", "disk": "ssd"}


@pytest.mark.parametrize(
    ("over", "file", "line", "message"),
    [
        ("\nshards: many\n", 1, 2, "shards: input should be a whole number"),
        ("shard: 1\n", 1, 1, "unknown key 'shard' (did you mean 'shards'?)"),
        ("shards: 1\nsteps: {generate: {pool: gpus}}\n", 1, 2, "steps.generate.pool: no pool"),
        ("pools: {gpu: {accelerators: 2}}\nsteps:\n  generate: {tensor_parallel: 4}\n", 1, 3, "4"),
        ("pools: ~\n", 0, 9, "steps.generate.pool: no pool 'gpu'; pools are none"),
        ("pools: {gpu: {tolerations: [{key: a}, {key: 1}]}}\n", 1, 1, "tolerations.1.key"),
        ("name: ~\n", 0, 1, "key 'name' is missing"),
        ("- a\n", 1, 1, "expected keys and values"),
        ("a: b: c\n", 1, 1, "not valid YAML"),
        ("a: 1\na: 2\n", 1, 2, "key 'a' appears twice"),
        ("[a, b]: 1\n", 1, 1, "a key is a list or a mapping"),
        ("pools: &p {gpu: {node_selector: *p}}\n", 1, 1, "a value that holds itself"),
    ],
)
def test_a_fault_is_named_in_the_file_it_came_from(tmp_path, over, file, line, message):
    error = refused(tmp_path, BASE, over)
    assert message in error.message
    assert (error.file, error.line) == (str(tmp_path / f"{file}.yaml"), line)


def test_variables_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_STORE", "s3://b/p")
    monkeypatch.setenv("LIDR_REGISTRY", "r.example/lidr")
    text = (
        'name: x\nstore: "${LIDR_STORE}"\nnamespace: "${LIDR_NAMESPACE:-lab}"\n'
        'images: {train: "${LIDR_REGISTRY}/train:1"}\nkubeflow: {host: "${LIDR_KFP_HOST:-}"}\n'
    )
    found = layered(tmp_path, text)
    assert (found.store, found.namespace, found.kubeflow.host) == ("s3://b/p", "lab", "")
    assert found.images.train == "r.example/lidr/train:1"
    monkeypatch.setenv("LIDR_NAMESPACE", "")  # as if it were not set
    assert layered(tmp_path, text).namespace == "lab"


def test_what_a_later_file_replaces_needs_no_variable(tmp_path):
    assert layered(tmp_path, 'name: x\nstore: "${LIDR_STORE}"\n', "store: here\n").store == "here"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${LIDR_STORE}", "environment variable LIDR_STORE is not set"),
        ("a-${LIDR_STORE}-b", "environment variable LIDR_STORE is not set"),
        ("${AWS_SECRET_ACCESS_KEY}", "${AWS_SECRET_ACCESS_KEY} is no placeholder; allowed are LI"),
        ("${HOME:-x}", "${HOME:-x} is no placeholder"),
        ("${LIDR_STORE", "${LIDR_STORE is no placeholder"),
        ("${LIDR_STORE:x}", "${LIDR_STORE:x} is no placeholder"),
        ("${}", "${} is no placeholder"),
        ("${LIDR_STORE:-s3://${LIDR_NAMESPACE}/lidr}", "placeholders cannot be nested"),
    ],
)
def test_a_variable_that_is_not_there_is_named_with_its_line(tmp_path, monkeypatch, value, message):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    error = refused(tmp_path, BASE, f'shards: 1\nstore: "{value}"\n')
    assert message in error.message and "hush" not in str(error)
    assert (error.file, error.line) == (str(tmp_path / "1.yaml"), 2)


def test_a_nested_placeholder_is_refused_even_where_its_default_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_STORE", "s3://b/x")
    error = refused(tmp_path, 'name: x\nstore: "${LIDR_STORE:-s3://${LIDR_NAMESPACE}/lidr}"\n')
    assert "placeholders cannot be nested" in error.message and error.line == 2


def test_an_empty_variable_is_called_that(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_STORE", "")
    error = refused(tmp_path, 'name: x\nstore: "${LIDR_STORE}"\n')
    assert "LIDR_STORE is not set, or is empty" in error.message


def test_what_a_variable_holds_is_checked_like_anything_else(tmp_path, monkeypatch):
    monkeypatch.setenv("LIDR_KFP_HOST", "ftp://x")
    error = refused(tmp_path, 'name: x\nkubeflow:\n  host: "${LIDR_KFP_HOST}"\n')
    assert "kubeflow.host" in error.message and error.line == 3


def test_the_documentation_names_the_variables_and_shows_a_profile_that_loads(tmp_path):
    text = DOCS.read_text("utf-8")
    assert all(f"`{name}`" in text for name in VARIABLES)
    (shown,) = re.findall(r"```yaml\n(pools:.*?)```", text, re.DOTALL)
    found = layered(tmp_path, f"name: shown\nrunner: kubeflow\n{shown}")
    require_acceptable(found)
    translate, world = found.resources_of("translate"), found.resources_of("prepare")
    assert (translate.gpu, translate.tensor_parallel, world.accelerators) == ("H100", 4, 0)
