"""The lease of a run: one execution at a time writes into `runs/<run>/`.

`lidr run` holds it while it lives. On a cluster the tasks of one KFP run share it under that run's
id: each one renews it, none releases it before the loop has ended. A second execution is refused,
with the name of the first. It takes over the lease of an execution that died: at once where the
process was on the same machine or the Kubernetes API says that its run has ended, else once the
lease has run out without being renewed.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lidr.components.shared.core.errors import BadInput, TakenOver
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes.runs import cluster_id, has_ended, own_namespace
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.lease import (
    Lease,
    LeaseHead,
    answered_late,
    clear_earlier,
    find_head,
    read_lease,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import FOLDER

LEASE_SECONDS = 60.0
"""How long the lease of `lidr run` lasts without a renewal; it is renewed every fifth of that."""

TASK_LEASE_SECONDS = 300.0
"""How long the lease of a KFP run lasts, whose tasks have pauses between them."""

_POLLS_PER_LEASE = 60
"""How often a waiting process reads the lease while it lasts."""


@dataclass(frozen=True, slots=True)
class LeaseOwner:
    """The owner of a lease, as its object says.

    Attributes:
        identity: id of the execution, equal for all tasks of one KFP run.
        who: person or KFP run.
        host: name of the owner's host.
        machine: `machine_id()` of the process: its id is valid only where this is equal.
        process: id of the process.
        started: when the process started, in the kernel's ticks, since ids are reused.
        since: when the lease was taken, by the owner's clock (UTC).
        seconds: how long the lease lasts without being renewed.
        cluster: `cluster_id()` of the owner's pod; "" for none.
        namespace: namespace of that pod.
    """

    identity: str
    who: str
    host: str
    machine: str
    process: int
    started: str
    since: str
    seconds: float
    cluster: str = ""
    namespace: str = ""

    @property
    def alive_here(self) -> bool:
        """Whether the process is on this machine and alive."""
        return self._on_this_machine and _started(self.process) == self.started

    @property
    def ended_here(self) -> bool:
        """Whether the process was on this machine and has ended."""
        return self._on_this_machine and _started(self.process) != self.started

    def has_ended(self) -> bool:
        """Ask the Kubernetes API whether the owner is a run of this cluster that has ended."""
        kind, _, run = self.identity.partition(":")
        known = kind == "kfp" and bool(self.cluster) and self.cluster == cluster_id()
        return known and has_ended(self.namespace, run)

    @property
    def _on_this_machine(self) -> bool:
        return bool(self.machine) and self.machine == machine_id()

    def refusal(self, run: str) -> BadInput:
        """Return the error raised to a second execution."""
        return BadInput(
            f"run {run!r} is already being executed by process {self.process} of {self.who} on "
            f"{self.host}, since {self.since}; should it die, its lease ends {self.seconds:.0f} s "
            "later",
            remedy="Wait for it, stop it, or choose another --run.",
        )


@contextmanager
def run_lease(store: str, run: str, parent: str = FOLDER) -> Iterator[Lease]:
    """Hold a run's lease as a new execution.

    Args:
        store: URI of the store.
        run: name of the run.
        parent: folder of the store that has the run's folder.

    Raises:
        BadInput: another execution is alive, or the store cannot be written.
    """
    lease = _acquire(_folder(store, run, parent), run, f"local:{uuid.uuid4().hex}", LEASE_SECONDS)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def task_lease(step: str, store: str, run: str, execution: str) -> Iterator[None]:
    """Hold a run's lease as a task of an execution; all of its tasks pass the same id.

    Raises:
        BadInput: another execution is alive.
        TakenOver: another one took the lease while the task ran.
    """
    lease = _acquire(_folder(store, run), run, f"kfp:{execution}", TASK_LEASE_SECONDS)
    try:
        yield
        require_held(lease, run)
    finally:
        if step_named(step).releases_lease and not lease.lost:
            lease.release()
        else:
            lease.stop_renewing()


def current_owner(store: str, run: str, parent: str = FOLDER) -> LeaseOwner | None:
    """Return who has a run's lease; None if nobody has, or its owner was here and has ended."""
    folder = _folder(store, run, parent)
    head = find_head(folder)
    held = None if head.free else _parse_owner(read_lease(folder, head.number))
    return None if held is None or held.ended_here else held


