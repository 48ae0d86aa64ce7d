"""Plugins whose kernel lies in the engine itself: no library at run time. TensorRT 10.9 and later.

`tensorrt.plugin` calls them quick-deployable plugins with an ahead-of-time implementation: functions in Python tell
shapes and types, and while the engine is built they hand over PTX. They serve the operators that one kernel computes.
The network needs NetworkDefinitionCreationFlag.PREFER_AOT_PYTHON_PLUGINS, and the graph
`plugin_graph(model, OPERATORS, int8=False)`. They have the names of the library's plugins, so a process has these or
those.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.engines.tensorrt.plugins.aot_kernels import (
    AotKernel,
    KernelTarget,
    spectral_mask_kernel,
    upsample_argmax_kernel,
)
from edgefsa.engines.tensorrt.plugins.library import NAMESPACE, missing_plugins
from edgefsa.errors import PluginError
from edgefsa.graph import operators

OPERATORS = tuple(name for name, item in operators.OPERATORS.items() if item.one_kernel)
# TensorRT takes a plugin once a process: what the next engine is for is looked up when it asks for a kernel. By the
# module tensorrt.plugin.
_TARGETS: MutableMapping[Any, KernelTarget] = weakref.WeakKeyDictionary()


def register_aot_plugins(tensorrt: Any, capability: str, cuda: tuple[int, int] | None = None) -> None:
    """Register the plugins with the module `tensorrt`; engines built afterwards are for GPUs of `capability` ("8.7").

    `cuda` is the release of the driver that will load them, the compiler's own where it is None. Kernels are compiled
    while an engine is built; a later call changes what the next engines are for. Raises PluginError where this TensorRT
    has no such plugins, or has those of the library.
    """
    if not hasattr(tensorrt, "QuickPluginCreationRequest"):
        raise PluginError(
            f"TensorRT {tensorrt.__version__} takes no kernels into an engine; use 10.9 or newer, or the plugin library"
        )
    plugin = importlib.import_module(f"{tensorrt.__name__}.plugin")
    if plugin not in _TARGETS:
        if list(OPERATORS) != missing_plugins(tensorrt.get_plugin_registry(), OPERATORS):
            raise PluginError("the plugin library is loaded in this process; build with --plugins kernels in a new one")
        _register(plugin, operators.SPECTRAL_MASK, *_spectral_mask(plugin, tensorrt))
        _register(plugin, operators.UPSAMPLE_ARGMAX, *_upsample_argmax(plugin, tensorrt), operators.HALF_INDICES)
    _TARGETS[plugin] = KernelTarget(capability, cuda)


def _register(
    plugin: Any, operator: operators.Operator, describe: Callable[..., Any], implement: Callable[..., Any], *more: str
) -> None:
    """Register an operator's functions, which take its inputs, its attributes and those of the plugin, `more`."""
    # TensorRT reads the annotations as types, and here they would be texts. An int it would make with int() of an array
    # of one element, which NumPy refuses from 2.4 on; it hands an array over as it is.
    tensors, numbers = (
        dict.fromkeys(operator.input_names, plugin.TensorDesc),
        dict.fromkeys((*operator.attribute_names, *more), npt.NDArray[np.int64]),
    )
    describe.__annotations__ = {**tensors, **numbers, "return": plugin.TensorDesc}
    given = {**tensors, **numbers, "outputs": tuple[plugin.TensorDesc], "tactic": int}
    result = tuple[str, str, plugin.KernelLaunchParams, plugin.SymExprs]
    implement.__annotations__ = {**given, "return": result}
    identity = f"{NAMESPACE}::{operator.name}"
    plugin.register(identity)(describe)
    plugin.aot_impl(identity)(implement)


def _spectral_mask(plugin: Any, tensorrt: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def describe(x, gain, basis_h, basis_w, coupling_gain, coupling_base):  # type: ignore[no-untyped-def]
        return x.like()

    def implement(x, gain, basis_h, basis_w, coupling_gain, coupling_base, outputs, tactic):  # type: ignore[no-untyped-def]
        weights = (gain, basis_h, basis_w, coupling_gain, coupling_base)
        for name, weight in zip(operators.SPECTRAL_MASK.input_names[1:], weights, strict=True):
            if weight.dtype != tensorrt.float32:
                raise PluginError(f"the kernel reads {name} as float32, not {weight.dtype}; keep it in float32")
        modes = (int(basis_h.shape[1]), int(basis_w.shape[1]))
        kernel = spectral_mask_kernel(list(x.shape), modes, _dtype(tensorrt, x), _TARGETS[plugin])
        return _launch(plugin, kernel, x)

    return describe, implement


def _upsample_argmax(plugin: Any, tensorrt: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def describe(logits, height, width, half_indices):  # type: ignore[no-untyped-def]
        dtype = tensorrt.float16 if half_indices.item() else tensorrt.int32
        return plugin.from_shape_expr((logits.shape_expr[0], height.item(), width.item()), dtype=dtype)

    def implement(logits, height, width, half_indices, outputs, tactic):  # type: ignore[no-untyped-def]
        kernel = upsample_argmax_kernel(
            list(logits.shape), (height.item(), width.item()), _dtype(tensorrt, logits), _TARGETS[plugin],
            half_indices=bool(half_indices.item()),
        )  # fmt: skip
        return _launch(plugin, kernel, logits)

    return describe, implement


def _dtype(tensorrt: Any, tensor: Any) -> str:
    for name in ("float32", "float16"):
        if tensor.dtype == getattr(tensorrt, name):
            return name
    raise PluginError(f"the kernels take float32 and float16, not {tensor.dtype}; build for another precision")


def _launch(plugin: Any, kernel: AotKernel, first: Any) -> tuple[str, str, Any, Any]:
    """Only the batch may be unknown while the engine is built; it is the kernel's one number."""
    batch = first.shape_expr[0]
    params = plugin.KernelLaunchParams()
    grid = [batch * size if axis == kernel.batch_axis else size for axis, size in enumerate(kernel.grid)]
    params.grid_x, params.grid_y, params.grid_z = grid
    params.block_x, params.block_y = kernel.block
    params.shared_mem = kernel.shared_bytes
    return kernel.name, kernel.ptx, params, plugin.SymIntExprs.from_tuple([plugin.SymInt32(batch)])
