"""The targets by name, which of them this machine can use, and how `auto` chooses."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from edgefsa.engines.target import Target
from edgefsa.errors import TargetError

# In the order in which `auto` prefers them: a GPU first, then the faster of the CPU runtimes.
_OURS = {
    "tensorrt": "edgefsa.engines.tensorrt.target:TensorRtTarget",
    "tensorrt-rtx": "edgefsa.engines.tensorrt.rtx:TensorRtRtxTarget",
    "openvino": "edgefsa.engines.cpu.openvino:OpenVinoTarget",
    "onnxruntime": "edgefsa.engines.cpu.onnxruntime:OnnxRuntimeTarget",
    "torch-tensorrt": "edgefsa.engines.tensorrt.torch_tensorrt:TorchTensorRtTarget",
    "tensorrt-adopted": "edgefsa.engines.tensorrt.adopted:TensorRtPlanTarget",
    "tensorrt-rtx-adopted": "edgefsa.engines.tensorrt.adopted:TensorRtRtxPlanTarget",
}
# Another package adds a target by an entry point of this group: its name = "module:TargetClass".
ENTRY_POINT_GROUP = "edgefsa.targets"
AUTO = "auto"


@functools.cache
def targets() -> Mapping[str, Target]:
    """Return every target by name: ours in the order that `auto` prefers, then those of other packages by name.

    Raises TargetError where another package's target cannot be loaded, or takes a name that is taken.
    """
    found: dict[str, Target] = {}
    for name, place in _OURS.items():
        module, _, kind = place.partition(":")
        found[name] = getattr(importlib.import_module(module), kind)()
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if point.name in (*found, AUTO):
            raise TargetError(f"{_origin(point)} adds a target {point.name}, and that name is taken; uninstall it")
        found[point.name] = _target_of_package(point)
    return found


def _target_of_package(point: EntryPoint) -> Target:
    try:
        target = point.load()()
    except Exception as error:  # anything can go wrong in another package's module
        raise TargetError(
            f"the target {point.name} of {_origin(point)} cannot be loaded ({type(error).__name__}: {error}); update "
            "or uninstall it"
        ) from error
    if not isinstance(target, Target) or target.name != point.name:
        raise TargetError(f"{point.value} of {_origin(point)} is no target {point.name}; update that package")
    return target


def _origin(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist is not None else point.value


def target_of(name: str) -> Target:
    """Return a target by name; TargetError lists the known ones."""
    if name not in targets():
        raise TargetError(f"target {name} is unknown; use {AUTO}, {', '.join(targets())}")
    return targets()[name]


def usable_targets() -> dict[str, str | None]:
    """Return each target, with None where engines of it run on this machine and else the reason why not."""
    return {name: target.unusable() for name, target in targets().items()}


def choose_target(precision: str) -> tuple[str, str]:
    """Pick the target for `auto`: return its name, and why it and not the others.

    Raises TargetError, with every target's reason, where none can be used.
    """
    reasons = {name: target.unusable() or target.unsuited(precision) for name, target in targets().items()}
    chosen = next((name for name, reason in reasons.items() if reason is None), None)
    others = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason is not None)
    if chosen is None:
        raise TargetError(f"no target can run {precision} on this machine: {others}")
    return chosen, f"the first usable of {', '.join(targets())}" + (f" ({others})" if others else "")
