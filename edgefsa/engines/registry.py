"""The targets by name, which of them this machine can use, and how `auto` chooses."""

from __future__ import annotations

from edgefsa.engines.cpu.onnxruntime import OnnxRuntimeTarget
from edgefsa.engines.cpu.openvino import OpenVinoTarget
from edgefsa.engines.target import Target
from edgefsa.engines.tensorrt.rtx import TensorRtRtxTarget
from edgefsa.engines.tensorrt.target import TensorRtTarget
from edgefsa.errors import TargetError

# In the order in which `auto` prefers them: a GPU first, then the faster of the CPU runtimes.
TARGETS: dict[str, Target] = {
    target.name: target for target in (TensorRtTarget(), TensorRtRtxTarget(), OpenVinoTarget(), OnnxRuntimeTarget())
}
AUTO = "auto"


def target_of(name: str) -> Target:
    """Give a target by name; TargetError lists the known ones."""
    if name not in TARGETS:
        raise TargetError(f"target {name} is unknown; use {AUTO}, {', '.join(TARGETS)}")
    return TARGETS[name]


def usable_targets() -> dict[str, str | None]:
    """Give each target, with None where engines of it run on this machine and else the reason why not."""
    return {name: target.unusable() for name, target in TARGETS.items()}


def choose_target(precision: str) -> tuple[str, str]:
    """Pick the target for `auto`: gives its name, and why it and not the others.

    Raises TargetError, with every target's reason, where none can be used.
    """
    reasons = {name: target.unusable() or target.unsuited(precision) for name, target in TARGETS.items()}
    chosen = next((name for name, reason in reasons.items() if reason is None), None)
    others = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason is not None)
    if chosen is None:
        raise TargetError(f"no target can run {precision} on this machine: {others}")
    return chosen, f"the first usable of {', '.join(TARGETS)}" + (f" ({others})" if others else "")
