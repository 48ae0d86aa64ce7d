"""An ONNX file that another tool exported, as the pipeline takes it: frames in, masks out, logits named in between.

What the network itself computes stays as it is; normalisation, layout and colour order go into the graph, as they are
in files of `edgefsa export`, so that calibration, proof and every target see camera frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, version_converter

from edgefsa.errors import GraphError
from edgefsa.export.frames import add_frames_input, add_masks_output
from edgefsa.graph.editing import GraphEditor, int_attribute, unique_name
from edgefsa.graph.files import IR_VERSION, OPSET, check_operators, write_metadata
from edgefsa.graph.folding import fold_batch_norms, fold_constants
from edgefsa.graph.functions import function_for
from edgefsa.graph.operators import DOMAIN, DOMAIN_VERSION
from edgefsa.media.tensors import InputForm
from edgefsa.metadata import FRAMES, LOGITS, MASKS

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# What may stand between an ArgMax and a graph's output without changing the indices.
_KEEPS_INDICES = ("Cast", "Squeeze", "Identity", "Reshape")
_LARGEST_DIFFERENCE = 1e-3


def read_foreign(path: Path, form: InputForm, batch: int, size_hw: tuple[int, int]) -> onnx.ModelProto:
    """Read an ONNX file of another tool and fix its input's sizes; GraphError, one line, where it cannot be used."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise GraphError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    except Exception as error:  # protobuf's DecodeError and onnx's ValidationError share no base
        raise GraphError(
            f"{path} is no valid ONNX file ({str(error).strip().splitlines()[0][:200]}); export it again"
        ) from None
    check_operators(model, path)
    _name_all(model)
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    if len(inputs) != 1:
        raise GraphError(
            f"{path} has {len(inputs)} inputs ({', '.join(item.name for item in inputs)}), and 1 can be used"
        )
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(inputs[0].type.tensor_type.elem_type))
    wanted = form.shape(batch, size_hw)
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
    if (
        kind != form.dtype
        or len(dims) != 4
        or any(dim not in (0, size) for dim, size in zip(dims, wanted, strict=True))
    ):
        raise GraphError(
            f"{path} takes {inputs[0].name} {kind} {dims}, not {form.dtype} {list(wanted)}; give --layout, --dtype, "
            "--size and --batch as the file has them"
        )
    del model.graph.input[:]
    element = inputs[0].type.tensor_type.elem_type
    model.graph.input.append(helper.make_tensor_value_info(inputs[0].name, element, wanted))
    return _of_our_opset(model, path)


def _of_our_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    version = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if version < OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # RuntimeError of C++, with whatever text
            reason = str(error).strip().splitlines()[0][:200]
            raise GraphError(
                f"{path} has opset {version}, which onnx cannot convert to {OPSET} ({reason}); export it with "
                f"opset {OPSET}"
            ) from None
    model.ir_version = max(model.ir_version, IR_VERSION)
    # Shapes that were symbolic are found anew from the input's.
    del model.graph.value_info[:]
    for item in model.graph.output:
        item.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def adapt_graph(
    foreign: onnx.ModelProto, form: InputForm, metadata: Mapping[str, Any], output: str | None = None
) -> onnx.ModelProto:
    """Return a graph of `read_foreign` with our two ends; `output` names the one to use of several.

    The output is logits, float [N, K, h, w], or class indices that an ArgMax over such logits made. Raises GraphError
    where it is neither, or K is not the number of classes.
    """
    model = onnx.ModelProto()
    model.CopyFrom(foreign)
    fold_constants(model)
    _name_logits(model, int(metadata["num_classes"]), output)
    _take_image(model, form)
    fold_batch_norms(model)
    add_frames_input(model, *_mean_and_std(form))
    if metadata["outputs"] == MASKS:
        add_masks_output(model)
        _add_body(model)
    _drop_unread(model)
    GraphEditor(model).drop_unused_tensors()
    write_metadata(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def _name_all(model: onnx.ModelProto) -> None:
    """Name every node apart, and take our own names from tensors and nodes that have them."""
    taken: set[str] = set()
    ours = (FRAMES, MASKS, LOGITS)
    renamed = {name: f"network/{name}" for name in ours}
    for index, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{index}"
        node.name = unique_name(f"network/{name}" if name.split("/")[0] in ours else name, taken)
        taken.add(node.name)
        node.input[:] = [renamed.get(item, item) for item in node.input]
        node.output[:] = [renamed.get(item, item) for item in node.output]
    graph = model.graph
    for item in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.name = renamed.get(item.name, item.name)


def _name_logits(model: onnx.ModelProto, classes: int, output: str | None) -> None:
    """Make LOGITS, float32, the graph's only output."""
    outputs = {item.name.removeprefix("network/"): item for item in model.graph.output}
    if output is None and len(outputs) > 1:
        raise GraphError(f"the file has the outputs {', '.join(outputs)}; say which with --output-name")
    if output is not None and output not in outputs:
        raise GraphError(f"the file has no output {output}; use one of {', '.join(outputs)}")
    editor = GraphEditor(model)
    name = _logits_of(editor, (outputs[output] if output else next(iter(outputs.values()))).name)
    found = {item.name: item.type.tensor_type for item in [*model.graph.value_info, *model.graph.output]}
    kind, dims = (found[name].elem_type, [dim.dim_value for dim in found[name].shape.dim]) if name in found else (0, [])
    if kind not in _FLOATS or len(dims) != 4 or dims[1] != classes:
        raise GraphError(
            f"the file's output {name.removeprefix('network/')} is {TensorProto.DataType.Name(kind).lower()} {dims}, "
            f"no logits of {classes} classes, float [N, {classes}, h, w], and no ArgMax over such; give its classes "
            "with --classes, or another --output-name"
        )
    model.graph.node.append(helper.make_node("Cast", [name], [LOGITS], "logits/Cast", to=TensorProto.FLOAT))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, dims))


