"""From a plan that another tool made to an engine directory, checked and complete, or to nothing at all."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import edgefsa
from edgefsa.artifacts import Manifest, atomic_directory, sha256_of_file
from edgefsa.engines.build import named_errors
from edgefsa.engines.directory import engine_name
from edgefsa.engines.golden import NOT_RUN, patterned_frames
from edgefsa.engines.names import ADOPTED, SOURCE_NAME
from edgefsa.engines.numbers import ROUNDING_BOUNDS, Numbers, converted_numbers, with_engine
from edgefsa.engines.precision import EVIDENCE, UNKNOWN, layer_counts
from edgefsa.engines.proof import ProofFrames, proof_frames, store_golden
from edgefsa.engines.registry import target_of
from edgefsa.engines.session import LayerPrecision, write_layers
from edgefsa.engines.target import Target
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.plan_file import PlanFile
from edgefsa.media.tensors import InputForm


def adopt_plan_file(
    plan: PlanFile,
    out_dir: str | Path,
    metadata: dict[str, Any],
    form: InputForm,
    *,
    source: bytes | None = None,
    layers: Sequence[LayerPrecision] = (),
    frames: Callable[[dict[str, Any]], ProofFrames] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make `out_dir`/<model>-<runtime>-adopted-<HxW> of a plan; return what was made.

    The plan alone is stored. With `source`, the ONNX file that it was made of as `export.adapt` wrote it, the engine is
    held against that where it runs on this machine, and else when it is first opened. Where it runs it is opened in any
    case, so that wrong sizes show at once. Raises EngineError, PrecisionError or OutputError.
    """
    target = target_of(f"{plan.runtime}-{ADOPTED}")
    engine = Path(out_dir) / engine_name(metadata, target.name, UNKNOWN)
    runs_here = target.unusable() is None
    with atomic_directory(engine, overwrite=overwrite) as directory, named_errors(directory, engine):
        plan.copy_plan(directory / ENGINE_NAME)
        manifest = _manifest(plan, target, metadata, form)
        numbers = None
        if source is not None:
            (directory / SOURCE_NAME).write_bytes(source)
            numbers = _numbers(source, metadata, frames)
        if runs_here:
            numbers = _run(directory, manifest, target, numbers)
        if numbers is not None:
            manifest.golden = store_golden(directory, metadata, numbers)
        write_layers(directory, list(layers))
        account = "trtexec's list of layers" if layers else "its tool said nothing of its layers"
        record = {"evidence": "none", "account": account, "expected": 0, "proved": 0, "in_float": []}
        manifest.proof = {**record, "numbers": _numbers_record(numbers)}
        manifest.precision_detail["layers"] = layer_counts(layers)
        manifest.files = {path.name: sha256_of_file(path) for path in sorted(directory.iterdir())}
        manifest.write(directory)
    agreement = NOT_RUN if not runs_here else "opened and run; nothing to compare with"
    if numbers is not None and numbers.engine is not None:
        agreement = numbers.engine.in_words()
    return {
        "engine": str(engine),
        "target": target.name,
        "made_by": f"{plan.runtime} {plan.version}",
        "detail": EVIDENCE["none"],
        "agreement": agreement,
    }


def _manifest(plan: PlanFile, target: Target, metadata: dict[str, Any], form: InputForm) -> Manifest:
    return Manifest(
        model=metadata,
        target=target.name,
        precision=UNKNOWN,
        precision_detail={"compute": UNKNOWN, "float": UNKNOWN, "input": form.as_dict()},
        files={},
        versions={"edgefsa": edgefsa.__version__, target.package: plan.version, "numpy": np.__version__},
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _numbers(
    source: bytes, metadata: dict[str, Any], frames: Callable[[dict[str, Any]], ProofFrames] | None
) -> Numbers:
    """Run the plan's ONNX file."""
    import onnx

    chosen = proof_frames(None if frames is None else lambda: frames(metadata), metadata)
    model = onnx.load_from_string(source)
    return converted_numbers(
        model, None, chosen.frames, chosen.data, precision="fp32", compute=UNKNOWN, foreign=chosen.foreign
    )


def _run(directory: Path, manifest: Manifest, target: Target, numbers: Numbers | None) -> Numbers | None:
    """Open the engine, run it, and hold it against its ONNX file where that is known."""
    with target.open(directory, manifest) as session:
        if numbers is not None:
            return with_engine(numbers, session, None)
        session.run(patterned_frames(session.input_shape, seed=0))
    return None


def _numbers_record(numbers: Numbers | None) -> dict[str, Any]:
    if numbers is not None:
        return {**numbers.as_dict(), "float_to_converted": None}
    return {
        "frames": 0,
        "data": "nothing",
        "float_to_converted": None,
        "converted_to_engine": None,
        "engine_bound": asdict(ROUNDING_BOUNDS[UNKNOWN]),
    }
