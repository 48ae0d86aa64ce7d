"""A float graph in blocks: what lies between two residual joins, around a frequency operator, at either end.

A comparison of two graphs looks at the blocks' ends to name the first that differs, and a search for what INT8 harms
leaves whole blocks in float. Each node belongs to exactly one block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from edgefsa.graph.operators import operator
from edgefsa.metadata import FRAMES, LOGITS, MASKS

FRAMES_BLOCK, MASKS_BLOCK = "frames", "masks"
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu", "Clip", "Gelu", "Sigmoid", "HardSwish", "HardSigmoid", "Tanh")


@dataclass(frozen=True)
class Block:
    """Nodes of the main graph by name, in graph order, the first tensor that each makes, and the block's border.

    `end` is the tensor that the block makes for others, `inputs` are those of other blocks that it reads. `weights` are
    its convolutions and matrix products with stored factors: empty for `frames` (what happens to pixels before the
    first of them), for a frequency operator, which is a block of its own, and for `masks` (behind the logits).
    """

    name: str
    nodes: tuple[str, ...]
    tensors: tuple[str, ...]
    end: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    is_frequency: bool = False

    def tail(self) -> tuple[str, ...]:
        """Return the tensors made by its last weight and by what follows, the end among them; all, without a weight."""
        last = self.nodes.index(self.weights[-1]) if self.weights else 0
        return self.tensors[last:]


class _Edges:
    """Who makes and who reads each tensor of a main graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.stored = {item.name for item in model.graph.initializer}
        self.maker = {name: node for node in model.graph.node for name in node.output if name}
        self.order = {name: index for index, node in enumerate(model.graph.node) for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that other nodes make."""
        return [name for name in node.input if name in self.maker]

    def is_weighted(self, node: onnx.NodeProto) -> bool:
        """Return whether a node multiplies by a stored tensor."""
        return node.op_type in _WEIGHTED and any(name in self.stored for name in node.input[:2])

    def is_frequency(self, node: onnx.NodeProto) -> bool:
        """Return whether a node is an operator of ours on feature maps."""
        ours = operator(node.domain, node.op_type)
        return ours is not None and ours.keeps_type

    def settled(self, tensor: str) -> str:
        """Return the tensor behind the activation function that alone reads `tensor`, else `tensor` itself."""
        readers = self.readers.get(tensor, [])
        alone = len(readers) == 1 and readers[0].op_type in _ACTIVATIONS
        return str(readers[0].output[0]) if alone else tensor


def blocks_of(model: onnx.ModelProto) -> list[Block]:
    """Partition the main graph of a float model; blocks come in the order of their ends.

    A block ends where a residual addition is done, where a tensor has several readers (there a branch or a skip
    begins), before a concatenation, on both sides of a frequency operator, at the logits and at the masks. What has no
    weight of its own, as a resize, belongs to the block that reads it.
    """
    edges = _Edges(model)
    first = _end_of_frames(edges)
    fixed = [name for name in (first, LOGITS, MASKS) if name in edges.maker]
    ends = sorted({*fixed, *_ends(edges)}, key=lambda name: edges.order[name])
    blocks: list[Block] = []
    owner: dict[str, str] = {}
    for end in ends:
        nodes = _unowned_before(edges, end, owner)
        heavy = any(edges.is_weighted(node) or edges.is_frequency(node) for node in nodes)
        if nodes and (heavy or end in fixed):
            special = {first: FRAMES_BLOCK, MASKS: MASKS_BLOCK}.get(end)
            block = _block(edges, nodes, end, special, taken={item.name for item in blocks})
            owner.update(dict.fromkeys(block.nodes, block.name))
            blocks.append(block)
    return blocks


def _ends(edges: _Edges) -> Iterable[str]:
    """Yield the tensors, made by a node, at which a block may end."""
    for node in edges.graph.node:
        made, read = node.output[0], edges.activations(node)
        if edges.is_frequency(node):
            yield from (made, *read[:1])
        elif node.op_type == "Concat" and len(read) > 1:
            yield from read
        elif node.op_type in ("Add", "Sum") and len(read) > 1:
            yield edges.settled(made)
        if len(edges.readers.get(made, ())) > 1:
            yield made


def _end_of_frames(edges: _Edges) -> str:
    """Return the last tensor that pixels are in before a stored weight multiplies them, "" where that is at once."""
    raw = {FRAMES}
    last = ""
    for node in edges.graph.node:
        sources = [name for name in node.input if name and name not in edges.stored]
        if not edges.is_weighted(node) and sources and raw.issuperset(sources):
            raw.update(node.output)
            last = node.output[0]
    return last


def _unowned_before(edges: _Edges, end: str, owner: dict[str, str]) -> list[onnx.NodeProto]:
    """Return the nodes that `end` depends on and no block has yet, in graph order."""
    found: dict[str, onnx.NodeProto] = {}
    wanted = [end]
    while wanted:
        node = edges.maker.get(wanted.pop())
        if node is not None and node.name not in owner and node.name not in found:
            found[node.name] = node
            wanted.extend(node.input)
    return [node for node in edges.graph.node if node.name in found]


def _block(edges: _Edges, nodes: list[onnx.NodeProto], end: str, special: str | None, taken: set[str]) -> Block:
    made = {name for node in nodes for name in node.output}
    inputs = dict.fromkeys(name for node in nodes for name in edges.activations(node) if name not in made)
    weights = tuple(node.name for node in nodes if edges.is_weighted(node))
    frequency = any(edges.is_frequency(node) for node in nodes)
    named = weights or tuple(node.name for node in nodes)
    name = special or _name(named[0], named[-1])
    if name in taken:  # two blocks of one module
        name = f"{name} to {end}"
    names, tensors = zip(*((node.name, node.output[0]) for node in nodes), strict=True)
    return Block(name, names, tensors, end, tuple(inputs), weights, frequency)


def _name(first: str, last: str) -> str:
    """Join the module paths of a block's first and last node: "layer1.0.conv1..conv2"."""
    head, tail = (name.rpartition("/")[0] or name for name in (first, last))
    if head == tail:
        return head
    ours, theirs = head.split("."), tail.split(".")
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    return f"{head}..{'.'.join(theirs[shared:]) or tail}"
