"""Engines that run on the CPU: masks, precision, sessions, the same for OpenVINO and ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, inspect_engine, logits_session, open_engine
from edgefsa.errors import EngineError, InputError
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build

TARGETS = ("openvino", "onnxruntime")
Frames = npt.NDArray[np.uint8]


@pytest.mark.parametrize("target", TARGETS)
def test_fp32_masks_are_those_of_float64(build: Build, frames: Frames, target: str) -> None:
    with open_engine(build("fp32", target).engine) as session:
        masks = session.run(frames)
    assert masks.dtype == np.uint8 and masks.shape == (1, *tiny.SIZE_HW)
    assert (masks == tiny.reference_masks(frames)).mean() > 0.998
    assert len(np.unique(masks)) == tiny.CLASSES


@pytest.mark.parametrize("target", TARGETS)
def test_int8_masks_are_near_those_of_float64(build: Build, frames: Frames, target: str) -> None:
    with open_engine(build("int8", target).engine) as session:
        agreement = (session.run(frames) == tiny.reference_masks(frames)).mean()
    assert 0.95 < agreement < 1, "INT8 is near, and not the same: else it did not run in INT8"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_of_the_same_engine(build: Build, frames: Frames, target: str, precision: str) -> None:
    with logits_session(build(precision, target).engine) as session:
        logits = session.run(frames)
    expected = tiny.reference_logits(frames)
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    error = np.linalg.norm(logits - expected) / np.linalg.norm(expected)
    assert error < 1e-5 if precision == "fp32" else 1e-3 < error < 0.05


@pytest.mark.parametrize("target", TARGETS)
def test_int8_layers_are_those_of_the_quantised_graph(build: Build, target: str) -> None:
    report = build("int8", target)
    rows = {node: row["precision"] for row in inspect_engine(report.engine)["layers"] for node in row["nodes"]}
    assert {name: rows[name] for name in tiny.CONVOLUTIONS} == {"stem": "int8", "body": "int8", "classifier": "f32"}
    proof = Manifest.read(report.engine).proof
    assert (proof["expected"], proof["proved"]) == (2, 2)


@pytest.mark.parametrize("target", TARGETS)
def test_fp32_layers_are_all_float32(build: Build, target: str) -> None:
    manifest = Manifest.read(build("fp32", target).engine)
    assert set(manifest.precision_detail["layers"]) == {"f32"}
    assert manifest.device["cpu_features"] == [], "a float32 engine relies on no feature of this CPU"


@pytest.mark.parametrize("target", TARGETS)
def test_results_belong_to_the_caller(build: Build, frames: Frames, target: str) -> None:
    with open_engine(build("fp32", target).engine) as session:
        first = session.run(frames)
        kept = first.copy()
        second = session.run(255 - frames)
    assert (first == kept).all() and not (second == kept).all()
    first[:] = 0  # and is writable


@pytest.mark.parametrize("target", TARGETS)
def test_frames_in_any_memory_layout(build: Build, frames: Frames, target: str) -> None:
    flipped = np.ascontiguousarray(frames[..., ::-1])
    frozen = frames.copy()
    frozen.setflags(write=False)
    with open_engine(build("fp32", target).engine) as session:
        expected = session.run(frames)
        assert (session.run(flipped[..., ::-1]) == expected).all()
        assert (session.run(frozen) == expected).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 32, 48, 3), np.float32),
        np.zeros((1, 32, 49, 3), np.uint8),
        np.zeros((2, 32, 48, 3), np.uint8),
        np.zeros((32, 48, 3), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_other_shapes_and_types_are_refused_in_one_line(build: Build, target: str, bad: object) -> None:
    session = open_engine(build("fp32", target).engine, check=False)
    with session, pytest.raises(InputError, match=r"uint8 \[1, 32, 48, 3\]") as caught:
        session.run(bad)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", TARGETS)
def test_a_session_that_is_not_open(build: Build, frames: Frames, target: str) -> None:
    session = open_engine(build("fp32", target).engine)
    with pytest.raises(EngineError, match="with open_engine"):
        session.run(frames)
    with session:
        session.run(frames)
    with pytest.raises(EngineError, match="with open_engine"):
        session.run(frames)
    with session:  # it can be opened again
        session.run(frames)


@pytest.mark.parametrize("target", TARGETS)
def test_a_batch_and_logits_as_the_output(tmp_path: Path, target: str) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(tiny.tiny_graph(batch=3, outputs="logits"), path)
    report = build_engine(path, tmp_path, target=target)
    assert report.engine.name == f"tiny-{target}-fp32-32x48-batch3-logits"
    frames = np.random.default_rng(1).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    with open_engine(report.engine) as session:
        np.testing.assert_allclose(session.run(frames), tiny.reference_logits(frames), atol=1e-4)


@pytest.mark.parametrize("threads", [0, -2])
def test_a_number_of_threads_that_makes_no_sense(build: Build, threads: int) -> None:
    engine = build("fp32").engine
    with pytest.raises(InputError, match=str(threads)):
        open_engine(engine, threads=threads)


@pytest.mark.parametrize("target", TARGETS)
def test_threads_are_passed_on(build: Build, frames: Frames, target: str) -> None:
    with open_engine(build("fp32", target).engine, threads=1) as session:
        assert (session.run(frames) == tiny.reference_masks(frames)).mean() > 0.998
        runtime = getattr(session, "_compiled", None) or session._session  # type: ignore[attr-defined]
        if target == "openvino":
            assert runtime.get_property("INFERENCE_NUM_THREADS") == 1
        else:
            assert runtime.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_process_that_runs_an_engine_loads_neither_torch_nor_onnx(build: Build, target: str, precision: str) -> None:
    engine = build(precision, target).engine
    code = f"""
