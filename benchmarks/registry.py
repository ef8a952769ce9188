"""Registering a large model: how long, and how many bytes go through MLflow; many at once.

    python -m benchmarks.registry [--gigabytes 20] [--registrations 20] [--promotions 50]

Real PostgreSQL, MLflow with basic auth, and an S3 server whose objects are sparse files of the
full size. All that the step says to MLflow goes through a proxy that counts it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SHARDS = 5
_LOCK = threading.Lock()


class CountingProxy:
    """Hands requests on to a server and counts the bytes of all bodies and headers."""

    def __init__(self, target: str) -> None:
        self.transferred = 0
        self.requests = 0
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), _handler(self, urlsplit(target).netloc)
        )
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> CountingProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, size: int) -> None:
        """Add the bytes of a request and its answer."""
        with _LOCK:
            self.transferred += size
            self.requests += 1


def _handler(proxy: CountingProxy, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {key: value for key, value in self.headers.items() if key != "Host"}
            upstream = http.client.HTTPConnection(host, timeout=60)
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
            upstream.close()
            told = [*self.headers.items(), *answer.getheaders()]
            proxy.count(len(body) + len(data) + sum(len(k) + len(v) + 4 for k, v in told))
            self.send_response_only(answer.status)
            self.send_header("Content-Type", answer.getheader("Content-Type", ""))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = forward  # noqa: N815

    return Handler


def sparse_model(store: str, gigabytes: float) -> str:
    """Write a train stage of the given size, its weights sparse; return its URI.

    The S3 server runs in this process: an object's buffer there is a file, which is lengthened.
    """
    from moto.s3.models import s3_backends

    from lidr.components.shared.store.open import open_store
    from lidr.components.shared.store.stage import new_stage

    home = open_store(store)
    stage = new_stage(home, "train", 1, {"pairs": "0" * 64}, {})
    stage.write("model/config.json", b"{}")
    size = int(gigabytes * (1 << 30)) // _SHARDS
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    for number in range(_SHARDS):
        name = f"model/model-{number + 1:05d}-of-{_SHARDS:05d}.safetensors"
        stage.write(name, b"x")
        key = s3_backends["123456789012"]["aws"].buckets[bucket].keys[f"{prefix}/{stage.key(name)}"]
        key._value_buffer.rollover()
        key._value_buffer.truncate(size)
        key.contentsize = size
        stage.digests[name] = (size, "0" * 64)
    return stage.finish({})


def register_at_once(client: Any, store: str, name: str, count: int) -> list[int]:
    """Let as many register the same stage at the same moment; return the versions they got."""
    from lidr.components.shared.registry.promotion import advance
    from lidr.components.shared.registry.registration import (
        default_audit_log,
        ensure_version,
        open_audit_log,
    )
    from lidr.components.shared.registry.versions import DIGEST_TAG, VERDICT_TAG
    from tests.fakes import finished_stage
    from tests.unit.shared.registry.models import together

    stage = finished_stage(store, "train", {"model/config.json": b"{}"}, pairs=name)
    tags = {DIGEST_TAG: stage.digest, VERDICT_TAG: "start"}
    audit_log = default_audit_log(store, name)

    def one(_: int) -> int:
        number = ensure_version(client, name, f"{stage.uri}/model", tags, "", audit_log)
        advance(client, name, "candidate", number, open_audit_log(name, audit_log))
        return number

    numbers: list[int] = together(count, one)
    return numbers


def promote_at_once(client: Any, store: str, name: str, count: int) -> dict[str, Any]:
    """Let as many promote one of four versions at the same moment; return what is left of it."""
    from lidr.components.shared.registry.history import history
    from lidr.components.shared.registry.promotion import PromotionOrder, promote
    from lidr.components.shared.registry.registration import ensure_model
    from tests.unit.shared.registry.models import registered, together

    versions = registered(client, store, name, "promote promote promote promote")[1:]
    audit_log = ensure_model(client, name, "")

    def one(number: int) -> object:
        order = PromotionOrder(reason=f"number {number}")
        return promote(client, versions[number % len(versions)], audit_log, order)

    began = time.monotonic()
    together(count, one)
    seconds = time.monotonic() - began
    found = history(client, name)
    stood = [None, *(row.entry.move.version for row in found.rows)]
    return {
        "promotions": count,
        "promotions_seconds": round(seconds, 1),
        "entries": len({row.entry.move.reason for row in found.rows if row.entry.done}),
        "in_one_order": [row.entry.move.before for row in found.rows] == stood[:-1],
        "champion_is_the_last": found.model.aliases.get("champion") == stood[-1],
        "unexplained": len(found.unexplained),
    }


def measure(gigabytes: float, registrations: int, promotions: int) -> dict[str, Any]:
    """Register and promote a large model once, then small ones many times at once."""
    import logging

    from moto.server import ThreadedMotoServer

    from tests.services.stack import Stack, free_port, postgres_binaries

    binaries = postgres_binaries()
    if binaries is None:
        sys.exit("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/initdb")
    s3 = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3.start()
    stack = Stack(binaries, f"http://127.0.0.1:{s3._port}")
    try:
        os.environ.update(stack.environment)
        with CountingProxy(stack.mlflow.uri) as proxy:
            os.environ["MLFLOW_TRACKING_URI"] = proxy.uri
            store = f"s3://{stack.bucket}/lidr"
            found = _registered(store, gigabytes, proxy)
        os.environ["MLFLOW_TRACKING_URI"] = stack.mlflow.uri
        return found | _many_at_once(store, registrations, promotions)
    finally:
        stack.close()
        s3.stop()


def _registered(store: str, gigabytes: float, proxy: CountingProxy) -> dict[str, Any]:
    from lidr.components.register.run import register
    from lidr.components.shared.registry.promotion import PromotionOrder, promote
    from lidr.components.shared.registry.registration import ensure_model
    from lidr.components.shared.registry.versions import read_version
    from lidr.components.shared.tracking import mlflow_client
    from tests.unit.register.test_run import arguments, decision_at

    model = sparse_model(store, gigabytes)
    given = arguments(store, "large", model, decision=decision_at(store, model, "promote"))
    client = mlflow_client(store)  # importing MLflow takes seconds, which are not measured
    client.search_registered_models(max_results=1)
    began = time.monotonic()
    register(**given)
    registering = time.monotonic() - began
    moved, requests = proxy.transferred, proxy.requests
    version = read_version(client, "large", "1")
    began = time.monotonic()
    promote(client, version, ensure_model(client, "large", ""), PromotionOrder())
    return {
        "gigabytes": gigabytes,
        "register_seconds": round(registering, 2),
        "bytes_through_mlflow": moved,
        "requests": requests,
        "promote_seconds": round(time.monotonic() - began, 2),
        "source": version.source,
    }


def _many_at_once(store: str, registrations: int, promotions: int) -> dict[str, Any]:
    from lidr.components.shared.registry.versions import all_versions
    from lidr.components.shared.tracking import mlflow_client

    client = mlflow_client(store)
    began = time.monotonic()
    register_at_once(client, store, "met", registrations)
    seconds = round(time.monotonic() - began, 1)
    versions = len(all_versions(client, "met"))
    return {
        "registrations": registrations,
        "registrations_seconds": seconds,
        "versions": versions,
    } | promote_at_once(client, store, "moved", promotions)


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--registrations", type=int, default=20)
    parser.add_argument("--promotions", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIDR_EVENTS"] = str(Path(folder) / "events")
        print(json.dumps(measure(**vars(arguments))))


if __name__ == "__main__":
    main()
