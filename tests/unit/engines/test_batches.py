"""Engines that take several numbers of frames a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, inspect_engine, open_engine
from edgefsa.errors import EngineError, GraphError, InputError
from edgefsa.segment import Segmenter
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build

BATCHES = [1, 2, 4]


@pytest.fixture
def open_onnx(onnx_path: Path) -> Path:
    onnx.save(tiny.tiny_graph(batch=4, batches=BATCHES), onnx_path)
    return onnx_path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_an_open_batch_runs_and_gives_the_masks_of_a_fixed_one(
    open_onnx: Path, build: Build, target: str, precision: str
) -> None:
    report = build(precision, target)
    assert report.engine.name == f"tiny-{target}-{precision}-32x48-batch1to4"
    assert inspect_engine(report.engine)["summary"]["input"] == "uint8 [1:2:4, 32, 48, 3] BGR"
    frames = np.random.default_rng(5).integers(0, 256, (4, *tiny.SIZE_HW, 3), dtype=np.uint8)
    with open_engine(report.engine) as session, Segmenter(session) as segmenter:
        whole = session.run(frames)
        for count in (3, 1):
            assert (session.run(frames[:count]) == whole[:count]).all()
        assert (whole == tiny.reference_masks(frames)).mean() > 0.95
        segmented = segmenter.segment_batch(list(frames[:3]))
        assert (np.stack([item.mask for item in segmented]) == whole[:3]).all()
        with pytest.raises(InputError, match=r"N from 1\), not uint8 \[5, 32, 48, 3\]"):
            session.run(np.zeros((5, *tiny.SIZE_HW, 3), np.uint8))


def test_a_manifest_that_says_another_batch_than_the_file(open_onnx: Path, build: Build) -> None:
    engine = build("fp32", "onnxruntime").engine
    manifest = Manifest.read(engine)
    del manifest.model["batches"]
    manifest.write(engine)
    with (
        pytest.raises(EngineError, match=r"takes \['batch', 32, 48, 3\], its manifest says \[4, 32, 48, 3\]"),
        open_engine(engine, check=False),
    ):
        pass


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_tensorrt_rtx_builds_a_profile(open_onnx: Path, build: Build, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    report = build(precision, "tensorrt-rtx")
    assert report.engine.name.endswith("-batch1to4") and Manifest.read(report.engine).model["batches"] == BATCHES


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([1, 2], "batches [1, 2], not three numbers of frames that do not fall"),
        ([2, 1, 4], "do not fall"),
        ([1, 2, 3], "the last is not the batch 4"),
    ],
)
def test_batches_that_cannot_be(tmp_path: Path, batches: list[int], words: str) -> None:
    onnx.save(tiny.tiny_graph(batch=4, batches=batches), tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        build_engine(tmp_path / "m.onnx", tmp_path)
    assert words in str(caught.value)


def test_a_file_with_a_fixed_batch_that_says_it_is_open(tmp_path: Path) -> None:
    model = tiny.tiny_graph(batch=4, batches=BATCHES)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError, match=r"uint8 \[4, 32, 48, 3\], its metadata say frames uint8 \[batch, 32, 48, 3\]"):
        build_engine(tmp_path / "m.onnx", tmp_path)
