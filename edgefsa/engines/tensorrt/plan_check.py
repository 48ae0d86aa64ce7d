"""Is a plan that cannot be loaded here made of these weights, in the precision that was asked for?

A plan that TensorRT for RTX builds ahead of time holds the stored factors of its products whole, byte for byte in
their type: matrices as in the ONNX file or transposed, kernels with their channels last, padded to a multiple of 4, 8,
16 or 32. So they can be found in it on a machine without a GPU, where TensorRT itself refuses to read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgefsa.engines.tensorrt.builder import PlanBuild
from edgefsa.errors import BuildError, PrecisionError

if TYPE_CHECKING:
    import onnx

_PADDED_TO = (1, 4, 8, 16, 32)
# A kernel of another layout (grouped, tiny) may be rearranged in a way that is not looked for.
_LEAST_SHARE = 0.5


def check_plan_form(build: PlanBuild, plan: bytes) -> None:
    """Raise BuildError where the runtime calls `plan` malformed, as it can tell from its header without a GPU."""
    tensorrt = build.tensorrt
    _, faults = tensorrt.Runtime(build.logger).get_engine_validity(plan)
    if int(faults) & int(tensorrt.EngineInvalidityDiagnostics.MALFORMED_ENGINE):
        raise BuildError(f"{build.title} has made a plan of {len(plan)} bytes that it calls malformed; build again")


def check_plan_weights(plan: bytes, model: onnx.ModelProto, nodes: Sequence[str]) -> int:
    """Return how many of `nodes` (products of `model` with a stored weight) have their weight in `plan`.

    Raises PrecisionError where that is fewer than half: the plan is of another network, another precision, or no plan.
    """
    from onnx import numpy_helper

    stored = {item.name: item for item in model.graph.initializer}
    dequantised = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    wanted = set(nodes)
    found = 0
    for node in model.graph.node:
        if node.name not in wanted:
            continue
        weight = stored.get(dequantised.get(node.input[1], node.input[1]))
        if weight is not None and any(form in plan for form in _forms(numpy_helper.to_array(weight))):
            found += 1
    if found < _LEAST_SHARE * len(wanted):
        raise PrecisionError(
            f"the plan holds the weights of {found} of the {len(wanted)} layers that it was built from: it is damaged, "
            "or TensorRT-RTX has converted them to another type; build again, or with another version of it"
        )
    return found


def _forms(weight: npt.NDArray[np.generic]) -> Iterator[bytes]:
    """Yield the bytes of a weight in the layouts that plans have."""
    yield weight.tobytes()
    if weight.ndim == 2:
        yield np.ascontiguousarray(weight.T).tobytes()
    if weight.ndim == 4:
        last = weight.transpose(0, 2, 3, 1)
        for multiple in _PADDED_TO:
            yield np.pad(last, ((0, 0), (0, 0), (0, 0), (0, -last.shape[3] % multiple))).tobytes()
