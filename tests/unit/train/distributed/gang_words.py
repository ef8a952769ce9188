"""What two ranks exchange, checked in both."""

from __future__ import annotations

import torch

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.train.distributed.ranks import join, leave


def main() -> int:
    try:
        gang = join()
    except LidrError as error:
        print(error)
        return error.exit_code
    assert gang.world == 2
    assert gang.leads == (gang.rank == 0)
    assert gang.broadcast(f"of {gang.rank}") == "of 0"
    assert gang.gather(gang.rank * 10) == [0, 10]
    assert gang.sum(torch.tensor([1.0, gang.rank])).tolist() == [2.0, 1.0]
    assert gang.any(gang.rank == 1)
    assert not gang.any(False)
    assert gang.fork().gather(gang.rank) == [0, 1]
    try:
        with gang.together():
            if gang.rank == 1:
                raise BadInput("the pairs are empty", file="p.parquet", line=3, remedy="Mend them.")
    except BadInput as error:
        print(f"rank {gang.rank}: {error}")
        assert error.remedy == "Mend them."
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
