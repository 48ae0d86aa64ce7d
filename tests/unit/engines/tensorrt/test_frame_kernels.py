"""Sessions that fit frames on the GPU: the real kernels, compiled for the host, on memory that NumPy plays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines.tensorrt import frame_kernels
from edgefsa.engines.tensorrt.frame_kernels import FIT_VARIABLE
from edgefsa.engines.tensorrt.session import PlanSession
from edgefsa.errors import EngineError, InputError, PluginError
from edgefsa.media.fit import geometry
from edgefsa.metadata import FITS
from edgefsa.segment import Segmenter
from tests.kernels.emulation.build import PLUGINS, build_emulator, build_kernels, compiler, link, objects_folder
from tests.unit.engines import tiny
from tests.unit.engines.tensorrt import test_session
from tests.unit.engines.tensorrt.gpu_fakes import KINDS, PlayedGpu, play_gpu

Frame = npt.NDArray[np.uint8]

engine, session = test_session.engine, test_session.session  # fixtures


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels as a library with C names."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    objects, folder = objects_folder(), PLUGINS / "kernels" / "frame_preparation"
    sources = [folder / "frame_preparation.cu", folder / "entries.cpp"]
    built = [*build_kernels(sources, objects), *build_emulator(objects)]
    return link(built, tmp_path_factory.mktemp("frames") / "libframes")


@pytest.fixture(params=list(KINDS))
def gpu(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    engine: test_session.FakeEngine,
    library: Path,
) -> PlayedGpu:
    engine.gpu = play_gpu(monkeypatch, request.param).gpu
    asked: list[Any] = []
    monkeypatch.setattr(
        frame_kernels, "find_library", lambda *wanted: asked.append(wanted) or SimpleNamespace(path=library)
    )
    engine.gpu.asked = asked
    return engine.gpu


def some_frame(size_hw: tuple[int, int]) -> Frame:
    return np.random.default_rng(sum(size_hw)).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def fitted_with(session: PlanSession, fit: str) -> PlanSession:
    model = {**tiny.METADATA, "fit": fit}
    return PlanSession(session.directory, Manifest(model, "tensorrt", "int8", {}, {}), module="played_tensorrt")


def expected_mask(frame: Frame, fit: str) -> Frame:
    """Compute on the CPU what the played engine gives: 1 where the blue of the fitted frame is above 127."""
    made = geometry(fit, (frame.shape[0], frame.shape[1]), tiny.SIZE_HW)
    return made.mask_to_frame((made.to_engine(frame)[..., 0] > 127).astype(np.uint8), tiny.METADATA["ignore_index"])


HEIGHT, WIDTH = tiny.SIZE_HW
SIZES = [(2 * HEIGHT, 2 * WIDTH), (HEIGHT + 7, 3 * WIDTH), (HEIGHT // 2, WIDTH - 1)]


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("fit", FITS)
def test_masks_are_those_of_the_cpu(gpu: PlayedGpu, session: PlanSession, fit: str, integrated: bool) -> None:
    gpu.integrated = integrated
    with fitted_with(session, fit) as opened, Segmenter(opened) as segmenter:
        for size_hw in [SIZES[0], SIZES[0], *SIZES]:
            frame = some_frame(size_hw)
            segmentation = segmenter.segment(frame)
            np.testing.assert_array_equal(segmentation.mask, expected_mask(frame, fit))
        assert opened.fits_frames and gpu.asked == [(None, "8.7")]
        assert not [note for note in opened.notes if "CPU" in note]
    assert gpu.is_empty()


def test_frames_under_way_have_memory_of_their_own(gpu: PlayedGpu, session: PlanSession) -> None:
    frames = [some_frame(size_hw) for size_hw in SIZES]
    with fitted_with(session, "letterbox") as opened, Segmenter(opened) as segmenter:
        tickets = [segmenter.submit([frame]) for frame in frames]
        assert len(gpu.streams) == len(frames)
        for frame, ticket in zip(reversed(frames), reversed(tickets), strict=True):
            segmenter.wait(ticket)
            (segmentation,) = segmenter.collect(ticket)
            np.testing.assert_array_equal(segmentation.mask, expected_mask(frame, "letterbox"))
        with pytest.raises(EngineError, match="collect each ticket once"):
            segmenter.collect(tickets[0])
    assert gpu.is_empty()


def test_tables_go_to_the_gpu_once_and_times_are_apart(gpu: PlayedGpu, session: PlanSession) -> None:
    frame = some_frame(SIZES[0])
    with fitted_with(session, "stretch") as opened, Segmenter(opened) as segmenter:
        first, second = (segmenter.segment(frame).times for _ in range(2))
    copies = [step for step in gpu.log if step in ("to gpu", "to host")]
    assert copies == ["to gpu", "to gpu", "to host", "to gpu", "to host"], "the frame and its tables, then the frame"
    assert (first.engine_ms, first.copy_ms, second.engine_ms, second.copy_ms) == (1.0, 3.0, 1.0, 2.0)


def test_frames_of_the_engines_size_are_not_fitted(gpu: PlayedGpu, session: PlanSession) -> None:
    frame = some_frame(tiny.SIZE_HW)
    with session, Segmenter(session) as segmenter:
        np.testing.assert_array_equal(segmenter.segment(frame).mask, expected_mask(frame, "stretch"))
    assert gpu.asked == []


def test_the_cpu_fits_where_it_is_told_to(
    gpu: PlayedGpu,
    session: PlanSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = some_frame(SIZES[0])
    monkeypatch.setenv(FIT_VARIABLE, "cpu")
    with session, Segmenter(session) as segmenter:
        assert not session.fits_frames
        np.testing.assert_array_equal(segmenter.segment(frame).mask, expected_mask(frame, "stretch"))
        with pytest.raises(EngineError, match="fits no frames itself"):
            session.submit_frames([frame], [geometry("stretch", SIZES[0], tiny.SIZE_HW)], 255)
    assert gpu.asked == []
    monkeypatch.setenv(FIT_VARIABLE, "tpu")
    with session, Segmenter(session) as segmenter, pytest.raises(InputError, match="is 'tpu'; set it to gpu or cpu"):
        segmenter.segment(frame)


def test_without_a_library_the_cpu_fits_and_says_so_once(
    gpu: PlayedGpu,
    session: PlanSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(*_: Any) -> Any:
        raise PluginError("the plugin library is not built; run `make plugins`")

    monkeypatch.setattr(frame_kernels, "find_library", find)
    frame = some_frame(SIZES[0])
    with session, Segmenter(session) as segmenter:
        for _ in range(2):
            np.testing.assert_array_equal(segmenter.segment(frame).mask, expected_mask(frame, "stretch"))
        said = [note for note in session.notes if "frames are fitted on the CPU" in note]
    assert len(said) == 1 and "make plugins" in said[0]


def test_a_library_of_other_kernels_is_not_used(gpu: PlayedGpu, session: PlanSession, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    other.write_bytes(b"")
    with session, pytest.raises(PluginError, match=r"other\.so has no kernels for frames"):
        frame_kernels.FrameKernels(other, session._opened())
    assert gpu.is_empty()


def test_a_kernel_that_fails_is_told(gpu: PlayedGpu, session: PlanSession) -> None:
    made = geometry("stretch", SIZES[0], tiny.SIZE_HW)
    with session:
        assert session.fits_frames
        with pytest.raises(EngineError, match="a kernel for frames failed with CUDA's error 1"):
            session.submit_frames([some_frame(SIZES[0])], [made], 256)  # beyond uint8
    assert gpu.is_empty()
