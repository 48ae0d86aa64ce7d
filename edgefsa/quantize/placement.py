"""Where the Q/DQ pairs of a graph go, and why other nodes stay in float.

What TensorRT fuses best, and what the other targets take as well: the inputs of convolutions and matrix
products with stored weights, the skip input of a residual addition, and one scale over a concatenation. Nothing
is quantised for its own sake: before a Resize, inside or around a frequency operator, a norm or a softmax stands
no pair unless a quantised node reads the tensor. For plugins that take INT8 maps, frequency operators have pairs on
both sides where nothing else needs these maps in float.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import onnx

from edgefsa.errors import InputError
from edgefsa.graph.editing import GraphEditor, float_attribute, int_attribute, text_attribute
from edgefsa.graph.files import LOGITS
from edgefsa.graph.operators import operator

MULTIPLYING = ("Conv", "MatMul", "Gemm")
_NORMS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "BatchNormalization", "LpNormalization")
_SENSITIVE = {**dict.fromkeys(_NORMS, "norm"), "Softmax": "softmax", "LogSoftmax": "softmax"}
_NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax")
_MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
_SIGN_KEEPING = ("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose", "Slice", "Resize")


@dataclass
class Placement:
    """`reads` are (node name, input index) pairs that read a quantised tensor; `weights` node names.

    `shared` are groups of tensors with one scale; `float_nodes` maps the other nodes of weight to the reason.
    """

    reads: set[tuple[str, int]] = field(default_factory=set)
    weights: list[str] = field(default_factory=list)
    shared: list[set[str]] = field(default_factory=list)
    tensors: list[str] = field(default_factory=list)
    float_nodes: dict[str, str] = field(default_factory=dict)


def place(
    model: onnx.ModelProto,
    skip: Collection[str] = (),
    *,
    integer_outputs: bool = False,
    integer_sums: bool = False,
    int8_operators: bool = False,
) -> Placement:
    """Plan the Q/DQ pairs of a float graph; nodes whose name fits a pattern of `skip` (`layer4*`) stay in float.

    `integer_outputs` is for runtimes whose integer convolutions give nothing but integers and take no addition in:
    the results of convolutions and of residual additions are then quantised for all that read them, and the
    classifier stays in float. `integer_sums` is for runtimes whose convolutions take an addition in only where both
    its sides are integers, and that leave a pooling before a pair in float: both sides of a residual addition are
    quantised, and what a max pooling reads if its result is. `int8_operators` is for plugins that read and write INT8
    maps: the input and the output of such an operator are quantised where nothing but a product reads them in float
    otherwise. Raises InputError where a pattern fits no node.
    """
    editor = GraphEditor(model)
    names = [node.name for node in editor.nodes]
    for pattern in skip:
        if not fnmatch.filter(names, pattern):
            raise InputError(f"skip {pattern!r} fits no node; node names look like {_example(editor)}")
    plan = Placement()
    for node in editor.nodes:
        reason = _reason_for_float(editor, node, skip)
        if reason == "" and integer_outputs and node.op_type == "Conv" and LOGITS in node.output:
            reason = "no integer convolution here gives the float result that the logits are"
        if reason == "":
            plan.reads.add((node.name, 0))
            plan.weights.append(node.name)
        elif reason is not None:
            plan.float_nodes[node.name] = reason
    sums = _add_skips(editor, plan, skip)
    _add_movers(editor, plan, skip, ("Concat", "MaxPool") if integer_sums else ("Concat",))
    if integer_sums:
        plan.reads.update((node.name, index) for node in sums for index in (0, 1))
    if integer_outputs:
        _add_results(editor, plan, sums)
    if int8_operators:
        _add_operators(editor, plan, skip)
    plan.tensors = _tensors_in_order(editor, plan)
    return plan


def _example(editor: GraphEditor) -> str:
    return next((repr(node.name) for node in editor.nodes if node.op_type == "Conv"), "'layer1.0.conv1/Conv'")


def _skipped(node: onnx.NodeProto, skip: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(node.name, pattern) for pattern in skip)


def _reason_for_float(editor: GraphEditor, node: onnx.NodeProto, skip: Collection[str]) -> str | None:
    """Return "" for a node to quantise, the reason for one that stays in float, None for one that has no weight."""
    if (reason := reason_for_precision(node)) is not None:
        return reason
    if node.op_type not in (*MULTIPLYING, "ConvTranspose"):
        return None
    if _skipped(node, skip):
        return "skipped on request"
    if node.op_type == "ConvTranspose":
        return "transposed convolution"
    return _fault_of_factors(editor, node)


def _fault_of_factors(editor: GraphEditor, node: onnx.NodeProto) -> str:
    """Return why no runtime takes these factors as integers, or "" where all do.

    A matrix product needs what `nn.Linear` has: activations on the left, on the right a stored matrix, which then
    has one scale per column of the result, and as the bias of a Gemm a stored vector.
    """
    if editor.is_stored(node.input[0]):
        return "its left factor is stored"
    if not editor.is_stored(node.input[1]):
        return "product of two activations"
    if node.op_type == "Conv":
        return ""
    if editor.array(node.input[1]).ndim != 2:
        return "its weight is no matrix"
    if node.op_type == "Gemm" and not _is_linear(editor, node):
        return "a product with factors, a transposed input or a bias that is no stored vector"
    # Most weights of a softmax over many tokens are below one step of its largest.
    return "reads a softmax" if _moved_from(editor, node.input[0]) in ("Softmax", "LogSoftmax") else ""


def _moved_from(editor: GraphEditor, tensor: str) -> str:
    """Return the operator that made a tensor, seen through those that only move elements."""
    maker = editor.producer(tensor)
    while maker is not None and maker.op_type in _MOVING:
        maker = editor.producer(maker.input[0])
    return maker.op_type if maker is not None else ""


def _is_linear(editor: GraphEditor, gemm: onnx.NodeProto) -> bool:
    """Check that a Gemm is x W + b or x W^T + b."""
    bias = gemm.input[2] if len(gemm.input) > 2 else ""
    scaled = float_attribute(gemm, "alpha", 1.0) != 1 or float_attribute(gemm, "beta", 1.0) != 1
    plain = not scaled and not int_attribute(gemm, "transA", 0)
    return plain and (not bias or (editor.is_stored(bias) and editor.array(bias).ndim == 1))


def reason_for_precision(node: onnx.NodeProto) -> str | None:
    """Say why a node needs float32 whatever its surroundings run in; None where it does not."""
    ours = operator(node.domain, node.op_type)
    return _SENSITIVE.get(node.op_type) if ours is None else ours.why_float


def _add_skips(editor: GraphEditor, plan: Placement, skip: Collection[str]) -> list[onnx.NodeProto]:
    """Quantise the skip of each residual addition whose sum a quantised node reads; return these additions.

    Elsewhere, as in the residual stream between norms, the sum is needed in float and a pair would only cost
    accuracy. So it is behind a matrix product: its kernels give floats, to which any runtime adds the skip as it is.
    """
    depth, sums = _depths(editor), []
    convs = {node.name for node in editor.nodes if node.op_type == "Conv"}.intersection(plan.weights)
    for node in editor.nodes:
        if node.op_type != "Add" or len(node.input) != 2 or _skipped(node, skip):
            continue
        if any(editor.is_stored(name) for name in node.input) or not _is_read_quantised(editor, plan, node.output[0]):
            continue
        fused = [
            index
            for index, name in enumerate(node.input)
            if (source := editor.producer(name)) is not None
            and source.name in convs
            and len(editor.consumers(name)) == 1
        ]
        if fused:
            # With a convolution on both sides, the deeper one takes the addition in.
            main = max(fused, key=lambda index: depth.get(node.input[index], 0))
            plan.reads.add((node.name, 1 - main))
            sums.append(node)
    return sums


def _add_results(editor: GraphEditor, plan: Placement, sums: list[onnx.NodeProto]) -> None:
    """Let all readers of a quantised convolution or a residual addition, or of the ReLU behind it, read integers.

    A matrix product may give floats, but not both: where one reader takes integers, all do.
    """
    convs = [node for node in editor.nodes if node.op_type == "Conv" and node.name in plan.weights]
    for node in [*convs, *sums]:
        tensor = result_of(editor, node)
        if editor.is_output(tensor):
            continue
        for reader in editor.consumers(tensor):
            plan.reads.update((reader.name, index) for index, name in enumerate(reader.input) if name == tensor)
    for node in editor.nodes:
        if node.op_type in ("MatMul", "Gemm") and node.name in plan.weights:
            readers = _reads(editor, with_bias(editor, node).output[0])
            if not plan.reads.isdisjoint(readers) and ("", 0) not in readers:
                plan.reads.update(readers)


def with_bias(editor: GraphEditor, product: onnx.NodeProto) -> onnx.NodeProto:
    """Return the addition of a stored vector that is all that reads a MatMul, else the node itself."""
    readers = editor.consumers(product.output[0])
    if product.op_type != "MatMul" or len(readers) != 1 or editor.is_output(product.output[0]):
        return product
    vectors = [name for name in readers[0].input if editor.is_stored(name) and editor.array(name).ndim == 1]
    return readers[0] if readers[0].op_type == "Add" and vectors else product


def result_of(editor: GraphEditor, node: onnx.NodeProto) -> str:
    """Return the tensor in which a node's result is rounded: behind its ReLU where nothing else reads it."""
    readers = editor.consumers(node.output[0])
    return str((readers[0] if [item.op_type for item in readers] == ["Relu"] else node).output[0])


