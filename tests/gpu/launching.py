"""Kernels on PyTorch's tensors, and what their tests share: layouts, random maps, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgefsa.kernels.launchers import FLOAT, HALF, HWC8, INT8, LINEAR, Kernels

LAYOUTS = [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)]
DTYPES = {FLOAT: torch.float32, HALF: torch.float16, INT8: torch.int8}
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}


class Launcher:
    """Launches kernels on tensors of `device`; on "cpu" they are emulated ones, to test the tests themselves."""

    def __init__(self, kernels: Kernels, device: str) -> None:
        self.kernels, self.device = kernels, device

    def run(self, name: str, **values: Any) -> None:
        """Launch once and wait; tensors stand for their addresses."""
        self.prepared(name, **values)()
        self.wait()

    def prepared(self, name: str, **values: Any) -> Callable[[], None]:
        """Return a call that enqueues the launch on the current stream; its workspace holds bytes of 255 at first."""
        params = self.kernels.params(name, **values)
        size = self.kernels.workspace_bytes(name, params)
        workspace = torch.full((max(size, 1),), 255, dtype=torch.uint8, device=self.device)

        def enqueue(kept: tuple[Any, ...] = (workspace, *values.values())) -> None:
            self.kernels.launch(name, params, workspace.data_ptr(), self._stream())

        return enqueue

    def captured(self, enqueue: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Return what `enqueue` launches as a CUDA graph; it is run once before, which loads its kernels."""
        enqueue()
        self.wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            enqueue()
        return graph

    def wait(self) -> None:
        """Wait for the device."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def _stream(self) -> int:
        return 0 if self.device == "cpu" else torch.cuda.current_stream().cuda_stream

    def random_map(self, shape: tuple[int, ...], kind: int) -> Tensor:
        """Return values [N, C, H, W] of a type: normal ones, or all bytes alike."""
        torch.manual_seed(sum(shape))
        if kind == INT8:
            return torch.randint(-128, 128, shape, device=self.device, dtype=torch.int8)
        return torch.randn(shape, device=self.device).to(DTYPES[kind])

    def weights(self, operator: Any) -> dict[str, Tensor]:
        """Return an operator's tensors on the device."""
        return {name: tensor.to(self.device) for name, tensor in operator.tensors.items()}


def dims_of(shape: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(("batch", "channels", "height", "width"), shape, strict=True))


def laid_out(x: Tensor, layout: int, offset: int = 0) -> Tensor:
    """Return the map in memory: as it is, or [N, H, W, C padded to 8]; `offset` elements behind an aligned address."""
    if layout == HWC8:
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 8)).permute(0, 2, 3, 1)
    memory = torch.empty(x.numel() + offset, dtype=x.dtype, device=x.device)
    return memory[offset:].view(x.shape).copy_(x)


def unwritten_like(stored: Tensor, offset: int = 0) -> Tensor:
    """Return memory for a result that no right kernel leaves as it is: NaN, or bytes of 1."""
    memory = torch.full((stored.numel() + offset,), 1, dtype=stored.dtype, device=stored.device)
    if stored.is_floating_point():
        memory.fill_(float("nan"))
    return memory[offset:].view(stored.shape)


def plain(y: Tensor, channels: int, layout: int) -> Tensor:
    """Return [N, C, H, W] of a result, after a check that the padding of its channels is zero."""
    if layout == LINEAR:
        return y
    assert not y[..., channels:].any(), "the padding of the channels is not zero"
    return y.permute(0, 3, 1, 2)[:, :channels]


def relative_l2(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def assert_rounded(y: Tensor, wanted: Tensor, y_scale: float) -> None:
    """y is `wanted` in units of y_scale, rounded and saturated, and some of it is saturated."""
    real = wanted / y_scale
    assert float(real.abs().max()) > 128
    assert float((real.clamp(-128, 127) - y.double()).abs().max()) < 0.5 + 2e-2


def assert_repeats(launcher: Launcher, name: str, values: dict[str, Any], other: Tensor) -> None:
    """A CUDA graph of a launch runs nothing while it is captured, and then does to `other` what a launch does."""
    x, y = values["x"], values["y"]
    graph = launcher.captured(launcher.prepared(name, **values))
    y.fill_(float("nan"))
    x.copy_(other)
    launcher.wait()
    assert bool(y.isnan().all())
    graph.replay()
    launcher.wait()
    replayed = y.clone()
    y.fill_(float("nan"))
    launcher.run(name, **values)
    assert torch.equal(replayed, y)
