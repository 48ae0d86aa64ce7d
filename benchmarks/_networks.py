"""What the benchmarks ask of a network without running it: its parts, their sizes and their multiply-accumulates."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edgefsa.models.costs import count_params, macs_of


def cost_of(network: nn.Module, size_hw: tuple[int, int]) -> dict[str, int]:
    """Return `params` and `macs` of a network on one image of `size_hw`; auxiliary heads do not count."""
    bare, image = _without_storage(network, size_hw)
    return {"params": count_params(bare), "macs": macs_of(lambda: bare(image))}


def layers_of(network: nn.Module, size_hw: tuple[int, int]) -> list[dict[str, Any]]:
    """Return each part that inference runs, in order: `layer`, `output` [C, H, W], `params` and `macs`.

    A part is a child of the network, or an item of a child that is a list; of a part that gives several maps the
    finest is told.
    """
    bare, image = _without_storage(network, size_hw)
    calls: dict[str, tuple[nn.Module, tuple[Any, ...], Tensor]] = {}

    def note(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls[name] = (part, inputs, output if isinstance(output, Tensor) else output[0])

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in _parts(bare)]
    bare(image)
    for handle in handles:
        handle.remove()
    return [
        {
            "layer": name,
            "output": list(output.shape[1:]),
            "params": count_params(part),
            "macs": macs_of(lambda part=part, inputs=inputs: part(*inputs)),  # type: ignore[misc]
        }
        for name, (part, inputs, output) in calls.items()
    ]


def _parts(network: nn.Module) -> list[tuple[str, nn.Module]]:
    parts: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            parts += [(f"{name}.{index}", item) for index, item in enumerate(child)]
        else:
            parts.append((name, child))
    return parts


def _without_storage(network: nn.Module, size_hw: tuple[int, int]) -> tuple[nn.Module, Tensor]:
    """Return a copy of the network, and an image for it, that have shapes and no values."""
    bare = copy.deepcopy(network).to("meta").eval()
    return bare.requires_grad_(False), torch.empty(1, 3, *size_hw, device="meta")
