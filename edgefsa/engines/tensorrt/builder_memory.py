"""How much memory TensorRT's builder may take: its workspace, what tactics may use, and how many it tries.

On a Jetson the GPU's memory is the machine's, so all of it goes by what is free. Nothing here was measured on a Jetson:
TENSORRT_MB is an assumption, and is named as one wherever it counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgefsa.engines.build_memory import ASSUMED, CHOSEN, MemoryPart

# CUDA's context, TensorRT's libraries with the kernels that it loads, and the plan beside its parts.
TENSORRT_MB = 1500.0
# Enough for the kernels of these networks, and little beside what a Jetson shares with its CPU.
FULL_WORKSPACE_MB = 1024
LEAST_WORKSPACE_MB = 64
# With less workspace the builder tries fewer tactics: many of those that a higher level adds would not fit anyway.
SMALL_WORKSPACE_MB = 256
LEVEL_WHEN_SMALL = 1
LEVELS = range(6)


@dataclass(frozen=True)
class BuilderMemory:
    """What the builder gets: MB of workspace and of memory for tactics, and its optimisation level.

    None leaves TensorRT's own setting. `why` says in words what it was chosen by.
    """

    workspace_mb: int
    tactics_mb: int | None
    optimization_level: int | None
    why: str

    def parts(self) -> list[MemoryPart]:
        """Return what this adds to the estimate of a build."""
        return [
            MemoryPart("TensorRT and CUDA", TENSORRT_MB, ASSUMED),
            MemoryPart("the builder's workspace", self.workspace_mb, CHOSEN),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record of it."""
        return {"workspace_mb": self.workspace_mb, "optimization_level": self.optimization_level, "why": self.why}

    def apply(self, tensorrt: Any, config: Any) -> None:
        """Set a builder configuration accordingly."""
        pools = tensorrt.MemoryPoolType
        config.set_memory_pool_limit(pools.WORKSPACE, self.workspace_mb << 20)
        if self.tactics_mb is not None:
            config.set_memory_pool_limit(pools.TACTIC_DRAM, self.tactics_mb << 20)
        if self.optimization_level is not None:
            config.builder_optimization_level = self.optimization_level


def builder_memory(
    free_mb: float | None, rest: Sequence[MemoryPart], *, workspace_mb: int | None = None, level: int | None = None
) -> BuilderMemory:
    """Choose what the builder gets of `free_mb`, of which `rest` is what the build needs beside it.

    `free_mb` is None where the GPU has memory of its own, or it is not known. What is given in `workspace_mb` and
    `level` is kept.
    """
    if free_mb is None:
        return BuilderMemory(workspace_mb or FULL_WORKSPACE_MB, None, level, "the GPU has memory of its own")
    left = free_mb - TENSORRT_MB - sum(part.mb for part in rest)
    # The other half is for the tensors and the engine that a tactic is tried with.
    workspace = workspace_mb or int(min(FULL_WORKSPACE_MB, max(LEAST_WORKSPACE_MB, left / 2)))
    if level is None and workspace < SMALL_WORKSPACE_MB:
        level = LEVEL_WHEN_SMALL
    why = f"{free_mb:.0f} MB of the memory that CPU and GPU share are free, {max(0.0, left):.0f} MB of them for tactics"
    return BuilderMemory(workspace, int(max(left, 2 * LEAST_WORKSPACE_MB)), level, why)
