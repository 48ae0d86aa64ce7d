"""From the float32 graph of a build to the one in the asked-for precision. Needs onnx; used at build time only."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.engines.target import BuildJob
from edgefsa.errors import PrecisionError, RangesError

if TYPE_CHECKING:
    import onnx


def int8_graph(
    job: BuildJob, activations: str, *, rest: str = "f32", int8_operators: bool = False
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Quantise the job's graph with its ranges; return the Q/DQ graph and the manifest's `quantization`.

    `activations` is "int8" (symmetric), "uint8" or "mixed", see `int8_onnx`. `rest` is what the other nodes
    run in, "f32" or "f16". `int8_operators` quantises the maps of frequency operators too, for plugins that take
    INT8, where that moves fewer bytes. RangesError where the job has no ranges or they belong to another model.
    """
    from edgefsa.quantize import int8_onnx

    if job.ranges is None:
        raise RangesError(
            "int8 needs activation ranges; make them with `edgefsa calibrate` and pass --ranges, or pass --data"
        )
    model, summary = int8_onnx(
        job.source,
        job.ranges,
        skip=job.skip,
        activations=activations,
        rest=rest,
        int8_operators=int8_operators,
        weight_bits=job.weights.bits,
    )
    return model, {
        "method": job.ranges.method,
        "data": job.ranges.data,
        "activations": activations,
        "rest": rest,
        "skip": list(job.skip),
        "weight_bits": job.weights.bits,
        "weight_bits_why": job.weights.why,
        **(asdict(summary) if is_dataclass(summary) and not isinstance(summary, type) else {}),
    }


def half_graph(job: BuildJob) -> onnx.ModelProto:
    """Convert the job's graph to float16 where that is safe, by the job's ranges too where it has some."""
    from edgefsa.quantize import fp16_onnx

    return fp16_onnx(job.source, job.ranges)


def check_half(job: BuildJob) -> None:
    """Raise PrecisionError where the job's ranges ask for float32 nodes in a float16 graph.

    It is for runtimes that run a whole graph in one type. RangesError where the ranges belong to another model.
    """
    if job.ranges is None:
        return
    from edgefsa.quantize import wide_tensors

    job.ranges.check(job.source)
    wide = wide_tensors(job.ranges)
    if wide:
        raise PrecisionError(
            f"float16 has no room for {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} by their ranges, and "
            "this target runs all layers in one type; choose another target, or build int8 or fp32"
        )


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; a full disk shows as OSError, which the engine directory turns into one line."""
    path.write_bytes(model.SerializeToString())