def _add_operators(editor: GraphEditor, plan: Placement, skip: Collection[str]) -> None:
    """Quantise the input and the output of each operator on maps whose readers all read it quantised.

    Its plugin then passes one byte an element on, with no pass that rounds: what makes the input writes INT8, what
    reads the output reads it. A reader in float would have the map written twice. Only a product on its way to a
    quantised node, as of a mixer, is no obstacle: it reads the rounded map as well.
    """
    for node in reversed(editor.nodes):
        ours = operator(node.domain, node.op_type)
        if ours is None or not ours.keeps_type or _skipped(node, skip):
            continue
        others = [read for read in _reads(editor, node.input[0]) if read[0] != node.name]
        after = _reads(editor, node.output[0])
        products = {
            item.name
            for item in editor.consumers(node.input[0])
            if item.op_type == "Mul" and _is_read_quantised(editor, plan, item.output[0])
        }
        in_float = [read for read in others if read not in plan.reads and read[0] not in products]
        if after and plan.reads.issuperset(after) and not in_float:
            plan.reads.update([(node.name, 0), *others])


def _reads(editor: GraphEditor, tensor: str) -> list[tuple[str, int]]:
    """Return (node name, input index) of all that read a tensor; who reads an output of the graph has no name."""
    found = [
        (node.name, index)
        for node in editor.consumers(tensor)
        for index, name in enumerate(node.input)
        if name == tensor
    ]
    return [*found, ("", 0)] if editor.is_output(tensor) else found


