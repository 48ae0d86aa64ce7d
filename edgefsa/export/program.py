"""From a module to a torch.export program that takes camera frames, as the ONNX file of the same network does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgefsa.errors import CheckpointError, ExportError
from edgefsa.metadata import MASKS
from edgefsa.models.frequency import FrequencyLayer
from edgefsa.models.modules import swap_modules
from edgefsa.models.rebuilt import module_of

_PREFIX = "network."
_PRODUCTS = frozenset(("conv2d", "conv_transpose2d", "linear", "matmul", "mm", "bmm", "addmm"))
_WORDS = {torch.float32: "f32", torch.float16: "f16"}


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product of a program: the module that it is in, and what it computes in (f32, f16)."""

    name: str
    module: str
    precision: str


@dataclass(frozen=True)
class CameraProgram:
    """A program from frames uint8 [N, H, W, 3] BGR to `masks` int32 [N, H, W] or `logits` float32 [N, K, h, w]."""

    program: torch.export.ExportedProgram
    products: tuple[Product, ...]


class _Camera(nn.Module):
    """The network between our two ends; masks are int32, as few converters know uint8."""

    mean_rgb: Tensor
    std_rgb: Tensor

    def __init__(self, network: nn.Module, size_hw: tuple[int, int], *, half: bool, masks: bool) -> None:
        super().__init__()
        config: Any = network.config
        self.network, self.size_hw, self.half_inside, self.masks = network, size_hw, half, masks
        self.register_buffer("mean_rgb", torch.tensor(config.mean_rgb, dtype=torch.float32))
        self.register_buffer("std_rgb", torch.tensor(config.std_rgb, dtype=torch.float32))

    def forward(self, frames: Tensor) -> Tensor:
        rgb = (frames.to(torch.float32).flip(-1) - self.mean_rgb) / self.std_rgb
        image = rgb.permute(0, 3, 1, 2)
        out = self.network(image.half() if self.half_inside else image)
        logits: Tensor = (out[0] if isinstance(out, tuple) else out).float()
        if not self.masks:
            return logits
        whole = functional.interpolate(logits, size=self.size_hw, mode="bilinear", align_corners=False)
        return whole.argmax(1).to(torch.int32)


def camera_program(metadata: Mapping[str, Any], *, half: bool) -> CameraProgram:
    """Build the network of a file's metadata again, and export it with torch.export for its batch and size.

    With `half` it computes in float16, but for frequency layers, normalisation and the masks, which stay in float32.
    Raises CheckpointError where the weights are not here, ExportError where torch cannot export it.
    """
    try:
        network, _ = module_of(metadata)
    except CheckpointError as error:
        raise CheckpointError(f"the PyTorch module is compiled, and cannot be made: {error}") from None
    if half:
        network = _halved(network)
    size_hw = (int(metadata["size_hw"][0]), int(metadata["size_hw"][1]))
    camera = _Camera(network, size_hw, half=half, masks=metadata["outputs"] == MASKS).eval()
    frames = torch.zeros((int(metadata["batch"]), *size_hw, 3), dtype=torch.uint8)
    try:
        with torch.no_grad():
            # A frequency layer adds its last product to the map in one operation, which compilers lack.
            program = torch.export.export(camera, (frames,)).run_decompositions(
                {torch.ops.aten.baddbmm.default: lambda x, a, b: x + a @ b}
            )
    except Exception as error:  # torch.export raises a dozen kinds
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{metadata['model']} cannot be exported by torch.export ({first_line})") from error
    return CameraProgram(program, _products(program))


def _halved(network: nn.Module) -> nn.Module:
    """Return a copy in float16 whose frequency layers are as they were."""
    half = copy.deepcopy(network).half()
    kept = {
        new: old for new, old in zip(half.modules(), network.modules(), strict=True) if isinstance(old, FrequencyLayer)
    }
    return swap_modules(half, kept)


def _products(program: torch.export.ExportedProgram) -> tuple[Product, ...]:
    found = []
    for node in program.graph.nodes:
        if node.op == "call_function" and _operator(node) in _PRODUCTS:
            stack = list(node.meta.get("nn_module_stack", {}).values())
            module = str(stack[-1][0]).removeprefix(_PREFIX) if stack else ""
            kind = node.args[1].meta["val"].dtype
            found.append(Product(str(node.name), module, _WORDS.get(kind, str(kind))))
    return tuple(found)


def _operator(node: torch.fx.Node) -> str:
    return str(node.target).split(".")[1] if "." in str(node.target) else ""
