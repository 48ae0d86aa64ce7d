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
    from edgefsa.quantize.codes import calibrated_codes

    if job.ranges is None:
        raise RangesError(
            "int8 needs activation ranges; make them with `edgefsa calibrate` and pass --ranges, or pass --data"
        )
    scan = job.scan() if rest == "f16" else None
    model, summary = int8_onnx(
        job.source,
        job.ranges,
        skip=job.skip,
        activations=activations,
        rest=rest,
        int8_operators=int8_operators,
        weight_bits=job.weights.bits,
        **({} if scan is None else {"scan": scan}),
    )
    return model, {
        "method": job.ranges.method,
        "data": job.ranges.data,
        "activations": activations,
        "rest": rest,
        "skip": list(job.skip),
        "search": dict(job.recipe.search) if job.recipe is not None and job.recipe.search else None,
        "weight_bits": job.weights.bits,
        "weight_bits_why": job.weights.why,
        "range_scan": None if scan is None else scan.as_dict(),
        "calibrated": calibrated_codes(job.source, model, job.ranges),
        **(asdict(summary) if is_dataclass(summary) and not isinstance(summary, type) else {}),
    }


def half_graph(job: BuildJob) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Convert the job's graph to float16 where that is safe, by its ranges and a scan of its frames where it has them.

    Returns the graph, and for the manifest's `precision_detail` what stays in float32 and why, and what the scan found.
    """
    from edgefsa.quantize import fp16_onnx

    scan = job.scan()
    graph, kept = fp16_onnx(job.source, job.ranges, scan)
    return graph, {"f32_nodes": kept, "range_scan": None if scan is None else scan.as_dict()}


def check_half(job: BuildJob) -> None:
    """Raise PrecisionError where float16 has no room for a tensor, by the job's ranges or by a scan of its frames.

    It is for runtimes that run a whole graph in one type. RangesError where the ranges belong to another model.
    """
    from edgefsa.quantize import wide_tensors
    from edgefsa.quantize.scan import LARGEST_AMAX

    if job.ranges is not None:
        job.ranges.check(job.source)
    scan = job.scan()
    measured = [] if scan is None else [name for name, item in scan.tensors.items() if item.amax > LARGEST_AMAX]
    wide = list(dict.fromkeys([*wide_tensors(job.ranges), *measured]))
    if wide:
        raise PrecisionError(
            f"float16 has no room for {', '.join(wide[:3])}{' and more' if len(wide) > 3 else ''} by their ranges, and "
            "this target runs all layers in one type; choose another target, or build int8 or fp32"
        )


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; a full disk shows as OSError, which the engine directory turns into one line."""
    path.write_bytes(model.SerializeToString())
