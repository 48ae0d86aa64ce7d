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
from edgefsa.errors import EngineError, InputError
from edgefsa.segment import Segmenter
from tests.unit.engines import tiny
from tests.unit.engines.tensorrt.gpu_fakes import KINDS, PlayedGpu, play_gpu


class FakeContext:
    """Runs the plan of a FakeEngine on the addresses that it was given."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.count = -1

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames" and self.engine.shapes["frames"][0] == -1
        self.count = shape[0]
        return 1 <= self.count <= FakeEngine.most

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, *rest = self.engine.shapes[name]
        return (self.count if batch == -1 else batch, *rest)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        gpu = self.engine.gpu
        assert stream in gpu.streams
        sizes = {name: int(np.prod(self.get_tensor_shape(name))) for name in self.engine.shapes}
        views = {
            name: np.ctypeslib.as_array((ctypes.c_uint8 * sizes[name]).from_address(self.addresses[name]))
            for name in sizes
        }
        gpu.work("engine", lambda: np.greater(views["frames"][::3], 127, out=views["masks"], casting="unsafe"))
        return self.engine.runs


class FakeEngine:
    """A plan that gives the blue channel of the frames, 1 where it is above 127."""

    num_io_tensors = 2
    shapes = {"frames": (1, *tiny.SIZE_HW, 3), "masks": (1, *tiny.SIZE_HW)}  # noqa: RUF012
    kind = "UINT8"
    most = 4
    gpu: Any = None

    def __init__(self) -> None:
        self.runs = True
        self.contexts = 0

    def create_execution_context(self) -> FakeContext:
        self.contexts += 1
        return FakeContext(self)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.kind)

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == "frames" else 2


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
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> PlayedGpu:
    engine.gpu = play_gpu(monkeypatch, request.param).gpu
    return engine.gpu


@pytest.fixture
def session(tmp_path: Path, engine: FakeEngine) -> PlanSession:
    (tmp_path / "engine.plan").write_bytes(b"plan")
    manifest = Manifest(tiny.METADATA, "tensorrt", "int8", {}, {})
    return PlanSession(tmp_path, manifest, module="played_tensorrt")


def some_frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, FakeEngine.shapes["frames"], dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("integrated", [False, True])
def test_a_session_copies_runs_and_gives_everything_back(
    gpu: PlayedGpu, session: PlanSession, integrated: bool
) -> None:
    gpu.integrated = integrated
    (frames,) = some_frames(1)
    with session:
        masks = session.run(frames)
        assert (masks == (frames[..., 0] > 127)).all() and masks.dtype == np.uint8
        assert (session.run(255 - frames) == (frames[..., 0] < 128)).all()
        assert (masks == (frames[..., 0] > 127)).all(), "a result belongs to the caller"
        assert len(gpu.streams) == 1 and len(gpu.memory) == (0 if integrated else 2)
        assert ("to gpu" in gpu.log) is not integrated, "a GPU that shares the memory reads it where it is"
    assert gpu.is_empty()


def test_engine_and_copies_are_timed_apart(gpu: PlayedGpu, session: PlanSession) -> None:
    with session:
        ticket = session.submit(some_frames(1)[0])
        session.wait(ticket)
        session.collect(ticket)
    assert (ticket.engine_ms, ticket.copy_ms) == (1.0, 2.0)


def test_runs_under_way_have_streams_and_buffers_of_their_own(
    gpu: PlayedGpu, session: PlanSession, engine: FakeEngine
) -> None:
    batches = some_frames(5)
    with session:
        tickets = [session.submit(batch) for batch in batches[:3]]
        assert len(gpu.streams) == engine.contexts == 3
        found = [session.collect(ticket) for ticket in reversed(tickets)]
        for batch, masks in zip(reversed(batches[:3]), found, strict=True):
            assert (masks == (batch[..., 0] > 127)).all()
        for batch in batches:
            assert (session.run(batch) == (batch[..., 0] > 127)).all()
        assert engine.contexts == 3, "lanes are used again"
    assert gpu.is_empty()


def open_batch(session: PlanSession, engine: FakeEngine) -> None:
    """Let an engine take 1 to 4 frames a run."""
    engine.shapes = {name: (-1, *shape[1:]) for name, shape in FakeEngine.shapes.items()}
    session.manifest.model = {**tiny.METADATA, "batch": 4, "batches": [1, 2, 4]}


def test_an_open_batch_takes_runs_of_each_size(gpu: PlayedGpu, session: PlanSession, engine: FakeEngine) -> None:
    open_batch(session, engine)
    with session:
        assert session.input_shape[0] == 4 and session.batches == (1, 2, 4)
        for count in (4, 1, 3, 1, 4):
            frames = np.concatenate(some_frames(count))
            assert (session.run(frames) == (frames[..., 0] > 127)).all()
        assert engine.contexts == 3, "lanes of each size are used again"
        sizes = sorted(len(lane.frames) for lane in session._free)
        assert sizes == [1, 3, 4]
        for count in (0, 5):
            with pytest.raises(InputError, match=rf"\[4, 32, .* N from 1\), not uint8 \[{count}, "):
                session.submit(np.zeros((count, *session.input_shape[1:]), np.uint8))
    assert gpu.is_empty()


def test_the_segmenter_hands_an_open_batch_no_more_frames_than_it_has(
    gpu: PlayedGpu, session: PlanSession, engine: FakeEngine
) -> None:
    open_batch(session, engine)
    frames = [np.full((*tiny.SIZE_HW, 3), value, np.uint8) for value in (0, 200, 255, 10, 128, 0)]
    with session, Segmenter(session) as segmenter:
        masks = [item.mask for item in segmenter.segment_batch(frames)]
        assert [int(mask.max()) for mask in masks] == [0, 1, 1, 0, 1, 0]
        assert sorted(len(lane.frames) for lane in session._free) == [2, 4]


def test_a_plan_that_takes_fewer_frames_than_its_manifest_says(
    gpu: PlayedGpu, session: PlanSession, engine: FakeEngine
) -> None:
    open_batch(session, engine)
    session.manifest.model = {**session.manifest.model, "batch": 8, "batches": [1, 2, 8]}
    with pytest.raises(EngineError, match="takes no 8 frames a run"), session:
        pass
    assert gpu.is_empty()


def test_a_shape_that_stays_open_allocates_nothing(gpu: PlayedGpu, session: PlanSession, engine: FakeEngine) -> None:
    engine.shapes = {name: (-1, *shape[1:]) for name, shape in FakeEngine.shapes.items()}
    with pytest.raises(EngineError, match=r"open shape \(-1, 32, 48, 3\)"), session:
        pass
    assert gpu.is_empty()


def test_frames_written_into_the_staging_memory_are_not_copied_again(gpu: PlayedGpu, session: PlanSession) -> None:
    frames, others = some_frames(2)
    with session:
        staging = session.staging()
        assert staging is session.staging() and staging is not None
        staging[:] = frames
        ticket = session.submit(staging)
        next_one = session.staging()
        assert next_one is not None and not np.shares_memory(staging, next_one), "the run under way still reads it"
        assert (session.run(others) == (others[..., 0] > 127)).all(), "frames from elsewhere are taken as well"
        assert (session.collect(ticket) == (frames[..., 0] > 127)).all()
    assert gpu.is_empty()


def test_the_second_run_is_a_graph(monkeypatch: pytest.MonkeyPatch, session: PlanSession, engine: FakeEngine) -> None:
    engine.gpu = gpu = play_gpu(monkeypatch, "cuda.bindings").gpu
    batches = some_frames(3)
    with session:
        for batch in batches:
            assert (session.run(batch) == (batch[..., 0] > 127)).all()
    step = ["to gpu", "graph", "engine", "to host"]
    assert gpu.log == ["to gpu", "engine", "to host", *step, *step]
    assert session.notes == [] and gpu.is_empty()


@pytest.mark.parametrize("kind", list(KINDS))
def test_without_graphs_it_runs_on_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, session: PlanSession, engine: FakeEngine, kind: str
) -> None:
    engine.gpu = gpu = play_gpu(monkeypatch, kind).gpu
    gpu.refuses_graphs = True
    with session:
        tickets = [session.submit(batch) for batch in some_frames(2)]
        for ticket in tickets:
            session.collect(ticket)
        for batch in some_frames(6):
            assert (session.run(batch) == (batch[..., 0] > 127)).all()
    assert len(session.notes) == 1 and "runs without a CUDA graph" in session.notes[0]
    assert "graph" not in gpu.log and gpu.is_empty()


def test_the_segmenter_fits_frames_into_the_staging_memory(gpu: PlayedGpu, session: PlanSession) -> None:
    frame = np.full((tiny.SIZE_HW[0] * 2, tiny.SIZE_HW[1] * 2, 3), 200, np.uint8)
    with session, Segmenter(session) as segmenter:
        result = segmenter.segment(frame)
        assert (result.mask == 1).all() and result.mask.shape == frame.shape[:2]
        assert (result.times.engine_ms, result.times.copy_ms) == (1.0, 2.0)


def test_a_failing_copy_is_told(gpu: PlayedGpu, session: PlanSession) -> None:
    with session, pytest.raises(EngineError, match="CUDA failed with"):
        gpu.fails = True
        session.run(np.zeros(session.input_shape, np.uint8))
    assert gpu.is_empty()


def test_a_failing_run_is_told(gpu: PlayedGpu, session: PlanSession, engine: FakeEngine) -> None:
    engine.runs = False
    with session, pytest.raises(EngineError, match="tensorrt failed to run"):
        session.run(np.zeros(session.input_shape, np.uint8))
    assert gpu.is_empty()


def test_a_plan_that_does_not_load(gpu: PlayedGpu, session: PlanSession) -> None:
    (session.directory / "engine.plan").write_bytes(b"other")
    with pytest.raises(EngineError, match=r"engine\.plan on this GPU"), session:
        pass
    assert gpu.is_empty()


def test_a_tensor_of_another_type_leaves_nothing(gpu: PlayedGpu, session: PlanSession, engine: FakeEngine) -> None:
    engine.kind = "INT32"
    with pytest.raises(EngineError, match="frames of type INT32"), session:
        pass
    assert gpu.is_empty()


def test_the_module_is_prepared_before_the_plan_is_read(gpu: PlayedGpu, session: PlanSession, tmp_path: Path) -> None:
    (tmp_path / "engine.plan").write_bytes(b"other")
    seen: list[str] = []

    def prepare(tensorrt: Any) -> None:
        seen.append(tensorrt.__name__)
        (tmp_path / "engine.plan").write_bytes(b"plan")

    with PlanSession(tmp_path, session.manifest, module="played_tensorrt", prepare=prepare):
        assert seen == ["played_tensorrt"]
