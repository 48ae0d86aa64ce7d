"""The flow of a session on a GPU that NumPy plays, for both packages that give GPU memory."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines.tensorrt.session import PlanSession
from edgefsa.errors import EngineError
from tests.unit.engines import tiny
from tests.unit.engines.tensorrt.gpu_fakes import KINDS, STREAM, play_gpu


class FakeEngine:
    """A plan that gives the blue channel of the frames, 1 where it is above 127."""

    num_io_tensors = 2
    shapes = {"frames": (1, *tiny.SIZE_HW, 3), "masks": (1, *tiny.SIZE_HW)}  # noqa: RUF012
    kind = "UINT8"

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.runs = True

    def create_execution_context(self) -> FakeEngine:
        return self

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.kind)

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == "frames" else 2

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        sizes = {name: int(np.prod(shape)) for name, shape in self.shapes.items()}
        views = {
            name: np.ctypeslib.as_array((ctypes.c_uint8 * sizes[name]).from_address(self.addresses[name]))
            for name in sizes
        }
        views["masks"][:] = views["frames"][::3] > 127
        return self.runs


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The engine that the module `played_tensorrt` reads from the plan b"plan"."""
    package, engine = ModuleType("played_tensorrt"), FakeEngine()
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if plan == b"plan" else None)
    package.Runtime = lambda logger: runtime  # type: ignore[attr-defined]
    package.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})  # type: ignore[attr-defined]
    package.TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "played_tensorrt", package)
    return engine


@pytest.fixture(params=list(KINDS))
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return play_gpu(monkeypatch, request.param)


@pytest.fixture
def session(tmp_path: Path, engine: FakeEngine) -> PlanSession:
    (tmp_path / "engine.plan").write_bytes(b"plan")
    manifest = Manifest(tiny.METADATA, "tensorrt", "int8", {}, {})
    return PlanSession(tmp_path, manifest, module="played_tensorrt")


def test_a_session_copies_runs_and_gives_everything_back(gpu: Any, session: PlanSession) -> None:
    frames = np.random.default_rng(0).integers(0, 256, session.input_shape, dtype=np.uint8)
    with session:
        assert len(gpu.memory) == 2 and gpu.streams == 1
        masks = session.run(frames)
        assert (masks == (frames[..., 0] > 127)).all() and masks.dtype == np.uint8
        assert (session.run(255 - frames) == (frames[..., 0] < 128)).all()
        assert (masks == (frames[..., 0] > 127)).all(), "a result belongs to the caller"
    assert not gpu.memory and gpu.streams == 0


def test_a_failing_copy_is_told(gpu: Any, session: PlanSession) -> None:
    with session, pytest.raises(EngineError, match="CUDA failed with"):
        gpu.fails = True
        session.run(np.zeros(session.input_shape, np.uint8))
    assert not gpu.memory and gpu.streams == 0


def test_a_failing_run_is_told(gpu: Any, session: PlanSession, engine: FakeEngine) -> None:
    engine.runs = False
    with session, pytest.raises(EngineError, match="tensorrt failed to run"):
        session.run(np.zeros(session.input_shape, np.uint8))
    assert not gpu.memory and gpu.streams == 0


def test_a_plan_that_does_not_load(gpu: Any, session: PlanSession) -> None:
    (session.directory / "engine.plan").write_bytes(b"other")
    with pytest.raises(EngineError, match=r"engine\.plan on this GPU"), session:
        pass
    assert not gpu.memory and gpu.streams == 0


def test_a_tensor_of_another_type_leaves_nothing(gpu: Any, session: PlanSession, engine: FakeEngine) -> None:
    engine.kind = "INT32"
    with pytest.raises(EngineError, match="frames of type INT32"), session:
        pass
    assert not gpu.memory and gpu.streams == 0


def test_the_module_is_prepared_before_the_plan_is_read(gpu: Any, session: PlanSession, tmp_path: Path) -> None:
    (tmp_path / "engine.plan").write_bytes(b"other")
    seen: list[str] = []

    def prepare(tensorrt: Any) -> None:
        seen.append(tensorrt.__name__)
        (tmp_path / "engine.plan").write_bytes(b"plan")

    with PlanSession(tmp_path, session.manifest, module="played_tensorrt", prepare=prepare):
        assert seen == ["played_tensorrt"]
