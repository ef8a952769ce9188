"""The table of rights (rbac.yaml) against the rendered Roles."""

from __future__ import annotations

import pytest

from tests.manifests.rendering import OVERLAYS, named, needs_kubectl, overlay
from tests.manifests.rights import TABLE, Right, allows, granted, matrix

pytestmark = needs_kubectl


def expected(name: str, account: str) -> set[Right]:
    """Return the table's rights; where KServe serves, the follower has an InferenceService."""
    rights = {Right.parse(text) for text in TABLE[account]["may"]}
    if not named(overlay(name), "InferenceService"):
        return rights
    return {
        right._replace(resource="inferenceservices", group="serving.kserve.io")
        if right.resource == "deployments"
        else right
        for right in rights
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_accounts_have_the_rights_of_the_table_and_no_others(name: str):
    objects = overlay(name)
    for account in named(objects, "ServiceAccount"):
        rights = granted(objects, account)
        assert rights == (expected(name, account) if account in TABLE else set()), account
        for text in TABLE.get(account, {}).get("may_not", []):
            assert not allows(rights, Right.parse(text)), f"{account} may {text}"


@pytest.mark.parametrize("name", OVERLAYS)
def test_of_all_that_there_is_to_do_only_the_table_s_is_allowed(name: str):
    objects = overlay(name)
    for account in TABLE.keys() & named(objects, "ServiceAccount").keys():
        rights, may = granted(objects, account), expected(name, account)
        open_to_it = {right for right in matrix() if allows(rights, right)}
        assert open_to_it == {right for right in may if not right.name}, account
    assert len(matrix()) > 250


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_right_is_bound_in_another_way(name: str):
    objects = overlay(name)
    assert not {"ClusterRole", "ClusterRoleBinding"} & {item["kind"] for item in objects}
    foreign = [
        binding["roleRef"]["name"]
        for binding in named(objects, "RoleBinding").values()
        if binding["roleRef"]["kind"] != "Role"
    ]
    assert foreign == (["system:openshift:scc:nonroot-v2"] * 2 if name == "openshift" else [])


def test_wildcards_would_be_seen():
    rights = {Right("*", "*", "*")}
    assert allows(rights, Right.parse("get secrets/lidr-mlflow"))
    assert not allows({Right("get", "secrets", "", "a")}, Right.parse("get secrets/b"))
    assert allows({Right("get", "secrets")}, Right.parse("get secrets/b"))