def _logits_of(editor: GraphEditor, name: str) -> str:
    """Return what an ArgMax over the classes reads where `name` are its indices, else `name` itself."""
    node = editor.producer(name)
    while node is not None and node.op_type in _KEEPS_INDICES:
        node = editor.producer(node.input[0])
    over_classes = node is not None and node.op_type == "ArgMax" and int_attribute(node, "axis", 0) in (1, -3)
    return str(node.input[0]) if node is not None and over_classes else name


def _take_image(model: onnx.ModelProto, form: InputForm) -> None:
    """Put what turns `image`, float [N, 3, H, W] in RGB, into the network's own input before it."""
    (given,) = model.graph.input
    batch, *rest = (dim.dim_value for dim in given.type.tensor_type.shape.dim)
    height, width = rest[1:] if form.layout == "nchw" else rest[:2]
    editor, current, nodes = GraphEditor(model), "image", list[onnx.NodeProto]()

    def then(operator: str, *inputs: str, **attributes: Any) -> None:
        nonlocal current
        nodes.append(
            helper.make_node(operator, [current, *inputs], [f"image/{operator}"], f"image/{operator}", **attributes)
        )
        current = f"image/{operator}"

    if form.colours == "bgr":
        then("Gather", editor.store("bgr_from_rgb", np.array([2, 1, 0], np.int64)), axis=1)
    if form.layout == "nhwc":
        then("Transpose", perm=[0, 2, 3, 1])
    if form.dtype != "float32":
        then("Cast", to=given.type.tensor_type.elem_type)
    editor.replace_input(given.name, current)
    editor.set_nodes([*nodes, *editor.nodes])
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, width]))


def _mean_and_std(form: InputForm) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation in RGB order and pixel values, 0 to 255."""
    mean, std = ([form.divisor * value for value in values] for values in (form.mean, form.std))
    return (mean, std) if form.colours == "rgb" else (mean[::-1], std[::-1])


def _add_body(model: onnx.ModelProto) -> None:
    """Add the function of the mask operator, in the opset that the file has."""
    (node,) = [node for node in model.graph.node if node.domain == DOMAIN]
    body = function_for(node)
    version = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    body.opset_import[0].version = version
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))


def _drop_unread(model: onnx.ModelProto) -> None:
    """Remove nodes that lead to no output any more, and what is said of their tensors."""
    wanted, kept = {item.name for item in model.graph.output}, list[onnx.NodeProto]()
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    GraphEditor(model).set_nodes(reversed(kept))


def check_adapted(
    foreign: onnx.ModelProto, adapted: onnx.ModelProto, form: InputForm, frames: npt.NDArray[np.uint8]
) -> float:
    """Run both on frames uint8 [N, H, W, 3] BGR, the foreign one on what `form` makes of them; return their distance.

    It is that of the logits, relative (L2). Raises GraphError where the adapted graph does not repeat the other.
    """
    from edgefsa.graph.running import tensors_runner

    tensor = np.empty(form.shape(len(frames), (frames.shape[1], frames.shape[2])), form.dtype)
    form.write(frames, tensor)
    (cast,) = [node for node in adapted.graph.node if LOGITS in node.output]
    network = onnx.ModelProto()
    network.CopyFrom(foreign)
    (given,) = network.graph.input
    for node in network.graph.node:
        node.input[:] = [FRAMES if name == given.name else name for name in node.input]
    given.name = FRAMES
    (there,) = tensors_runner(network, [cast.input[0]])(tensor)
    (here,) = tensors_runner(adapted, [LOGITS])(frames)
    apart = float(np.linalg.norm(here - np.float64(there)) / max(np.linalg.norm(np.float64(there)), 1e-30))
    if not apart <= _LARGEST_DIFFERENCE:
        raise GraphError(
            f"the adapted graph differs from the file by {apart:.2g} (relative L2); please report the file"
        )
    return apart
