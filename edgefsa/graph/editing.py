"""Small helpers to change an ONNX graph in place. Needs onnx and no torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[np.generic]


class GraphEditor:
    """A main graph with its tensors and edges at hand; what is added or replaced is seen at once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._stored = {item.name: item for item in model.graph.initializer}

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes in topological order; a list that stays as it is while the graph changes."""
        return list(self.graph.node)

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        """Return the node that makes `tensor`; None for inputs and stored tensors."""
        return next((node for node in self.graph.node if tensor in node.output), None) if tensor else None

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """Return the nodes that read `tensor`, each once."""
        return [node for node in self.graph.node if tensor in node.input]

    def is_output(self, tensor: str) -> bool:
        """Return whether `tensor` is an output of the graph."""
        return any(item.name == tensor for item in self.graph.output)

    def is_stored(self, tensor: str) -> bool:
        """Return whether `tensor` is an initialiser."""
        return tensor in self._stored

    def array(self, tensor: str) -> Array:
        """Return the value of a stored tensor."""
        value: Array = numpy_helper.to_array(self._stored[tensor])
        return value

    def store(self, name: str, array: Array) -> str:
        """Store `array` under `name`, or under a name like it that is free; return the name used."""
        taken = {output for node in self.graph.node for output in node.output} | set(self._stored)
        unique = unique_name(name, taken)
        # Not ascontiguousarray, which makes a scalar a vector of one.
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), unique))
        self._stored[unique] = self.graph.initializer[-1]
        return unique

    def discard(self, tensor: str) -> None:
        """Forget a stored tensor, so that its name is free."""
        self.graph.initializer.remove(self._stored.pop(tensor))
        self._stored = {item.name: item for item in self.graph.initializer}

    def replace_input(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`."""
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def remove(self, node: onnx.NodeProto) -> None:
        """Take a node out; its outputs must have no readers left."""
        self.graph.node.remove(node)

    def set_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Make `nodes`, in topological order, the graph's nodes."""
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def drop_unused_tensors(self) -> None:
        """Remove stored tensors that nothing reads, and shapes of tensors that are gone."""
        read = {name for node in self.graph.node for name in node.input}
        kept = [item for item in self.graph.initializer if item.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        self._stored = {item.name: item for item in self.graph.initializer}
        made = {name for node in self.graph.node for name in node.output}
        shapes = [item for item in self.graph.value_info if item.name in made and not self.is_output(item.name)]
        del self.graph.value_info[:]
        self.graph.value_info.extend(shapes)


def unique_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name_1`, `name_2`, ... where that is taken."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def ints_attribute(node: onnx.NodeProto, name: str) -> list[int]:
    """Return a list attribute; empty where the node lacks it."""
    return next((list(item.ints) for item in node.attribute if item.name == name), [])


def int_attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """Return an integer attribute."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def float_attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """Return a float attribute."""
    return next((float(item.f) for item in node.attribute if item.name == name), default)


def text_attribute(node: onnx.NodeProto, name: str, default: str) -> str:
    """Return a text attribute."""
    return next((item.s.decode() for item in node.attribute if item.name == name), default)