def _is_read_quantised(editor: GraphEditor, plan: Placement, tensor: str) -> bool:
    for node in editor.consumers(tensor):
        if node.op_type in ("Relu", "MaxPool") and _is_read_quantised(editor, plan, node.output[0]):
            return True
        if any((node.name, index) in plan.reads for index, name in enumerate(node.input) if name == tensor):
            return True
    return False


def _add_movers(editor: GraphEditor, plan: Placement, skip: Collection[str], kinds: Collection[str]) -> None:
    """Let nodes of `kinds` that only quantised nodes read pass INT8 through: one scale for their inputs and output."""
    for node in editor.nodes:
        if node.op_type not in kinds or _skipped(node, skip) or any(editor.is_stored(name) for name in node.input):
            continue
        readers = _reads(editor, node.output[0])
        if readers and plan.reads.issuperset(readers):
            plan.reads.update((node.name, index) for index in range(len(node.input)))
            _join(plan.shared, {*node.input, node.output[0]})


def never_negative(editor: GraphEditor) -> set[str]:
    """Return the tensors that hold no negative value whatever the input."""
    found: set[str] = set()
    for node in editor.nodes:
        # A concatenation takes elements from all its inputs, the others from the first; the rest are shapes.
        data = node.input if node.op_type == "Concat" else node.input[:1]
        # Of the ways to resize only the cubic one has negative weights.
        moves = node.op_type in _SIGN_KEEPING and text_attribute(node, "mode", "") != "cubic"
        keeps = moves and len(data) > 0 and all(_is_plain(editor, name, found) for name in data)
        if node.op_type in _NEVER_NEGATIVE or keeps:
            found.update(node.output)
    return found


def _is_plain(editor: GraphEditor, name: str, found: set[str]) -> bool:
    return float(editor.array(name).min(initial=0)) >= 0 if editor.is_stored(name) else name in found


def _join(groups: list[set[str]], tensors: set[str]) -> None:
    touching = [group for group in groups if group & tensors]
    for group in touching:
        groups.remove(group)
    groups.append(tensors.union(*touching))


def _depths(editor: GraphEditor) -> dict[str, int]:
    """Return for each tensor the number of nodes on the longest way to it."""
    depth: dict[str, int] = {}
    for node in editor.nodes:
        level = 1 + max((depth.get(name, 0) for name in node.input), default=0)
        depth.update(dict.fromkeys(node.output, level))
    return depth


def _tensors_in_order(editor: GraphEditor, plan: Placement) -> list[str]:
    read = {
        node.input[index]
        for node in editor.nodes
        for index in range(len(node.input))
        if (node.name, index) in plan.reads
    }
    inputs: Iterable[str] = (item.name for item in editor.graph.input)
    made = [*inputs, *(name for node in editor.nodes for name in node.output)]
    return [name for name in made if name in read]
