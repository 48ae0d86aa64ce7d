"""Small engines of a trained network, and what is needed to plant faults in copies of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefsa.artifacts import MANIFEST_NAME, Manifest, sha256_of_file
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import build_engine
from edgefsa.export import onnx_from_model
from edgefsa.graph.files import load_graph
from edgefsa.models import create_model, load_default_weights
from edgefsa.quantize import Ranges, ranges_from_calibration

SIZE_HW = (64, 96)
Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    return open_dataset("synthetic", split="val", limit=3)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = create_model("fsanet-edge")
    weights = load_default_weights(model)
    path = tmp_path_factory.mktemp("parity") / "m.onnx"
    onnx_from_model(model, path, size_hw=SIZE_HW, batch=2, weights=weights)
    return path


@pytest.fixture(scope="session")
def ranges(exported: Path, scenes: Dataset) -> Ranges:
    return ranges_from_calibration(exported, (sample.frame for sample in scenes), method="percentile")


@pytest.fixture(scope="session")
def engines(exported: Path, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Return an engine by target and precision, built once; not to be changed."""
    folder, built = tmp_path_factory.mktemp("engines"), {}

    def engine(target: str, precision: str) -> Path:
        key = (target, precision)
        if key not in built:
            if target == "openvino":
                pytest.importorskip("openvino")
            given = ranges if precision == "int8" else None
            built[key] = build_engine(exported, folder, target=target, precision=precision, ranges=given).engine
        return built[key]

    return engine


@pytest.fixture
def copy_of(engines: Callable[[str, str], Path], tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a copy of an engine that a fault may be planted in."""

    def copied(target: str, precision: str) -> Path:
        source = engines(target, precision)
        return Path(shutil.copytree(source, tmp_path / source.name))

    return copied


def plant(engine: Path, name: str, change: Change) -> None:
    """Change one of an engine's ONNX files, and let its manifest know the new one."""
    model = load_graph(engine / name)
    change(model)
    (engine / name).write_bytes(model.SerializeToString())
    rehash(engine)


def rehash(engine: Path) -> None:
    """Write the hashes of an engine's files into its manifest."""
    manifest = Manifest.read(engine)
    manifest.files = {path.name: sha256_of_file(path) for path in engine.iterdir() if path.name != MANIFEST_NAME}
    manifest.write(engine)


def stored(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == name)).copy()


def store(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    item = next(item for item in model.graph.initializer if item.name == name)
    item.CopyFrom(numpy_helper.from_array(np.array(value, order="C"), name))