def require_held(lease: Lease, run: str) -> None:
    """Refuse to continue a run that another execution has taken over.

    Raises:
        TakenOver: it has.
    """
    if lease.lost:
        raise TakenOver(
            f"run {run!r} was taken over by another execution, because this one did not renew its "
            "lease in time",
            remedy="Leave the run to the other one; `lidr status` shows it.",
        )


def _folder(store: str, run: str, parent: str = FOLDER) -> Store:
    return open_store(f"{store.rstrip('/')}/{parent}/{run}")


def _acquire(folder: Store, run: str, identity: str, seconds: float) -> Lease:
    facts = _facts(identity)
    watch: _Watch | None = None
    while True:
        asked = time.monotonic()
        head = find_head(folder)
        text = b"" if head.free else read_lease(folder, head.number)
        held = _parse_owner(text)
        if held and held.identity == identity:
            lease = Lease(folder, head.number, seconds, facts)
            lease.start_renewing()
            return lease
        watch = watch if watch and watch.number == head.number else _Watch(head, text, seconds)
        ended = head.free or (held and held.ended_here) or watch.ran_out(text, asked)
        if ended or watch.owner_has_ended(held, text):
            lease = Lease(folder, head.number + 1, seconds, facts)
            if lease.acquire():
                clear_earlier(folder, head)
                return lease
        elif held and (held.alive_here or text != watch.text):
            raise held.refusal(run)
        else:
            watch.wait(held)


class _Watch:
    """Watches one lease object until it is renewed or has run out, by this process's clock."""

    def __init__(self, head: LeaseHead, text: bytes, seconds: float) -> None:
        self.number = head.number
        self.text = text
        self._seconds = seconds
        self._began = time.monotonic()
        self._reported = False

    def ran_out(self, text: bytes, asked: float) -> bool:
        """Return whether the lease has not been renewed for as long as it lasts.

        `text` is the object's current content, `asked` when its read began (`time.monotonic`).
        """
        if answered_late(asked, self._seconds):
            self._began = time.monotonic()
        return text == self.text and time.monotonic() - self._began > self._seconds

    def owner_has_ended(self, held: LeaseOwner | None, text: bytes) -> bool:
        """Return whether the owner is known to have ended, and report it."""
        if held is None or held.alive_here or text != self.text or not held.has_ended():
            return False
        run = held.identity.partition(":")[2]
        emit(
            "note",
            message=f"Kubeflow run {run}, which has the run's lease, has ended: it is taken over",
        )
        return True

    def wait(self, held: LeaseOwner | None) -> None:
        """Sleep until the next poll; report the wait the first time."""
        if held:
            self._seconds = held.seconds
        if not self._reported:
            who = f"{held.who} on {held.host}, since {held.since}" if held else "somebody"
            emit(
                "note",
                message=f"the run's lease is held by {who}: waiting to see whether it is renewed, "
                f"at most {self._seconds:.0f} s",
            )
            self._reported = True
        time.sleep(self._seconds / _POLLS_PER_LEASE)


def _facts(identity: str) -> dict[str, object]:
    return {
        "identity": identity,
        "host": socket.gethostname(),
        "machine": machine_id(),
        "cluster": cluster_id(),
        "namespace": own_namespace(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _parse_owner(text: bytes) -> LeaseOwner | None:
    """Return a lease's owner; None for an unreadable object, whose lease then runs out."""
    try:
        fields: Mapping[str, object] = json.loads(text)
        seconds = float(str(fields["seconds"]))
        if not 0 < seconds <= TASK_LEASE_SECONDS:
            return None
        return LeaseOwner(
            identity=str(fields["identity"]),
            who=one_line(str(fields["owner"])),
            host=one_line(str(fields["host"])),
            machine=str(fields["machine"]),
            process=int(str(fields["process"])),
            started=str(fields["started"]),
            since=one_line(str(fields["since"])),
            seconds=seconds,
            cluster=str(fields.get("cluster", "")),
            namespace=str(fields.get("namespace", "")),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def machine_id() -> str:
    """Return an id, equal only for processes that see each other's process ids; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # no /proc (macOS)
        return ""


def _started(process: int) -> str:
    """Return when a process of this machine started, in ticks; "" if there is none."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]
