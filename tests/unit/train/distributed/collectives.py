"""What two ranks exchange, checked in both."""

from __future__ import annotations

import torch

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.train.distributed.ranks import exit_without_cleanup, join_ranks


def main() -> int:
    try:
        ranks = join_ranks()
    except LidrError as error:
        print(error)
        return error.exit_code
    assert ranks.world_size == 2
    assert ranks.leads == (ranks.rank == 0)
    assert ranks.broadcast(f"of {ranks.rank}") == "of 0"
    assert ranks.gather(ranks.rank * 10) == [0, 10]
    assert ranks.sum(torch.tensor([1.0, ranks.rank])).tolist() == [2.0, 1.0]
    assert ranks.any(ranks.rank == 1)
    assert not ranks.any(False)
    assert ranks.with_new_group().gather(ranks.rank) == [0, 1]
    try:
        with ranks.sharing_errors():
            if ranks.rank == 1:
                raise BadInput("the pairs are empty", file="p.parquet", line=3, remedy="Mend them.")
    except BadInput as error:
        print(f"rank {ranks.rank}: {error}")
        assert error.remedy == "Mend them."
        return error.exit_code
    return 0


if __name__ == "__main__":
    exit_without_cleanup(main())
