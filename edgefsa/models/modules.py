"""Exchange of parts of a module tree."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def swap_modules(root: nn.Module, swaps: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Put the value of `swaps` wherever its key stands in the tree, in place; a shared part stays shared.

    Gives `root`, or what `root` itself was swapped for.
    """
    for parent in list(root.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in swaps:
                setattr(parent, name, swaps[child])
    return swaps.get(root, root)
