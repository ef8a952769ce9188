"""Rights: what every account may do, asked of the API server."""

from __future__ import annotations

import json

from tests.cluster.cluster import Cluster, require
from tests.manifests.rights import TABLE, Right, matrix, review


def rights(cluster: Cluster) -> str:
    """Ask for every verb on every kind of thing, and for what the table names."""
    asked = 0
    for account, row in TABLE.items():
        if not cluster.get("serviceaccount", account, f"--namespace={cluster.namespace}"):
            continue
        may = {Right.parse(text) for text in row["may"]}
        named = [Right.parse(text) for text in row["may_not"]]
        every = list(dict.fromkeys([*matrix(), *may, *named]))
        wrong = [
            f"{account} {'may' if allowed else 'may not'} {right.text}"
            for right, allowed in zip(every, _allowed(cluster, account, every), strict=True)
            if allowed != (right in may)
        ]
        require(not wrong, "; ".join(wrong[:5]))
        asked += len(every)
    require(asked, f"no account of lidr is in {cluster.namespace}")
    return f"{asked} SubjectAccessReviews answered as in tests/manifests/rbac.yaml"


def _allowed(cluster: Cluster, account: str, asked: list[Right]) -> list[bool]:
    """Return the API server's answers, in order."""
    items = [review(account, right, cluster.namespace) for right in asked]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = cluster.kubectl("create", "--filename=-", "--output=json", given=text).require()
    return [each["status"]["allowed"] for each in _documents(done.out)]


def _documents(text: str) -> list[dict]:
    """Return the objects of kubectl's output, which is one List or one document after another."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        found += document["items"] if document["kind"] == "List" else [document]
        at += len(text[at:]) - len(text[at:].lstrip())
    return found
