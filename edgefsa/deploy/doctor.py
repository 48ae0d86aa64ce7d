"""What this machine can do: targets, versions, CPU, GPU, which Jetson it is, and what is to be mended.

Everything is read from files, the drivers, the vendor's tools and the packages' metadata; nothing is changed, and
torch stays out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import edgefsa
from edgefsa.deploy.facts import facts_of_machine
from edgefsa.deploy.finding import PROBLEM, WARNING
from edgefsa.deploy.findings import findings
from edgefsa.engines import PRECISIONS, choose_target, targets
from edgefsa.engines.tensorrt.plugins.library import library_facts
from edgefsa.errors import TargetError
from edgefsa.machine.description import gpu_in_words, int8_in_words, machine_description, package_versions


def doctor() -> dict[str, Any]:
    """Examine this machine; the result is plain JSON.

    Keys: "edgefsa", "python", "system", "cpu" {name, architecture, cores, features}, "gpus" [{name,
    compute_capability, memory_mb, pci_bus_id, and its clocks and power limits where they can be read}], "jetson"
    (of machine.jetson, or null), "packages" {name: version or null}, "targets" {name: {runs, why_not, builds,
    why_not_build}}, "auto" {precision: {target, why}}, "plugins" {path, tensorrt, architectures, why_not}: the library
    of TensorRT plugins; "environment", "debian", "driver_cuda", "opencv", "memory" and "cameras" as deploy.facts reads
    them, and "findings" [{level, what, mend}], of which `level` is ok, warning or problem, and `mend` a command or
    null.
    """
    machine, facts = machine_description(), facts_of_machine()
    shown = machine["gpus"]
    usable = {name: _target_facts(name) for name in targets()}
    library = library_facts(shown[0]["compute_capability"] if shown else None)
    read = asdict(facts)
    return {
        "edgefsa": edgefsa.__version__,
        "python": machine["python"],
        "system": machine["os"],
        "cpu": {
            "name": machine["cpu"],
            "architecture": machine["architecture"],
            "cores": machine["cores_usable"],
            "features": machine["cpu_features"],
        },
        "gpus": shown,
        "jetson": machine["jetson"],
        "packages": package_versions(),
        "targets": usable,
        "auto": {precision: _choice(precision) for precision in PRECISIONS},
        "plugins": library,
        **{name: read[name] for name in ("environment", "debian", "driver_cuda", "opencv", "memory", "cameras")},
        "findings": [asdict(finding) for finding in findings(facts, usable, library)],
    }


def _target_facts(name: str) -> dict[str, Any]:
    not_run, not_built = targets()[name].unusable(), targets()[name].unbuildable()
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
        f"          {int8_in_words(processor['features']) or 'no INT8 instructions that edgefsa knows'}",
        *[f"GPU       {gpu_in_words(gpu)}" for gpu in facts["gpus"]],
    ]
    if not facts["gpus"]:
        lines.append("GPU       none that the NVIDIA driver shows")
    if facts["jetson"]:
        board = facts["jetson"]
        lines.append(
            f"Jetson    {board['module'] or board['model'] or 'unknown'}, Jetson Linux {board['l4t'] or 'unknown'}, "
            f"JetPack {board['jetpack'] or 'unknown'}, power mode {board['power_mode'] or 'unknown'}"
        )
    lines += ["", "targets"]
    lines += [_target_line(name, target) for name, target in facts["targets"].items()]
    lines += ["", "auto picks"]
    lines += [f"  {precision.ljust(6)} {choice['target'] or 'nothing'}" for precision, choice in facts["auto"].items()]
    lines += ["", f"TensorRT plugins: {_plugins_text(facts['plugins'])}"]
    lines += ["", "packages"]
    lines += [f"  {name.ljust(24)} {version or '-'}" for name, version in facts["packages"].items()]
    levels = Counter(finding["level"] for finding in facts["findings"])
    lines += ["", f"findings: {levels[PROBLEM]} problems, {levels[WARNING]} warnings"]
    lines += [line for finding in facts["findings"] for line in _finding_lines(finding)]
    return "\n".join(lines)


def _finding_lines(finding: dict[str, Any]) -> list[str]:
    mend = [f"           mend: {finding['mend']}"] if finding["mend"] else []
    return [f"  {finding['level'].ljust(8)} {finding['what']}", *mend]


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