import json, sys, numpy as np
from edgefsa.engines import open_engine
with open_engine({str(engine)!r}) as session:
    masks = session.run(np.zeros(session.input_shape, np.uint8))
    layers = session.layer_precisions()
print(json.dumps([sorted({{"torch", "onnx", "onnxscript"}} & set(sys.modules)), list(masks.shape), len(layers) > 2]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == [[], [1, 32, 48], True]


def test_what_onnx_runtime_raises_on_a_run_is_an_engine_error(
    build: Build, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    class Failing:
        def run(self, *_: object) -> None:
            raise Fail("out of luck")

    with open_engine(build("fp32", "onnxruntime").engine) as session:
        monkeypatch.setattr(session, "_session", Failing())
        with pytest.raises(EngineError, match=r"failed on tiny-onnxruntime-fp32-32x48: .*out of luck"):
            session.run(frames)


@pytest.mark.parametrize("target", TARGETS)
def test_runs_under_way_together_give_what_single_runs_give(build: Build, target: str) -> None:
    batches = np.random.default_rng(8).integers(0, 256, (6, 1, *tiny.SIZE_HW, 3), dtype=np.uint8)
    with open_engine(build("fp32", target).engine) as session:
        expected = [session.run(batch) for batch in batches]
        tickets = [session.submit(batch) for batch in batches]
        session.wait(tickets[3])
        order = [3, 0, 5, 1, 4, 2]
        found = {index: session.collect(tickets[index]) for index in order}
        assert all((found[index] == expected[index]).all() for index in order)
        assert len({found[index].tobytes() for index in order}) == 6, "the frames differ, and so do their masks"
        assert all(ticket.engine_ms > 0 for ticket in tickets)
        with pytest.raises(EngineError, match=r"no such run of .* is under way; collect each ticket once"):
            session.collect(tickets[0])


@pytest.mark.parametrize("target", TARGETS)
def test_a_session_is_left_with_runs_under_way(build: Build, frames: Frames, target: str) -> None:
    session = open_engine(build("fp32", target).engine)
    with session:
        tickets = [session.submit(frames) for _ in range(8)]
    with pytest.raises(EngineError, match="no such run"):
        session.collect(tickets[0])
    with pytest.raises(EngineError, match="is not open"):
        session.submit(frames)
    with session:
        assert session.run(frames).shape == (1, *tiny.SIZE_HW)
