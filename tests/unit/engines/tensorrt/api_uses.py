"""What a source takes from TensorRT's Python API, read from its syntax tree.

A value's class is followed from the module on: through calls of its classes, what their methods return, assignments,
loops and comprehensions. Where a value comes in from outside (a parameter, an attribute of our own objects) its name
says what it holds, in files of which the caller knows that they keep to that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

MODULE = "module"
# What variables, parameters and attributes of our own hold.
NAMED = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "parser": "OnnxParser",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "context": "IExecutionContext",
    "registry": "IPluginRegistry",
    "refitter": "Refitter",
    "profile": "IOptimizationProfile",
}
RETURNED = {
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "create_optimization_profile"): "IOptimizationProfile",
    ("Builder", "get_plugin_registry"): "IPluginRegistry",
    ("IBuilderConfig", "create_timing_cache"): "ITimingCache",
    ("INetworkDefinition", "get_layer"): "ILayer",
    ("INetworkDefinition", "get_input"): "ITensor",
    ("INetworkDefinition", "get_output"): "ITensor",
    ("ILayer", "get_input"): "ITensor",
    ("ILayer", "get_output"): "ITensor",
    ("OnnxParser", "get_error"): "ParserError",
    ("OnnxParserRefitter", "get_error"): "ParserError",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
    (MODULE, "get_plugin_registry"): "IPluginRegistry",
}
# Functions of ours, and what they return or return a list of.
OURS = {"layers_of": "ILayer", "load_engine": "ICudaEngine"}
Words = tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """A name that is taken from a class of the API, or from the module, in a line; `guards` are checked around it."""

    owner: str
    name: str
    line: int
    guards: tuple[frozenset[tuple[str, str]], ...] = field(default=(), compare=False)

    @property
    def guarded(self) -> bool:
        return any((self.owner, self.name) in names for names in self.guards)


@dataclass
class Uses:
    """What a source uses, and the lines where it looks up a name that is made elsewhere."""

    found: list[Use]
    computed: list[tuple[str, int]]


def uses_of(source: str, *, names_hold: bool) -> Uses:
    """Return what a source takes from the API; with `names_hold` variables hold what NAMED says of them."""
    reader = _Reader(names_hold)
    reader.visit(ast.parse(source))
    guards = {key: frozenset(names) for key, names in enumerate(reader.guards)}
    found = [Use(owner, name, line, tuple(guards[key] for key in around)) for owner, name, line, around in reader.found]
    return Uses(found, reader.computed)


class _Reader(ast.NodeVisitor):
    def __init__(self, names_hold: bool) -> None:
        self.names_hold = names_hold
        self.found: list[tuple[str, str, int, tuple[int, ...]]] = []
        self.computed: list[tuple[str, int]] = []
        self.guards: list[set[tuple[str, str]]] = [set()]
        self.around: tuple[int, ...] = (0,)
        self.held: dict[str, str | Words | None] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        held, around = dict(self.held), self.around
        self.guards.append(set())
        self.around = (*around, len(self.guards) - 1)
        for item in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            known = item.annotation is None or (isinstance(item.annotation, ast.Name) and item.annotation.id == "Any")
            self.held[item.arg] = self._by_name(item.arg) if known else None
        self.generic_visit(node)
        self.held, self.around = held, around

    def visit_Import(self, node: ast.Import) -> None:
        for item in node.names:
            if item.name in ("tensorrt", "tensorrt_rtx"):
                self.held[item.asname or item.name] = MODULE

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for part, value in zip(target.elts, node.value.elts, strict=True):
                    self._bind(part, self._of(value))
            else:
                self._bind(target, self._of(node.value))

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._bind(node.target, self._element(node.iter))
        for item in [*node.body, *node.orelse]:
            self.visit(item)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        held = dict(self.held)
        for generator in node.generators:
            self.visit(generator.iter)
            self._bind(generator.target, self._element(generator.iter))
            for condition in generator.ifs:
                self.visit(condition)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self.held = held

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self.held[node.name] = None
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        owner = self._of(node.value)
        if isinstance(owner, str) and not node.attr.startswith("__"):
            self._note(owner, node.attr, node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        asked = node.func.id if isinstance(node.func, ast.Name) else ""
        if asked in ("getattr", "hasattr") and isinstance(owner := self._of(node.args[0]), str):
            words = self._words(node.args[1])
            if asked == "hasattr":
                self.guards[self.around[-1]].update((owner, word) for word in words or ())
            elif words is None:
                self.computed.append((owner, node.lineno))
            else:
                for word in words:
                    self._note(owner, word, node.lineno)
        self.generic_visit(node)

    def _note(self, owner: str, name: str, line: int) -> None:
        self.found.append((owner, name, line, self.around))

    def _bind(self, target: ast.expr, value: str | Words | None) -> None:
        if isinstance(target, ast.Name):
            self.held[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.visit(target)
        else:
            for part in _parts(target):
                self._bind(part, None)

    def _by_name(self, name: str) -> str | None:
        name = name.lstrip("_")
        if name == "tensorrt":
            return MODULE
        return NAMED.get(name) if self.names_hold else None

    def _words(self, node: ast.expr) -> Words | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return (node.value,)
        held = self.held.get(node.id) if isinstance(node, ast.Name) else None
        return held if isinstance(held, tuple) else None

    def _element(self, node: ast.expr) -> str | Words | None:
        """Return what the elements of an iterable are: a class, or the words that stand there."""
        if isinstance(node, (ast.Tuple, ast.List)):
            parts = [part.value for part in node.elts if isinstance(part, ast.Constant)]
            return tuple(map(str, parts)) if len(parts) == len(node.elts) else None
        return self._of(node)

    def _of(self, node: ast.expr) -> str | Words | None:
        """Return the class of what an expression gives, itself or as its elements; None where it is none of the API."""
        if isinstance(node, ast.Name):
            return self.held[node.id] if node.id in self.held else self._by_name(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._of(node.value)
            if owner == MODULE:
                return node.attr
            return None if isinstance(owner, str) else self._by_name(node.attr)
        if isinstance(node, ast.Subscript):
            return self._of(node.value)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            held = dict(self.held)
            for generator in node.generators:
                self._bind(generator.target, self._element(generator.iter))
            found = self._of(node.elt)
            self.held = held
            return found
        return self._returned(node) if isinstance(node, ast.Call) else None

    def _returned(self, node: ast.Call) -> str | None:
        if isinstance(node.func, ast.Name):
            return OURS.get(node.func.id)
        if not isinstance(node.func, ast.Attribute):
            return None
        owner = self._of(node.func.value)
        if not isinstance(owner, str):
            return None
        return RETURNED.get((owner, node.func.attr), node.func.attr if owner == MODULE else None)


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, (ast.Tuple, ast.List)):
        yield from node.elts
    elif isinstance(node, ast.Starred):
        yield node.value
