"""TensorRT-RTX: real plans on a machine without a GPU, and the session's flow on a GPU that is played by NumPy."""

from __future__ import annotations

import ast
import ctypes
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, device, inspect_engine, open_engine, tensorrt_rtx, tensorrt_rtx_session
from edgefsa.engines.tensorrt_rtx import TensorRtRtxTarget, known_capabilities
from edgefsa.errors import BuildError, EngineError, InputError, TargetError

from . import tiny
from .conftest import Build

# What the variables of our code hold, in the words of the API's list of names.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "error": "ParserError",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}


def attribute_chains(module: ModuleType) -> set[tuple[str, ...]]:
    """Every dotted name in a module's code, as a tuple of its parts."""
    chains = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and parts:
            chains.add((node.id, *parts))
    return chains


def test_only_names_of_this_version_are_used(shared_dir: Path) -> None:
    listed = json.loads((shared_dir / "tensorrt-api" / "tensorrt_rtx-1.7.1.116.json").read_text())
    checked = 0
    for module in (tensorrt_rtx, tensorrt_rtx_session):
        for root, first, *rest in attribute_chains(module):
            if root == "tensorrt_rtx" and not first.startswith("__"):
                assert first in listed, first
                assert not rest or rest[0] in listed[first], f"{first}.{rest[0]}"
                checked += 1
            elif root in CLASSES and module is tensorrt_rtx:
                assert first in listed[CLASSES[root]], f"{CLASSES[root]}.{first}"
                checked += 1
    assert checked > 20


def needs_package() -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", {"stem": "f32", "body": "f32", "classifier": "f32"}),
        ("fp16", {"stem": "f16", "body": "f16", "classifier": "f32"}),
        ("int8", {"stem": "int8", "body": "int8", "classifier": "f32"}),
    ],
)
def test_a_plan_is_built_ahead_of_time(build: Build, precision: str, expected: dict[str, str]) -> None:
    needs_package()
    report = build(precision, "tensorrt-rtx", compute_capabilities=("8.6", "12.0"))
    rows = {node: row["precision"] for row in inspect_engine(report.engine)["layers"] for node in row["nodes"]}
    assert {name: rows[name] for name in tiny.CONVOLUTIONS} == expected
    manifest = Manifest.read(report.engine)
    assert manifest.device == {"compute_capabilities": ["8.6", "12.0"]}
    assert manifest.files["engine.plan"] and (report.engine / "engine.plan").stat().st_size > 10_000


def test_a_plan_is_pure(build: Build) -> None:
    """Nothing is put in front of it: it begins with the mark that TensorRT-RTX writes."""
    needs_package()
    assert (build("fp32", "tensorrt-rtx").engine / "engine.plan").read_bytes()[:4] == b"vtrt"


@pytest.mark.parametrize("capability", ["9.0", "8", "sm89", ""])
def test_a_compute_capability_that_is_not_supported(build: Build, capability: str) -> None:
    needs_package()
    with pytest.raises(InputError, match=r"8\.6, 8\.9"):
        build("fp32", "tensorrt-rtx", compute_capabilities=(capability,))


def test_what_the_parser_refuses_is_told_with_its_node(tmp_path: Path) -> None:
    needs_package()
    model = tiny.tiny_graph()
    model.graph.node[1].input[0] = "frames"  # TensorRT lets uint8 meet a Cast and nothing else
    del model.graph.node[0]
    model.graph.node[0].output[0] = "planes_u8"
    model.graph.node.insert(1, onnx.helper.make_node("Cast", ["planes_u8"], ["planes"], "late_cast", to=1))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(BuildError, match=r"node planes \(Transpose\).*UInt8") as caught:
        build_engine(path, tmp_path / "engines", target="tensorrt-rtx")
    assert "\n" not in str(caught.value) and list((tmp_path / "engines").iterdir()) == []


