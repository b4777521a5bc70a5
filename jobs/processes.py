"""One training on several processes of a machine or several, as torchrun starts them: a GPU each, or a share of a CPU.

    torchrun --nproc-per-node 4 jobs/train_deepar.py --config conf/X.yaml

Each process holds all the series and makes its part of every batch (`forecasting.deepar.Trainer`). The first one says
what is read, and is the only one that writes and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from udfs.errors import InputError

T = TypeVar("T")
_GIVEN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """This process among `size`. device: where it computes."""

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def agreed(self, mine: T) -> T:
        """What the first process has."""
        if self.size == 1:
            return mine
        import torch

        held = [mine]
        torch.distributed.broadcast_object_list(held, src=0)
        return held[0]


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """The processes that torchrun has started, or this one alone. device: cpu or cuda.

    Raises InputError for more processes on a machine than it has GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(0, 1, device)
        return
    import torch

    if missing := [name for name in _GIVEN if name not in os.environ]:
        raise InputError(f"WORLD_SIZE is set and {', '.join(missing)} is not; start the processes by torchrun")
    rank, local, size = (int(os.environ[name]) for name in _GIVEN[:3])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"this is process {local + 1} on a machine with {torch.cuda.device_count()} GPUs; start at most as "
                "many (--nproc-per-node)"
            )
        torch.cuda.set_device(local)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Processes(rank, size, f"cuda:{local}" if device == "cuda" else device)
    finally:
        torch.distributed.destroy_process_group()


__all__ = ["Processes", "together"]
