"""GPU memory by either package, on GPUs that host memory plays, and with the real names of cuda.bindings."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgefsa.engines.tensorrt import memory as cuda_memory
from edgefsa.engines.tensorrt.memory import memory_fault, open_memory
from edgefsa.errors import EngineError
from tests.unit.engines.tensorrt.gpu_fakes import KINDS, STREAM, play_gpu


@pytest.fixture(params=list(KINDS))
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    played = play_gpu(monkeypatch, request.param)
    yield played
    assert not played.memory and played.streams == 0, "not given back"


def test_what_is_copied_there_comes_back(driver: Any) -> None:
    memory = open_memory()
    sent = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    address, other = memory.new_buffer(sent.nbytes), memory.new_buffer(7)
    assert (memory.stream, set(driver.memory), driver.streams) == (STREAM, {address, other}, 1)
    received = np.empty_like(sent)
    memory.to_gpu(address, sent)
    memory.to_host(received, address)
    memory.synchronize()
    assert (received == sent).all()
    memory.close()


def test_a_failing_call_is_one_line_and_leaves_nothing(driver: Any) -> None:
    memory = open_memory()
    address = memory.new_buffer(4)
    driver.fails = True
    with pytest.raises(EngineError, match=r"CUDA failed with .*nvidia-smi") as caught:
        memory.to_gpu(address, np.zeros(4, np.uint8))
    assert "\n" not in str(caught.value)
    memory.close()


def test_pycuda_leaves_a_threads_contexts_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = play_gpu(monkeypatch, "pycuda")
    memory = open_memory()
    memory.new_buffer(8)
    assert driver.contexts == []
    driver.primary.push()
    memory.close()
    assert driver.contexts == [driver.primary]


def test_cuda_bindings_is_taken_where_both_are(monkeypatch: pytest.MonkeyPatch) -> None:
    play_gpu(monkeypatch, "pycuda")
    driver = play_gpu(monkeypatch, "cuda.bindings")
    monkeypatch.setattr(cuda_memory, "_importable", lambda name: True)
    memory = open_memory()
    assert driver.streams == 1
    memory.close()


def test_without_either_both_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "_importable", lambda name: False)
    fault = memory_fault()
    assert fault is not None and "edgefsa[tensorrt]" in fault and "edgefsa[pycuda]" in fault
    with pytest.raises(EngineError, match="cuda-bindings nor pycuda"):
        open_memory()


def test_a_package_within_one_that_is_missing_is_not_importable() -> None:
    assert not cuda_memory._importable("no_such_package.bindings")
    assert cuda_memory._importable("numpy.linalg")


def test_the_names_are_those_of_cuda_bindings() -> None:
    """The player above has them too; here the real package is asked."""
    pytest.importorskip("cuda.bindings", reason="needs the package cuda-bindings")
    runtime = importlib.import_module("cuda.bindings.runtime")
    played = KINDS["cuda.bindings"]()
    for name in (name for name in dir(type(played)) if name.startswith("cuda")):
        assert hasattr(runtime, name), name
    for name in vars(played.cudaMemcpyKind):
        assert hasattr(runtime.cudaMemcpyKind, name), name