@pytest.mark.skipif(bool(device.gpus()), reason="here is a GPU")
def test_running_needs_a_gpu_and_says_so_in_one_line(build: Build) -> None:
    needs_package()
    engine = build("int8", "tensorrt-rtx").engine
    with pytest.raises(TargetError, match="no NVIDIA GPU") as caught:
        open_engine(engine)
    assert "\n" not in str(caught.value)
    assert Manifest.read(engine).golden == {}, "nothing ran, so there is no golden output"


def test_a_gpu_of_another_family(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_package()
    monkeypatch.setattr(tensorrt_rtx, "gpus", lambda: (device.Gpu("NVIDIA H200", "9.0", 140_000),))
    reason = TensorRtRtxTarget().unusable()
    assert reason is not None and "NVIDIA H200 (9.0)" in reason and "8.9" in reason


def test_capabilities_are_written_as_nvidia_does() -> None:
    needs_package()
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(known_capabilities())


# A GPU of NumPy arrays -----------------------------------------------------------------------------------------


class FakeCuda(ModuleType):
    """cuda.bindings.runtime over host memory; it counts what is not given back."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, Any] = {}
        self.streams = 0
        self.fails = False

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        self.streams += 1
        return 0, 77

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.streams -= 1
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.memory[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        assert stream == 77 and (to if kind == 1 else source) in self.memory
        ctypes.memmove(to, source, size)
        return (2,) if self.fails else (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (0,)


class FakeEngine:
    """A plan that gives the blue channel of the frames, 1 where it is above 127."""

    num_io_tensors = 2
    shapes = {"frames": (1, *tiny.SIZE_HW, 3), "masks": (1, *tiny.SIZE_HW)}  # noqa: RUF012

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}

    def create_execution_context(self) -> FakeEngine:
        return self

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name="UINT8")

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == "frames" else 2

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        views = {
            name: np.ctypeslib.as_array((ctypes.c_uint8 * sizes[name]).from_address(self.addresses[name]))
            for name in sizes
        }
        views["masks"][:] = views["frames"][::3] > 127
        return True


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    cuda = FakeCuda()
    package = ModuleType("tensorrt_rtx")
    engine = SimpleNamespace(deserialize_cuda_engine=lambda plan: FakeEngine() if plan == b"plan" else None)
    package.Runtime = lambda logger: engine  # type: ignore[attr-defined]
    package.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})  # type: ignore[attr-defined]
    package.TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", package)
    monkeypatch.setattr(tensorrt_rtx_session, "_cuda", lambda: cuda)
    return cuda


@pytest.fixture
def session(tmp_path: Path) -> tensorrt_rtx_session.TensorRtRtxSession:
    (tmp_path / "engine.plan").write_bytes(b"plan")
    manifest = Manifest(tiny.METADATA, "tensorrt-rtx", "int8", {}, {})
    return tensorrt_rtx_session.TensorRtRtxSession(tmp_path, manifest)


def test_a_session_copies_runs_and_gives_everything_back(
    gpu: FakeCuda, session: tensorrt_rtx_session.TensorRtRtxSession
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, session.input_shape, dtype=np.uint8)
    with session:
        assert len(gpu.memory) == 2 and gpu.streams == 1
        masks = session.run(frames)
        assert (masks == (frames[..., 0] > 127)).all() and masks.dtype == np.uint8
        assert (session.run(255 - frames) == (frames[..., 0] < 128)).all()
        assert (masks == (frames[..., 0] > 127)).all(), "a result belongs to the caller"
    assert not gpu.memory and gpu.streams == 0


def test_a_failing_copy_is_told(gpu: FakeCuda, session: tensorrt_rtx_session.TensorRtRtxSession) -> None:
    gpu.fails = True
    with session, pytest.raises(EngineError, match="CUDA failed with 2"):
        session.run(np.zeros(session.input_shape, np.uint8))
    assert not gpu.memory and gpu.streams == 0


def test_a_plan_that_does_not_load(gpu: FakeCuda, session: tensorrt_rtx_session.TensorRtRtxSession) -> None:
    (session.directory / "engine.plan").write_bytes(b"other")
    with pytest.raises(EngineError, match=r"engine\.plan on this GPU"), session:
        pass
    assert not gpu.memory and gpu.streams == 0
