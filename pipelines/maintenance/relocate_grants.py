"""Accounts' permissions on a registered model, where MLflow runs with its basic auth."""

from __future__ import annotations

from typing import Any

_USERS = "/api/2.0/mlflow/users/list"
_GET = "/api/3.0/mlflow/users/permissions/get"
_GRANT = "/api/3.0/mlflow/users/permissions/grant"
_KIND = "registered_model"


def copy_grants(uri: str, name: str, copy: str) -> list[str]:
    """Copy every account's permission on the registered model `name` to its copy, the model `copy`.

    MLflow keeps permissions by the model's name and drops them with the model.

    Returns:
        The accounts whose permission could not be copied: only administrators see others'. Where
        accounts may not even be listed, `all others`.
    """
    if not uri.startswith("http"):
        return []
    status, answer = _call(uri, _USERS, "GET")
    if status == 404:  # MLflow has no accounts, or a proxy in front of it has them
        return []
    if status != 200:
        return ["all others"]
    accounts = [str(user["username"]) for user in answer["users"] if not user.get("is_admin")]
    return [account for account in accounts if not _copy(uri, account, name, copy)]


def _copy(uri: str, account: str, name: str, copy: str) -> bool:
    def permission(model: str) -> tuple[int, Any]:
        asked = {"username": account, "resource_type": _KIND, "resource_id": model}
        status, answer = _call(uri, _GET, "GET", params=asked)
        return status, answer.get("permission")

    status, before = permission(name)
    if status != 200:
        return False
    if permission(copy) == (200, before):
        return True
    granted = {"username": account, "resource_type": _KIND, "resource_id": copy}
    return _call(uri, _GRANT, "POST", json={**granted, "permission": before})[0] < 300


def _call(uri: str, path: str, method: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Return status and body of a request to MLflow; its own client cannot list accounts."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    answer = http_request(get_default_host_creds(uri), path, method, **options)
    return answer.status_code, answer.json() if answer.status_code == 200 else {}
