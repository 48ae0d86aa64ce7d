"""What this machine can do: targets, versions, CPU, GPU, and which Jetson it is.

Everything is read from files, the drivers and the packages' metadata; nothing is changed, and torch stays out.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Any

import edgefsa
from edgefsa.deploy.jetson import jetson
from edgefsa.engines import PRECISIONS, TARGETS, choose_target
from edgefsa.engines.tensorrt.plugins.library import library_facts
from edgefsa.errors import TargetError
from edgefsa.machine import cpu, gpus

PACKAGES = (
    *("numpy", "opencv-python-headless", "openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt-rtx", "tensorrt"),
    *("cuda-bindings", "pycuda", "torch", "onnx"),
)


def doctor() -> dict[str, Any]:
    """Examine this machine; the result is plain JSON.

    Keys: "edgefsa", "python", "system", "cpu" {name, architecture, cores, features}, "gpus" [{name,
    compute_capability, memory_mb}], "jetson" ({model, l4t, jetpack, power_mode} or null), "packages" {name:
    version or null}, "targets" {name: {runs, why_not, builds, why_not_build}}, "auto" {precision: {target, why}},
    "plugins" {path, tensorrt, architectures, why_not}: the library of TensorRT plugins.
    """
    processor = cpu()
    return {
        "edgefsa": edgefsa.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": {
            "name": processor.name,
            "architecture": processor.architecture,
            "cores": _usable_cores(),
            "features": list(processor.features),
        },
        "gpus": [asdict(gpu) for gpu in gpus()],
        "jetson": jetson(),
        "packages": {name: _version_of(name) for name in PACKAGES},
        "targets": {name: _target_facts(name) for name in TARGETS},
        "auto": {precision: _choice(precision) for precision in PRECISIONS},
        "plugins": library_facts(gpus()[0].compute_capability if gpus() else None),
    }


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _target_facts(name: str) -> dict[str, Any]:
    not_run, not_built = TARGETS[name].unusable(), TARGETS[name].unbuildable()
    return {
        "runs": not_run is None,
        "why_not": not_run,
        "builds": not_built is None,
        "why_not_build": not_built,
    }


def _choice(precision: str) -> dict[str, str | None]:
    try:
        name, why = choose_target(precision)
    except TargetError as error:
        return {"target": None, "why": str(error)}
    return {"target": name, "why": why}


def doctor_text(facts: dict[str, Any]) -> str:
    """Lay out what `doctor` found for people."""
    processor = facts["cpu"]
    lines = [
        f"edgefsa {facts['edgefsa']}, Python {facts['python']}, {facts['system']}",
        f"CPU       {processor['name']}, {processor['architecture']}, {processor['cores']} cores",
        f"          {' '.join(processor['features']) or 'features unknown'}",
        *[
            f"GPU       {gpu['name']}, compute capability {gpu['compute_capability']}, {gpu['memory_mb']} MB"
            for gpu in facts["gpus"]
        ],
    ]
    if not facts["gpus"]:
        lines.append("GPU       none that the NVIDIA driver shows")
    if facts["jetson"]:
        board = facts["jetson"]
        lines.append(
            f"Jetson    {board['model'] or 'unknown'}, Jetson Linux {board['l4t'] or 'unknown'}, "
            f"JetPack {board['jetpack'] or 'unknown'}, power mode {board['power_mode'] or 'unknown'}"
        )
    lines += ["", "targets"]
    lines += [_target_line(name, target) for name, target in facts["targets"].items()]
    lines += ["", "auto picks"]
    lines += [f"  {precision.ljust(6)} {choice['target'] or 'nothing'}" for precision, choice in facts["auto"].items()]
    lines += ["", f"TensorRT plugins: {_plugins_text(facts['plugins'])}"]
    lines += ["", "packages"]
    lines += [f"  {name.ljust(24)} {version or '-'}" for name, version in facts["packages"].items()]
    return "\n".join(lines)


def _plugins_text(library: dict[str, Any]) -> str:
    if library["why_not"]:
        return f"none, {library['why_not']}"
    made_for = ", ".join(f"sm_{architecture}" for architecture in library["architectures"])
    return f"{library['path']} (TensorRT {library['tensorrt']}, {made_for})"


def _target_line(name: str, target: dict[str, Any]) -> str:
    if target["runs"]:
        return f"  {name.ljust(14)} yes"
    if target["builds"]:
        return f"  {name.ljust(14)} builds here, does not run: {target['why_not']}"
    return f"  {name.ljust(14)} no: {target['why_not']}"
