"""The ranks of a training run (processes, as torchrun starts them) and their control collectives.

DeepSpeed moves weights and gradients. The collectives here carry what concerns the run itself
(which checkpoint, which rank failed, whether to stop), over gloo, also between GPUs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from lidr.components.shared.core.errors import BadInput, LaunchFailed, LidrError
from lidr.components.shared.core.events import silence
from lidr.components.shared.core.retry import retry_seconds

if TYPE_CHECKING:
    import torch

TIMEOUT_VARIABLE = "LIDR_RANKS_TIMEOUT"
"""Seconds that a rank waits for the others, at the start and in every collective.

Default: a minute more than LIDR_RETRY_SECONDS, and at least 600.
"""
_MIN_TIMEOUT = 600.0
_MAX_TIMEOUT = 1e7
"""Seconds, four months; torch takes no time that is much longer."""

Value = TypeVar("Value")


class Ranks:
    """This process among the ranks of a run.

    All ranks must call every method, in the same order; a single rank returns at once. The
    methods raise LaunchFailed where another rank does not answer.

    Args:
        rank: of this process.
        world_size: how many there are.
        group: torch's process group for these collectives; None in a single rank.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, group: Any = None) -> None:
        self.rank = rank
        self.world_size = world_size
        self._group = group

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes what all ranks share."""
        return self.rank == 0

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        return self.gather(value)[0]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in their order."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        with _reporting_lost_ranks():
            dist.all_gather_object(values, value, group=self._group)
        return values

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks, on the CPU if there are several."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.cpu().clone()
        with _reporting_lost_ranks():
            dist.all_reduce(total, group=self._group)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any rank."""
        return any(self.gather(flag))

    @contextmanager
    def sharing_errors(self) -> Iterator[None]:
        """Raise a LidrError of one rank in all of them, so that none waits for a failed one.

        The block must not use collectives.
        """
        own: LidrError | None = None
        try:
            yield
        except LidrError as error:
            own = error
        try:
            errors = self.gather(own)
        except LaunchFailed as lost:
            errors = [lost]
        raised = [error for error in errors if error is not None]
        if raised:
            raise own or raised[0]

    def with_new_group(self) -> Ranks:
        """Return the same ranks with their own process group, for another thread of each."""
        return Ranks(self.rank, self.world_size, _new_group() if self.world_size > 1 else None)


def join_ranks() -> Ranks:
    """Connect to the ranks that torchrun's variables describe; without them there is only this one.

    From here on, only rank 0 reports events.

    Raises:
        BadInput: this rank has no GPU, or LIDR_RANKS_TIMEOUT is not a positive number.
        LaunchFailed: the others cannot be reached, or do not connect in time.
    """
    if "RANK" not in os.environ:
        os.environ.pop("WORLD_SIZE", None)  # not torchrun's; accelerate would wait for the others
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        os.environ.pop("LOCAL_RANK", None)  # libraries would conclude that there are several
        return Ranks()
    rank = int(os.environ["RANK"])
    init_process_group()
    if rank:
        silence()
    return Ranks(rank, world_size, _new_group())


def exit_without_cleanup(code: int) -> NoReturn:
    """End this process with an exit code.

    With several ranks Python's cleanup is skipped: gloo threads that still wait for another rank
    would end it with SIGABRT.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def init_process_group() -> None:
    """Create torch's process group if there is none: NCCL between GPUs, gloo elsewhere."""
    import torch
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    if dist.is_initialized():
        return
    # DeepSpeed creates groups without a timeout: a lost connection would go unnoticed for long.
    distributed_c10d.default_pg_timeout = rendezvous_timeout()
    distributed_c10d.default_pg_nccl_timeout = rendezvous_timeout()
    backend = "gloo"
    if torch.cuda.is_available():
        local, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= devices:
            raise BadInput(
                f"rank {local} of this node has no GPU: the node has {devices}",
                remedy=f"Set training.processes in the profile to {devices}.",
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=rendezvous_timeout())
    except RuntimeError as error:  # torch's DistError is one, too
        raise rendezvous_failure(error) from error


def rendezvous_failure(error: Exception) -> LaunchFailed:
    """Return an error that says why the ranks cannot connect to each other.

    Args:
        error: torch's, raised by the rendezvous of processes or of torchrun's agents.
    """
    text = str(error)
    host, port = _torchrun_variable("MASTER_ADDR"), _torchrun_variable("MASTER_PORT")
    address = f"{host}:{port}" if host and port else ""  # a node by itself has neither
    if "EADDRINUSE" in text or "already in use" in text:
        taken = f"the port of {address}" if address else "the port"
        return LaunchFailed(
            f"{taken}, where the ranks connect, is taken by another program",
            remedy="End the program that listens there, then run again.",
        )
    reason = text.splitlines()[0] if text else repr(error)
    within = f"within {rendezvous_timeout().total_seconds():.0f} s ({reason})"
    waiting = f"{TIMEOUT_VARIABLE} is the time to wait, in seconds."
    if not address:
        return LaunchFailed(
            f"the ranks of this machine could not connect to each other {within}",
            remedy=f"Run again; {waiting}",
        )
    world_size = os.environ.get("WORLD_SIZE")
    who = f"{world_size} ranks" if world_size else f"{_torchrun_variable('NNODES') or 'the'} nodes"
    return LaunchFailed(
        f"not all {who} reached {address} {within}",
        remedy=f"Check that every node has started and can reach that address; {waiting}",
    )


def _torchrun_variable(name: str) -> str:
    """Return a variable that torchrun sets for a rank, or Trainer's torch policy for a node."""
    return os.environ.get(name) or os.environ.get(f"PET_{name}", "")


def rendezvous_timeout() -> timedelta:
    """Return how long a rank or node waits for the others.

    Raises:
        BadInput: LIDR_RANKS_TIMEOUT is not between 0 and 1e7, or LIDR_RETRY_SECONDS is no number.
    """
    given = os.environ.get(TIMEOUT_VARIABLE)
    if not given:
        seconds = max(_MIN_TIMEOUT, retry_seconds() + 60)
        return timedelta(seconds=min(seconds, _MAX_TIMEOUT))
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(given)) < _MAX_TIMEOUT:
            return timedelta(seconds=seconds)
    raise BadInput(f"{TIMEOUT_VARIABLE} is {given!r}", remedy="Set it to seconds, e.g. 600.")


def _new_group() -> Any:
    import torch.distributed as dist

    with _reporting_lost_ranks():
        return dist.new_group(backend="gloo", timeout=rendezvous_timeout())


@contextmanager
def _reporting_lost_ranks() -> Iterator[None]:
    """Raise LaunchFailed for what torch raises in a collective that another rank does not join."""
    try:
        yield
    except RuntimeError as error:  # torch's DistError is one, too
        reason, _, _ = str(error).partition("\n")
        raise LaunchFailed(
            f"another rank did not answer within {rendezvous_timeout().total_seconds():.0f} s, "
            f"or is gone ({reason})",
            remedy="Check the other nodes and the network between them; "
            f"{TIMEOUT_VARIABLE} is the time to wait, in seconds.",
        ) from error
