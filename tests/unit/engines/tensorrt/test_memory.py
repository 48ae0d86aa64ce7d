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
from tests.unit.engines.tensorrt.gpu_fakes import KINDS, FakeCuda, PlayedGpu, play_gpu


@pytest.fixture(params=list(KINDS))
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    played = play_gpu(monkeypatch, request.param)
    yield played
    assert played.gpu.is_empty(), "not given back"


@pytest.mark.parametrize("integrated", [False, True])
def test_what_is_written_on_one_side_comes_to_the_other(driver: Any, integrated: bool) -> None:
    driver.gpu.integrated = integrated
    memory = open_memory()
    stream, buffer = memory.new_stream(), memory.new_buffer(24)
    assert buffer.mapped == integrated and stream in driver.gpu.streams
    buffer.array[:] = np.arange(24)
    memory.to_gpu(buffer, stream)
    on_gpu = (driver.gpu.pinned if integrated else driver.gpu.memory)[buffer.device]
    assert on_gpu.raw == bytes(range(24))
    on_gpu[3] = 99
    memory.to_host(buffer, stream)
    assert buffer.array[3] == 99
    assert driver.gpu.log == ([] if integrated else ["to gpu", "to host"]), "shared memory is not copied"
    del on_gpu
    memory.close()


def test_events_take_the_time_between_them(driver: Any) -> None:
    memory = open_memory()
    stream, buffer = memory.new_stream(), memory.new_buffer(4)
    start, end = memory.new_event(), memory.new_event()
    memory.record(start, stream)
    memory.to_gpu(buffer, stream)
    memory.to_gpu(buffer, stream)
    memory.record(end, stream)
    memory.wait(end)
    assert memory.elapsed_ms(start, end) == 2.0
    del start, end
    memory.close()


def test_a_graph_runs_when_it_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = play_gpu(monkeypatch, "cuda.bindings").gpu
    memory = open_memory()
    stream, buffer = memory.new_stream(), memory.new_buffer(4)
    graph = memory.capture(stream, lambda: memory.to_gpu(buffer, stream))
    assert gpu.log == [] and graph is not None
    memory.launch(graph, stream)
    memory.launch(graph, stream)
    assert gpu.log == ["graph", "to gpu"] * 2
    gpu.refuses_graphs = True
    assert memory.capture(stream, lambda: memory.to_gpu(buffer, stream)) is None
    assert gpu.log[-1] == "last error taken", "so that the next call is not blamed"
    memory.close()
    assert gpu.is_empty()


def test_pycuda_has_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    play_gpu(monkeypatch, "pycuda")
    memory = open_memory()
    assert memory.capture(memory.new_stream(), lambda: None) is None
    with pytest.raises(EngineError, match="no graph: pycuda has none"):
        memory.launch(None, 0)
    memory.close()


def test_a_failing_call_is_one_line_and_leaves_nothing(driver: Any) -> None:
    memory = open_memory()
    stream, buffer = memory.new_stream(), memory.new_buffer(4)
    driver.gpu.fails = True
    with pytest.raises(EngineError, match=r"CUDA failed with .*nvidia-smi") as caught:
        memory.to_gpu(buffer, stream)
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
    assert memory.new_stream() in driver.gpu.streams
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
    played = FakeCuda(PlayedGpu())
    for name in (name for name in dir(type(played)) if name.startswith("cuda")):
        assert hasattr(runtime, name), name
    for kind in ("cudaMemcpyKind", "cudaDeviceAttr", "cudaStreamCaptureMode"):
        for name in vars(getattr(played, kind)):
            assert hasattr(getattr(runtime, kind), name), name
