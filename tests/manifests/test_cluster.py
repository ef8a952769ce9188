"""What only an API server can tell: dry runs of every overlay, and the table of rights.

Runs where KUBECONFIG names a cluster: any, or a bare API server with RBAC. Dry runs go to the
namespace `default` and change nothing; rights are asked in a namespace that is made for it and
deleted again. Both are tried here against an API server of the tests as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.manifests.cluster_api import serve
from tests.manifests.rendering import OVERLAYS, Object, needs_kubectl, overlay
from tests.manifests.rights import TABLE, Right, allows, granted, matrix, review

pytestmark = needs_kubectl

needs_cluster = pytest.mark.skipif(
    not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster to ask"
)
RIGHTS = ("Role", "RoleBinding", "ServiceAccount")
LAUNCHER = "lidr-pipeline"
"""The one account of ours that may do several things: it is asked for every verb there is."""


def kubectl(config: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": config}
    command = ["kubectl", "--request-timeout=60s", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, env=environment)


def moved(item: Object, namespace: str) -> Object:
    """Return an object as it would be in another namespace."""
    text = re.sub(r'"namespace": "\w+"', f'"namespace": "{namespace}"', json.dumps(item))
    found: Object = json.loads(text)
    return found


UNKNOWN = re.compile(r'no matches for kind "(\w+)" in version "([^"]+)"')


def dry_run(config: str, name: str) -> tuple[int, list[str], list[str]]:
    """Return how many objects an API server takes, what it refuses, and the kinds it lacks."""
    items = [moved(each, "default") for each in overlay(name) if each["kind"] != "Namespace"]
    done = kubectl(
        config,
        *("apply", "--server-side", "--dry-run=server", "--force-conflicts", "--validate=false"),
        *("--field-manager=lidr-test", "-f", "-"),
        given=yaml.safe_dump_all(items),
    )
    unknown = sorted({" ".join(found) for found in UNKNOWN.findall(done.stderr)})
    refused = [
        line
        for line in done.stderr.splitlines()
        if line and not UNKNOWN.search(line) and "ensure CRDs are installed" not in line
    ]
    return done.stdout.count("serverside-applied"), refused, unknown


@contextmanager
def rights_in_force(config: str) -> Iterator[str]:
    """Put the Roles of an overlay into a namespace of their own."""
    namespace = f"lidr-test-{uuid.uuid4().hex[:8]}"
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    done = kubectl(config, "create", "--validate=false", "-f", "-", given=json.dumps(made))
    assert done.returncode == 0, done.stderr
    try:
        items = [moved(each, namespace) for each in overlay("gke") if each["kind"] in RIGHTS]
        text = yaml.safe_dump_all(items)
        done = kubectl(config, "apply", "--server-side", "--validate=false", "-f", "-", given=text)
        assert done.returncode == 0, done.stderr
        yield namespace
    finally:
        kubectl(config, "delete", "namespace", namespace, "--wait=false")


def decisions(config: str, reviews: list[Object]) -> list[bool]:
    """Return an API server's answers to SubjectAccessReviews."""
    done = kubectl(
        config,
        *("create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.allowed};"),
        given=yaml.safe_dump_all(reviews),
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.split(";")[:-1]
    assert len(answers) == len(reviews)
    return [answer == "true" for answer in answers]


def differences(config: str) -> list[str]:
    """Return where an API server decides otherwise than the table."""
    table = [
        (account, allowed, text)
        for account, rows in TABLE.items()
        for allowed in (True, False)
        for text in rows["may" if allowed else "may_not"]
    ]
    may = [Right.parse(text) for text in TABLE[LAUNCHER]["may"]]
    table += [(LAUNCHER, False, right.text) for right in matrix() if right not in may]
    with rights_in_force(config) as namespace:
        reviews = [review(each, Right.parse(text), namespace) for each, _, text in table]
        found = decisions(config, reviews)
    return [
        f"{account} {'may not' if expected else 'may'} {text}"
        for (account, expected, text), decided in zip(table, found, strict=True)
        if expected != decided
    ]


@needs_cluster
@pytest.mark.parametrize("name", OVERLAYS)
def test_the_api_server_takes_every_object(name: str):
    taken, refused, unknown = dry_run(os.environ["KUBECONFIG"], name)
    assert refused == []
    assert taken > 30
    if unknown:
        pytest.skip(f"all others were taken; no CRD for {', '.join(unknown)}")


@needs_cluster
def test_the_api_server_decides_as_the_table_says():
    assert differences(os.environ["KUBECONFIG"]) == []


def test_kinds_without_a_crd_are_told_apart(tmp_path: Path):
    with serve(tmp_path) as (api, config):
        taken, refused, unknown = dry_run(str(config), "eks")
    assert refused == []
    assert taken == sum(method == "PATCH" for method, _ in api.written) > 30
    assert "TrainingRuntime trainer.kubeflow.org/v1alpha1" in unknown
    assert all("dryRun=All" in path and "/namespaces/lidr/" not in path for _, path in api.written)


def test_a_wrong_decision_is_told(tmp_path: Path):
    objects = overlay("gke")
    with serve(tmp_path) as (api, config):

        def decide(spec: Object) -> bool:
            wanted = spec["resourceAttributes"]
            resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource", ""))))
            right = Right(wanted["verb"], resource, wanted.get("group", ""), wanted.get("name", ""))
            account = spec["user"].rpartition(":")[2]
            wrong = account == "lidr-training" and right == Right("get", "pods")
            return wrong or allows(granted(objects, account), right)

        api.allowed = decide
        assert differences(str(config)) == ["lidr-training may get pods"]
        methods = [(method, path.partition("?")[0]) for method, path in api.written]
    assert methods[0] == ("POST", "/api/v1/namespaces")
    assert methods[-1][0] == "DELETE"
