"""The ranks of a training run (processes, as torchrun starts them) and their control collectives.

Weights and gradients travel as DeepSpeed sees fit. Here are the few words about the run itself:
which checkpoint, who failed, is somebody asked to end. They go over gloo, on a CPU as on a GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from lidr.components.shared.core.errors import LaunchFailed, LidrError
from lidr.components.shared.core.events import silence

if TYPE_CHECKING:
    import torch

TIMEOUT_VARIABLE = "LIDR_RANKS_TIMEOUT"
"""Seconds that a rank waits for the others: at the start, and in every exchange. Default 600."""

Value = TypeVar("Value")


class Ranks:
    """This process among the ranks of a run.

    Every method is called by all ranks, in the same order; a single rank answers at once.

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
        """True for the rank that writes what there is once: rank 0."""
        return self.rank == 0

    def broadcast(self, value: Value) -> Value:
        """Return rank 0's value."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all ranks, in their order."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all ranks."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.cpu().clone()
        dist.all_reduce(total, group=self._group)
        return total

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is up in some rank."""
        if self.world_size == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor(float(flag))))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise in every rank what one of them raises inside; no rank waits for a failed one.

        What is inside must not need the other ranks.
        """
        own: LidrError | None = None
        try:
            yield
        except LidrError as error:
            own = error
        raised = [error for error in self.gather(own) if error is not None]
        if raised:
            raise own or raised[0]

    def fork(self) -> Ranks:
        """Return the same ranks with a line of its own, for another thread of each rank."""
        return Ranks(self.rank, self.world_size, _new_group() if self.world_size > 1 else None)


def join() -> Ranks:
    """Join the ranks that torchrun's variables describe; without them, be alone.

    Ranks but the first report no events from here on.

    Raises:
        LaunchFailed: the others cannot be reached, or do not come in time.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        os.environ.pop("LOCAL_RANK", None)  # libraries would take it for several ranks
        return Ranks()
    rank = int(os.environ["RANK"])
    init_process_group()
    if rank:
        silence()
    return Ranks(rank, world_size, _new_group())


def exit_without_cleanup(code: int) -> NoReturn:
    """End this process with an exit code.

    Threads of gloo's that still wait for another rank would turn the usual way out into SIGABRT.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def init_process_group() -> None:
    """Make torch's process group, unless it is there: NCCL between GPUs, gloo elsewhere."""
    import torch
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    if dist.is_initialized():
        return
    # DeepSpeed makes groups of its own and sets no time: a cut cable would go unnoticed for long.
    distributed_c10d.default_pg_timeout = rendezvous_timeout()
    distributed_c10d.default_pg_nccl_timeout = rendezvous_timeout()
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, timeout=rendezvous_timeout())
    except (dist.DistError, RuntimeError) as error:
        raise explained(error) from error


def explained(error: Exception) -> LaunchFailed:
    """Say in plain words why ranks do not find each other.

    Args:
        error: torch's, raised where processes or torchrun's agents meet.
    """
    place = f"{_told('MASTER_ADDR')}:{_told('MASTER_PORT')}"
    text = str(error)
    if "EADDRINUSE" in text or "already in use" in text:
        return LaunchFailed(
            f"the port of {place}, where the ranks meet, is taken by another program",
            remedy="Choose another --master-port, or end the program that listens there.",
        )
    world_size = os.environ.get("WORLD_SIZE")
    who = f"{world_size} ranks" if world_size else f"{_told('NNODES')} nodes"
    return LaunchFailed(
        f"not all {who} came to {place} within {rendezvous_timeout().total_seconds():.0f} s "
        f"({text.splitlines()[0] if text else error!r})",
        remedy="See whether every node has started and can reach that address; "
        f"{TIMEOUT_VARIABLE} is the time to wait, in seconds.",
    )


def _told(name: str) -> str:
    """Return what torchrun told a rank, or Trainer's torch policy a node."""
    return os.environ.get(name) or os.environ.get(f"PET_{name}", "?")


def rendezvous_timeout() -> timedelta:
    """Return how long a rank or node waits for the others."""
    return timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE, "600")))


def _new_group() -> Any:
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=rendezvous_timeout())
