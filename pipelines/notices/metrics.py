"""The last check in Prometheus' text format (version 0.0.4), and the server that exposes it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.json_files import is_finite
from lidr.components.shared.store.base import Store, read_json
from lidr.pipelines.cluster.tasks import RUN_STATES
from lidr.pipelines.maintenance.prune_findings import PRUNED
from lidr.pipelines.notices.monitor import ObservedRun

_STATES = (*dict.fromkeys(RUN_STATES.values()), "stopped")
_PRUNE = {
    "time": "When lidr prune was last run.",
    "bytes": "Bytes that the last lidr prune removed, or would have removed.",
    "stages": "Stages that the last lidr prune removed, or would have removed.",
    "versions": "Versions that the last lidr prune removed, or would have removed.",
    "dry_run": "1 if the last lidr prune was a dry run, which removes nothing; 0 if not.",
}

Sample = tuple[str, dict[str, str], float]


def exposition(observed: Sequence[ObservedRun], now: float, store: Store) -> str:
    """Return what was observed in Prometheus' text format.

    Args:
        observed: every run.
        now: when they were checked, in seconds since 1970.
        store: with the numbers of the last `lidr prune`, dry run or not.
    """
    lines: list[str] = []
    samples = list(_samples(observed, now, store))
    for name, what in _HELP.items():
        found = [each for each in samples if each[0] == name]
        if found:
            lines += [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {value:.17g}" for _, labels, value in found]
    return "\n".join(lines) + "\n"


_HELP = {
    "lidr_last_check_timestamp_seconds": "When the runs were checked.",
    "lidr_run_state": "1 for the state that a run is in, 0 for the others.",
    "lidr_step_waiting_seconds": "For how long a step has been waiting.",
    "lidr_step_silent_seconds": "For how long a running step has made no progress.",
    "lidr_run_gpu_hours": "GPU hours that a run has used, interrupted attempts included.",
    "lidr_notices_unsent": "Notices that wait for their receiver.",
    **{f"lidr_prune_{key}": what for key, what in _PRUNE.items()},
}


def _samples(observed: Sequence[ObservedRun], now: float, store: Store) -> Iterator[Sample]:
    yield "lidr_last_check_timestamp_seconds", {}, now
    for each in observed:
        for state in _STATES:
            yield "lidr_run_state", {"run": each.run, "state": state}, float(each.state == state)
        if each.gpu_hours is not None:
            yield "lidr_run_gpu_hours", {"run": each.run}, each.gpu_hours
        yield "lidr_notices_unsent", {"run": each.run}, float(each.unsent)
        for step in each.steps:
            kind = "waiting" if step.row.state == "waiting" else "silent"
            labels = {"run": each.run, "step": step.place}
            yield f"lidr_step_{kind}_seconds", labels, step.minutes(now) * 60
    for key, value in _pruned(store).items():
        yield f"lidr_prune_{key}", {}, value


def _pruned(store: Store) -> dict[str, float]:
    """Return the numbers of the last prune; {} if there are none, or they cannot be read."""
    try:
        found = read_json(store, PRUNED, {}) or {}
    except LidrError:
        return {}
    known = {key: found[key] for key in _PRUNE if key in found}
    return {k: float(v) for k, v in known.items() if isinstance(v, bool) or is_finite(v)}


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class _Server(ThreadingHTTPServer):
    """Listens on IPv4 and, if the machine has it, on IPv6: a cluster may have only one of them."""

    if socket.has_dualstack_ipv6():
        address_family = socket.AF_INET6

    def server_bind(self) -> None:
        if self.address_family is socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(port: int, text: Callable[[], str]) -> ThreadingHTTPServer:
    """Serve `/metrics` from a thread.

    Args:
        port: to listen on; 0 for any.
        text: returns what is served.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/metrics"
            body = text().encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Log nothing: a line for each scrape would bury the others."""

    server = _Server(("", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
