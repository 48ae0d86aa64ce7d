"""Types for networks that are not strongly typed: what the ONNX file says, layer by layer.

TensorRT before 10.12 gets its types by builder flags, and may then run a float32 layer in float16 where that is
faster. The ONNX file keeps layers in float32 for a reason (norms, the classifier, the frequency operators), so these
are held to it, and multiplying layers with float16 weights to float16. See docs/decisions/0009.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefsa.engines.precision import half_products, int8_products
from edgefsa.engines.tensorrt.builder import layers_of, onnx_nodes

if TYPE_CHECKING:
    import onnx

# These move, count or convert elements, in any type.
_MOVING = frozenset(
    ("Cast", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "Expand", "Gather", "Identity", "Pad")
    + ("QuantizeLinear", "Range", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
)
# Layers that the parser adds around the one that computes.
_HELPERS = ("CAST", "CONSTANT", "IDENTITY", "SHAPE", "SHUFFLE", "PLUGIN_V3")


def types_by_node(model: onnx.ModelProto) -> dict[str, str]:
    """Return node name -> "FLOAT" or "HALF" for the computing nodes whose type must not change; bodies are inlined.

    Nodes that run in int8 are left out: there TensorRT fuses by the Q/DQ pairs.
    """
    import onnx
    from onnx import TensorProto

    tensors = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    element_types = {item.name: item.type.tensor_type.elem_type for item in [*tensors.value_info, *tensors.output]}
    integer = set(int8_products(model.graph))
    types = dict.fromkeys(half_products(model.graph), "HALF")
    for node in model.graph.node:
        # An ArgMax reads float32 and gives integers.
        met = {element_types.get(name) for name in (*node.input, *node.output)}
        if node.op_type not in _MOVING and TensorProto.FLOAT in met and TensorProto.FLOAT16 not in met:
            types[node.name or f"node_of_{node.output[0]}"] = "FLOAT"  # as the parser calls a nameless node
    return {name: kind for name, kind in types.items() if name not in integer}


def hold_types(tensorrt: Any, network: Any, types: dict[str, str]) -> None:
    """Hold the layers of a parsed network to `types`; the builder then needs the flag OBEY_PRECISION_CONSTRAINTS."""
    helpers = [getattr(tensorrt.LayerType, name) for name in _HELPERS]
    floats = (tensorrt.DataType.FLOAT, tensorrt.DataType.HALF)
    for layer in layers_of(network):
        wanted = next((types[node] for node in onnx_nodes(str(layer.metadata)) if node in types), None)
        if wanted is None or layer.type in helpers or layer.get_output(0).dtype not in floats:
            continue  # what only counts, or has no type of its own
        layer.precision = getattr(tensorrt.DataType, wanted)
        for index in range(layer.num_outputs):
            if layer.get_output(index).dtype in floats:
                layer.set_output_type(index, getattr(tensorrt.DataType, wanted))
