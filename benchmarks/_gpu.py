"""Timing on a GPU with a cold cache, contestants in turn, and what the machine was. Needs PyTorch with CUDA."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch

from edgefsa.machine.description import gpu_descriptions

WARMUP = 3
LARGE_COPY_BYTES = 1 << 30
SCRUB_BYTES = 128 << 20  # at least
WAIT_CYCLES = 4_000_000  # some 2 ms, in which the CPU launches all kernels of a call
DEVICE = "cuda"


def cold_medians_ms(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time each call once a round, in turn, and give the medians in ms.

    Before each the L2 cache is filled by reading something else: what would be written to fill it, the call would
    have to wait for while it is written back. And the GPU waits until the call is launched, so that what the CPU takes
    for launches is not in the time.
    """
    device = torch.cuda.current_device()
    cache = int(torch.cuda.get_device_properties(device).L2_cache_size)
    scrub = torch.zeros(max(4 * cache, SCRUB_BYTES) // 4, dtype=torch.float32, device=DEVICE)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(WARMUP + rounds):
        for name, call in calls.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            scrub.sum()
            torch.cuda._sleep(WAIT_CYCLES)
            start.record()
            call()
            end.record()
            end.synchronize()
            if index >= WARMUP:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def copy_of(moved_bytes: int) -> Callable[[], Any]:
    """Return a copy that moves so many bytes, those read and those written added up."""
    source = torch.ones(max(moved_bytes // 2, 1), dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def copy_bandwidth(rounds: int) -> float:
    """Measure how many bytes a second a large copy moves, those read and those written added up."""
    free, _ = torch.cuda.mem_get_info()
    moved = 2 * min(LARGE_COPY_BYTES, free // 8)
    return moved / (cold_medians_ms({"copy": copy_of(moved)}, rounds)["copy"] * 1e-3)


def gpu_description() -> dict[str, Any]:
    """Describe the GPU, its clocks and power limits now where they can be read, and the software."""
    index = torch.cuda.current_device()
    properties = torch.cuda.get_device_properties(index)
    # The driver's own list may be cut short for this process in another way than PyTorch's.
    described = gpu_descriptions()
    return {
        **(described[index] if index < len(described) else {}),
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": properties.L2_cache_size,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
