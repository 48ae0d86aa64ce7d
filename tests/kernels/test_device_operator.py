"""What runs the tests of kernels on a GPU, on emulated kernels and a runtime whose device memory is the host's."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernels import test_spectral_mask as mask
from tests.kernels import test_upsample_argmax as upsampling
from tests.kernels.device_operator import DeviceOperator, set_field
from tests.kernels.tensors import HALF, relative_l2

ALIGNMENT = 64


class HostRuntime:
    """The functions of cuda.bindings.runtime that are called; every allocation must be freed once."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDeviceToHost=2, cudaMemcpyHostToDevice=1)  # noqa: N815

    def __init__(self) -> None:
        self.held: dict[int, ctypes.Array] = {}

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        memory = ctypes.create_string_buffer(b"\xff" * (size + ALIGNMENT))
        address = -(-ctypes.addressof(memory) // ALIGNMENT) * ALIGNMENT
        self.held[address] = memory
        return 0, address

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.held[address]
        return (0,)

    def cudaMemcpy(self, target: int, source: int, size: int, kind: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(target, source, size)
        return (0,)

    def cudaDeviceSynchronize(self) -> tuple[int]:  # noqa: N802
        return (0,)


def test_it_computes_what_the_emulated_operator_does_and_frees_its_memory(launchers: Path) -> None:
    runtime = HostRuntime()
    tensors = mask.tensors_of(mask.Case((2, 9, 6, 8), radius=1))
    operator = DeviceOperator(mask.OPERATOR, launchers, runtime)
    y = mask.run(operator, tensors, HALF)  # type: ignore[arg-type]
    assert relative_l2(y, mask.formula(tensors)) < 2e-3
    logits = upsampling.logits_of((1, 5, 3, 4), np.float32)
    indices = upsampling.run(DeviceOperator(upsampling.OPERATOR, launchers, runtime), logits, (12, 16))  # type: ignore[arg-type]
    upsampling.assert_largest(indices, upsampling.upsampled(logits, (12, 16)))
    assert not runtime.held


def test_what_only_an_emulation_counts_skips_a_test(launchers: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="`launches` is of the emulation alone"):
        _ = DeviceOperator(mask.OPERATOR, launchers, HostRuntime()).launches


def test_fields_of_structures_and_arrays_are_set() -> None:
    class Inner(ctypes.Structure):
        _fields_ = (("scale", ctypes.c_float), ("count", ctypes.c_int))

    class Outer(ctypes.Structure):
        _fields_ = (("op", Inner), ("mean", ctypes.c_float * 3), ("x", ctypes.c_void_p))

    params = Outer()
    for path, value in (("op.scale", 0.5), ("op.count", np.int64(7)), ("mean[2]", 1.5), ("x", 4096)):
        set_field(params, path, value)
    assert (params.op.scale, params.op.count, list(params.mean), params.x) == (0.5, 7, [0, 0, 1.5], 4096)
