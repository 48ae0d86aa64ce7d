"""Running an ONNX graph on the CPU, as a runtime would optimise it or literally as ONNX defines it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.graph.halves import rounding_in_float
from edgefsa.metadata import FRAMES, LOGITS, MASKS

Frames = npt.NDArray[np.uint8]
# frames uint8 [N, H, W, 3] BGR -> logits float32 [N, K, h, w], and masks uint8 [N, H, W] where the graph makes them.
Runner = Callable[[Frames], tuple[npt.NDArray[np.float32], Frames | None]]


def onnx_runner(model: onnx.ModelProto, *, optimised: bool = True) -> Runner:
    """Return a function from frames to a graph's logits and masks; see `tensors_runner`."""
    has_masks = MASKS in [item.name for item in model.graph.output]
    run = tensors_runner(model, [LOGITS, MASKS] if has_masks else [LOGITS], optimised=optimised)

    def logits_and_masks(frames: Frames) -> tuple[npt.NDArray[np.float32], Frames | None]:
        results = run(frames)
        return results[0], results[1] if has_masks else None

    return logits_and_masks


def tensors_runner(
    model: onnx.ModelProto, tensors: Sequence[str], *, optimised: bool = True
) -> Callable[[Frames], list[npt.NDArray[Any]]]:
    """Return a function from frames to the named tensors of a graph, in their order.

    ONNX Runtime's CPU provider computes them where it is installed, else ONNX's reference evaluator, many times slower.
    With `optimised` false no node is fused, folded or reordered: each Q/DQ node rounds, each product is computed in
    float32, and what is float16 is rounded to it, which is what ONNX defines the graph to mean and what engines are
    held against.
    """
    onnxruntime = _onnxruntime()
    if onnxruntime is None:
        from edgefsa.graph.reference import ReferenceRunner

        return ReferenceRunner(model, tensors)
    probe = onnx.ModelProto()
    probe.CopyFrom(model if optimised else rounding_in_float(model))
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin between frames would take cores from what runs beside.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frames: session.run(None, {FRAMES: frames})  # type: ignore[no-any-return]


def named_tensors_runner(
    model: onnx.ModelProto, tensors: Sequence[str], *, optimised: bool = False
) -> Callable[[Frames], dict[str, npt.NDArray[Any]]]:
    """Return a function from frames to the named tensors of a graph, by their names; see `tensors_runner`."""
    names = list(dict.fromkeys(tensors))
    run = tensors_runner(model, names, optimised=optimised)
    return lambda frames: dict(zip(names, run(frames), strict=True))


def has_onnxruntime() -> bool:
    """Return whether ONNX Runtime computes graphs on this machine."""
    return _onnxruntime() is not None


def evaluator_in_words() -> str:
    """Return what `tensors_runner` computes with on this machine, for the record."""
    onnxruntime = _onnxruntime()
    if onnxruntime is None:
        return f"the reference evaluator of onnx {onnx.__version__}"
    return f"onnxruntime {onnxruntime.__version__}"


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return None
    return onnxruntime
