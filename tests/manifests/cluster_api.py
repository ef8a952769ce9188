"""An API server for kubectl: discovery, objects by path, server-side dry runs, access reviews.

It speaks HTTP to the real kubectl. What it holds are the objects a test gives it; a dry run is
answered with the object that was sent, after the schemas of tests/ have been asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import yaml

from tests.yaml_text import read_yaml

Object = dict[str, Any]

RESOURCES = {
    "v1": {
        "configmaps": "ConfigMap",
        "limitranges": "LimitRange",
        "namespaces": "Namespace",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "pods": "Pod",
        "resourcequotas": "ResourceQuota",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "batch/v1": {"cronjobs": "CronJob", "jobs": "Job"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding"},
    "scheduling.k8s.io/v1": {"priorityclasses": "PriorityClass"},
    "storage.k8s.io/v1": {"storageclasses": "StorageClass"},
    "authorization.k8s.io/v1": {"subjectaccessreviews": "SubjectAccessReview"},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
}
CLUSTER = {
    "namespaces",
    "priorityclasses",
    "storageclasses",
    "subjectaccessreviews",
    "customresourcedefinitions",
    "clusterqueues",
    "resourceflavors",
}


@dataclass
class ClusterApi:
    """The server's state.

    Attributes:
        url: where it listens.
        version: of Kubernetes.
        objects: by path, and lists by the collection's path.
        resources: plural to kind, by group and version.
        allowed: answers a SubjectAccessReview.
        written: paths of everything sent, dry runs and others.
    """

    url: str = ""
    version: str = "v1.34.1"
    objects: dict[str, Object] = field(default_factory=dict)
    resources: dict[str, dict[str, str]] = field(default_factory=lambda: dict(RESOURCES))
    allowed: Callable[[Object], bool] = lambda review: False
    written: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, Object]:
        """Answer one request with a status and an object."""
        parsed = urlparse(url)
        path = parsed.path.rstrip("/")
        if method != "GET":
            return self._write(method, path, parsed.query, body)
        found = self._discovery(path) or self.objects.get(path)
        return (200, found) if found else (404, _status(404, "NotFound", f"{path} not found"))

    def _write(self, method: str, path: str, query: str, body: bytes) -> tuple[int, Object]:
        self.written.append((method, f"{path}?{query}"))
        sent: Object = read_yaml(body) if body else {}
        if path.endswith("/subjectaccessreviews"):
            return 201, sent | {"status": {"allowed": self.allowed(sent["spec"])}}
        return (201 if method == "POST" else 200), sent or _status(200, "", "deleted")

    def _discovery(self, path: str) -> Object | None:
        if path == "/version":
            major, minor, _ = self.version.removeprefix("v").split(".")
            return {"major": major, "minor": minor, "gitVersion": self.version}
        if path == "/api":
            return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"]}
        if path == "/apis":
            groups = [_group(each) for each in self.resources if "/" in each]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in self.resources and path.startswith("/api"):
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": [
                    {
                        "name": plural,
                        "singularName": kind.lower(),
                        "namespaced": plural not in CLUSTER,
                        "kind": kind,
                        "verbs": ["create", "delete", "get", "list", "patch"],
                    }
                    for plural, kind in self.resources[version].items()
                ],
            }
        return None


def _group(version: str) -> Object:
    name, _, short = version.partition("/")
    named = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [named], "preferredVersion": named}


def _status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure" if code >= 400 else "Success",
        "code": code,
        "reason": reason,
        "message": message,
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: ClusterApi

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, answer = self.api.answer(self.command, self.path, body)
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@contextmanager
def serve(folder: Path) -> Iterator[tuple[ClusterApi, Path]]:
    """Start a server; give it and a kubeconfig for it, written into a folder."""
    api = ClusterApi()
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    config = folder / "kubeconfig"
    clusters = [{"name": "test", "cluster": {"server": api.url}}]
    context = {"cluster": "test", "user": "test"}
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": clusters,
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": context}],
                "current-context": "test",
            }
        )
    )
    try:
        yield api, config
    finally:
        server.shutdown()
        server.server_close()
