"""TensorRT's own Python module `tensorrt.plugin`, out of its public repository, on stand-ins for the compiled part.

The stand-ins are what its sources name of `tensorrt`: interfaces to inherit from, descriptions that carry values, and
shape expressions that can be worked out for a batch.
"""

from __future__ import annotations

import enum
import importlib
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.unit.engines.tensorrt.plugins.harness.harness import include_dirs

_INTERFACES = (
    "IPluginV3",
    "IPluginV3QuickCore",
    "IPluginV3QuickBuild",
    "IPluginV3QuickAOTBuild",
    "IPluginV3QuickRuntime",
    "IPluginCreatorV3Quick",
    "ITensor",
    "ISymExpr",
)
_ENUMS = {
    "DataType": "FLOAT HALF INT8 INT32 INT64 BF16 FP8 INT4",
    "TensorFormat": "LINEAR CHW2 HWC8 CHW4 CHW16 CHW32",
    "PluginFieldType": "UNKNOWN CHAR FLOAT16 FLOAT32 FLOAT64 INT8 INT16 INT32 INT64",
    "PluginArgType": "INT",
    "PluginArgDataType": "INT8 INT16 INT32",
    "TensorRTPhase": "BUILD RUNTIME",
    "DimensionOperation": "SUM PROD MAX MIN SUB EQUAL LESS FLOOR_DIV CEIL_DIV",
    "QuickPluginCreationRequest": "UNKNOWN PREFER_JIT PREFER_AOT STRICT_JIT STRICT_AOT",
}


def plugin_packages() -> list[Path]:
    """List the folders of `tensorrt.plugin` in the checkouts of its repository that TENSORRT_INCLUDE_DIR names."""
    places = [folder.parent / "python/packaging/bindings_wheel/tensorrt/plugin" for folder in include_dirs()]
    return [place for place in places if (place / "__init__.py").is_file()]


class Dimension:
    """An extent as a function of the batch."""

    def __init__(self, value: Callable[[int], int], constant: bool) -> None:
        self.at, self._constant = value, constant

    def is_constant(self) -> bool:
        return self._constant

    def get_constant_value(self) -> int:
        return self.at(1)


BATCH = Dimension(lambda batch: batch, False)


class Builder:
    """tensorrt.IExprBuilder, as far as products go."""

    def constant(self, value: int) -> Dimension:
        return Dimension(lambda _: value, True)

    def operation(self, kind: Any, first: Dimension, second: Dimension) -> Dimension:
        work = {"PROD": operator.mul, "SUM": operator.add}[kind.name]
        constant = first.is_constant() and second.is_constant()
        return Dimension(lambda batch: work(first.at(batch), second.at(batch)), constant)


class Dims(list[Any]):
    MAX_DIMS = 8

    def __init__(self, items: int | Sequence[int]) -> None:
        super().__init__([0] * items if isinstance(items, int) else items)


class Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    @property
    def all_creators(self) -> list[Any]:
        return [
            SimpleNamespace(name=name, plugin_version=version, plugin_namespace=namespace)
            for name, version, namespace in self.creators
        ]

    def register_creator(self, creator: Any, namespace: str) -> None:
        self.creators[(creator.name, creator.plugin_version, namespace)] = creator

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators[(name, version, namespace)]


def stand_in() -> ModuleType:
    module: Any = ModuleType("tensorrt")
    for name in _INTERFACES:
        setattr(module, name, type(name, (), {}))
    for name, members in _ENUMS.items():
        setattr(module, name, enum.Enum(name, members))
    for kind in module.DataType:
        setattr(module, {"FLOAT": "float32", "HALF": "float16"}.get(kind.name, kind.name.lower()), kind)
    module.IDimensionExpr, module.IExprBuilder, module.Dims, module.DimsExprs = Dimension, Builder, Dims, Dims
    module.PluginTensorDesc = type("PluginTensorDesc", (SimpleNamespace,), {})
    module.DynamicPluginTensorDesc = type("DynamicPluginTensorDesc", (SimpleNamespace,), {})
    module.PluginFieldCollection = list
    module.PluginField = lambda name, data, kind: SimpleNamespace(name=name, data=data, type=kind)
    module.Logger = type("Logger", (), {"WARNING": 0, "log": lambda *_: None})
    registry = Registry()
    module.get_plugin_registry = lambda: registry
    module.__version__ = "10.13.3.9"
    return module


@contextmanager
def loaded(package: Path) -> Iterator[Any]:
    """Yield `tensorrt` with the `tensorrt.plugin` of that folder; afterwards there is neither."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "tensorrt"}
    module = stand_in()
    module.__path__ = [str(package.parent)]
    sys.modules["tensorrt"] = module
    try:
        importlib.import_module("tensorrt.plugin")
        yield module
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt"]:
            del sys.modules[name]
        sys.modules.update(before)


class QuickPlugin:
    """One plugin, called as TensorRT's builder calls it; `shapes` and `types` are the inputs', with a batch of -1."""

    def __init__(
        self, tensorrt: Any, name: str, shapes: Sequence[Sequence[int]], types: Sequence[Any], **numbers: int
    ) -> None:
        self.tensorrt, self.shapes, self.builder = tensorrt, shapes, Builder()
        creator = tensorrt.get_plugin_registry().get_creator(name, "1", "edgefsa")
        # As the ONNX parser hands a number over.
        kind = tensorrt.PluginFieldType.INT32
        fields = [tensorrt.PluginField(key, np.array([value], np.int32), kind) for key, value in numbers.items()]
        request = tensorrt.QuickPluginCreationRequest.STRICT_AOT
        self.plugin = creator.create_plugin(name, "edgefsa", fields, tensorrt.TensorRTPhase.BUILD, request)
        self.types = [*types, *self.plugin.get_output_data_types(list(types), [len(shape) for shape in shapes])]
        given = [[BATCH if size < 0 else self.builder.constant(size) for size in shape] for shape in shapes]
        (self.output,) = self.plugin.get_output_shapes(given, [], self.builder)

    def combination(self) -> list[tuple[str, str]]:
        """Return the one (type, format) of each tensor that TensorRT may choose."""
        found = self.plugin.get_supported_format_combinations(self._described(), len(self.shapes))
        return [(item.type.name, item.format.name) for item in found]

    def kernel(self) -> tuple[str, bytes, SimpleNamespace, list[Any]]:
        """Return the kernel's name and PTX, its launch parameters and its numbers, both as shape expressions."""
        launch, numbers = SimpleNamespace(), _Numbers()
        described, count = self._described(), len(self.shapes)
        self.plugin.configure_plugin(described[:count], described[count:])
        self.plugin.set_tactic(0)
        self.plugin.get_launch_params([], described, count, launch, numbers, self.builder)
        fixed = [item.desc for item in described]
        name, ptx = self.plugin.get_kernel(fixed[:count], fixed[count:])
        return name, ptx, launch, [numbers[index] for index in range(numbers.nbSymExprs)]

    def _described(self) -> list[Any]:
        shapes = [*self.shapes, [-1, *(size.at(1) for size in self.output[1:])]]
        linear = self.tensorrt.TensorFormat.LINEAR
        return [
            self.tensorrt.DynamicPluginTensorDesc(
                desc=self.tensorrt.PluginTensorDesc(dims=Dims(shape), type=kind, format=linear, scale=-1.0)
            )
            for shape, kind in zip(shapes, self.types, strict=True)
        ]


class _Numbers(dict[int, Any]):
    nbSymExprs = 0  # noqa: N815 (TensorRT's name)
