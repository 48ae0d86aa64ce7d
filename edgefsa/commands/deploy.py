"""The commands about this machine: doctor and plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import JsonFlag


def doctor(json: JsonFlag = False) -> None:
    """Say what this machine can do: usable targets or why not, versions, CPU features, GPU, Jetson.

    Example: edgefsa doctor
    """
    from edgefsa.deploy.doctor import doctor as examine
    from edgefsa.deploy.doctor import doctor_text

    result = examine()
    console.emit(result, as_json=json, text=doctor_text(result))


def plugins(
    build: Annotated[bool, typer.Option("--build", help="Build it, once, into the cache; takes some minutes.")] = False,
    compute_capability: Annotated[
        str | None, typer.Option(metavar="X.Y", help="The GPU to build for, as 8.7; this machine's by default.")
    ] = None,
    tensorrt_include_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of TensorRT's NvInferRuntime.h.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Say which library of TensorRT plugins serves this machine, and why none does; or build it.

    Example: edgefsa plugins
    """
    from edgefsa.engines.tensorrt.plugins.build import build_for_this_machine
    from edgefsa.engines.tensorrt.plugins.library import library_facts

    if build:
        built = build_for_this_machine(capability=compute_capability, include_dir=tensorrt_include_dir)
        console.message(f"built {built.path}")
    result = library_facts(compute_capability)
    console.emit(result, as_json=json, text=console.facts(result))
