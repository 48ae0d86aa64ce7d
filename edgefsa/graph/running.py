"""Running an ONNX graph on the CPU, as a runtime would optimise it or literally as ONNX defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.metadata import FRAMES, LOGITS, MASKS

Frames = npt.NDArray[np.uint8]
# frames uint8 [N, H, W, 3] BGR -> logits float32 [N, K, h, w], and masks uint8 [N, H, W] where the graph makes them.
Runner = Callable[[Frames], tuple[npt.NDArray[np.float32], Frames | None]]


def onnx_runner(model: onnx.ModelProto, *, optimised: bool = True) -> Runner:
    """Open a graph in ONNX Runtime's CPU provider and return a function from frames to its logits and masks.

    With `optimised` false no node is fused, folded or reordered: each Q/DQ node rounds and each product is computed in
    float32, which is what ONNX defines the graph to mean and what engines are held against.
    """
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = [item.name for item in probe.graph.output]
    if LOGITS not in outputs:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(LOGITS))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin between frames would take cores from what runs beside.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session: Any = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [LOGITS, MASKS] if MASKS in outputs else [LOGITS]

    def run(frames: Frames) -> tuple[npt.NDArray[np.float32], Frames | None]:
        results = session.run(wanted, {FRAMES: frames})
        return results[0], results[1] if len(results) > 1 else None

    return run
