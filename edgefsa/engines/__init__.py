"""ONNX file -> engine directory -> open session, on any target. Opening and running needs neither torch nor onnx."""

from __future__ import annotations

from edgefsa.engines.build import PRECISIONS, BuildReport, build_engine
from edgefsa.engines.opening import inspect_engine, logits_session, open_engine
from edgefsa.engines.registry import choose_target, targets, usable_targets
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import Target

__all__ = [
    "PRECISIONS",
    "BuildReport",
    "LayerPrecision",
    "Session",
    "Target",
    "build_engine",
    "choose_target",
    "inspect_engine",
    "logits_session",
    "open_engine",
    "targets",
    "usable_targets",
]
