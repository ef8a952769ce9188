"""Asks the Kubernetes API, from a pod, whether a run of Kubeflow Pipelines is still alive.

This needs no client library, as not every image has one.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import urllib3

from lidr.components.shared.core.digest import digest_of_bytes

RUN_LABEL = "pipeline/runid"
"""Label of every Workflow and every pod of a run of Kubeflow Pipelines: the run's id."""

_COMPLETED = "workflows.argoproj.io/completed"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_SECONDS = 5.0
_NO_ANSWER = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    urllib3.exceptions.HTTPError,
)


def cluster_id() -> str:
    """Return an id that the pods of one account of one cluster share; "" where it is not known.

    Clusters may share the certificate authority of their API servers, but not the uid of a service
    account, which its token names.
    """
    try:
        authority = (_ACCOUNT / "ca.crt").read_bytes()
        claims = _claims((_ACCOUNT / "token").read_text("utf-8"))
        account = str(claims["kubernetes.io"]["serviceaccount"]["uid"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return digest_of_bytes(authority + account.encode()) if account else ""


def _claims(token: str) -> dict[str, Any]:
    """Return what a service account's token (a JWT) says; its signature is the API's concern."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def own_namespace() -> str:
    """Return the namespace of this pod; "" outside of pods."""
    try:
        return (_ACCOUNT / "namespace").read_text("utf-8").strip()
    except OSError:
        return ""


def has_ended(namespace: str, run: str) -> bool:
    """Return whether a run's Workflow is complete or gone, and none of its pods is alive.

    A live run has no pod between two tasks, but its Workflow is not complete then. Also False if
    the API server does not answer. `run` is its id in Kubeflow.
    """
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(run)):
        return False  # they come from the store, which may be damaged
    selected = {"labelSelector": f"{RUN_LABEL}={run}"}
    living = {**selected, "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}
    try:
        workflows = _list(f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows", selected)
        labels = [each["metadata"].get("labels", {}) for each in workflows]
        complete = all(each.get(_COMPLETED) == "true" for each in labels)
        return complete and not _list(f"/api/v1/namespaces/{namespace}/pods", living)
    except _NO_ANSWER:
        return False


def was_cancelled(namespace: str, run: str) -> bool:
    """Return whether somebody has cancelled a run.

    Kubeflow cancels by a deadline of zero seconds (2.17, TerminateWorkflow in
    backend/src/apiserver/resource/resource_manager.go). The run's exit task gets the state
    `RUNNING`, as after a killed pod. Also False if the API server does not answer.
    """
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(run)):
        return False
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"
    try:
        found = _list(path, {"labelSelector": f"{RUN_LABEL}={run}"}, "application/json")
        return any(each["spec"].get("activeDeadlineSeconds") == 0 for each in found)
    except _NO_ANSWER:
        return False


def _list(path: str, query: dict[str, str], kind: str = _NAMES_ONLY) -> list[dict[str, Any]]:
    token = (_ACCOUNT / "token").read_text("utf-8").strip()
    headers = {"Authorization": f"Bearer {token}", "Accept": kind}
    with urllib3.PoolManager(ca_certs=str(_ACCOUNT / "ca.crt")) as pool:
        answer = pool.request(
            "GET",
            _server() + path,
            fields=query,
            headers=headers,
            timeout=_SECONDS,
            retries=False,
        )
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status}")
    found: list[dict[str, Any]] | None = json.loads(answer.data)["items"]
    return found or []  # the server writes null for none


def _server() -> str:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
