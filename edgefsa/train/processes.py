"""Several processes that train one model, as `torchrun` starts them; without it there is one."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

# The others wait while the first evaluates and writes.
_PATIENCE = datetime.timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process among the `count` that train together; number 0 evaluates, writes and speaks."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, writes and speaks."""
        return self.rank == 0

    def mean(self, value: Tensor) -> float:
        """Return the mean of a number over all processes, the same in each."""
        if self.count > 1:
            distributed.all_reduce(value)
            value = value / self.count
        return float(value)

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.count > 1:
            distributed.barrier()

    def shared(self, model: nn.Module, device: torch.device, *, all_used: bool) -> nn.Module:
        """Return the module whose backward pass averages the gradients of all processes.

        On GPUs batch norms take their statistics over the whole batch. `all_used` is False where some
        parameters get no gradient.
        """
        if self.count == 1:
            return model
        gpu = device.type == "cuda"
        if gpu:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(model, [device] if gpu else None, find_unused_parameters=not all_used)


def this_process() -> Processes:
    """Read this process's place from what `torchrun` set; without it the process is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Processes()
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Processes(rank, count, local)


@contextlib.contextmanager
def joined(processes: Processes, device: torch.device) -> Iterator[None]:
    """Join the group of processes, over NCCL on GPUs and gloo on CPUs, until the block ends."""
    if processes.count == 1:
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()
