"""Benches of the small network on ONNX Runtime, with few rounds: no test here looks at times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefsa.build import calibrate_onnx
from edgefsa.data.readers import open_dataset
from edgefsa.graph.files import read_graph
from edgefsa.verify.sensitivity import TrialBench, bench, open_bench
from tests.unit.verify.sensitivity.small import small_network, write_frames

Opener = Callable[..., TrialBench]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Open the bench of a network with outliers in the blocks named; again, the bench of another process."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "ROUNDS", 4)
    monkeypatch.setattr(bench, "WARMUP", 0)
    data = f"images:{write_frames(tmp_path / 'frames')}"
    benches: list[TrialBench] = []

    def call(outliers: tuple[str, ...] = ("a", "c"), dataset: object = None) -> TrialBench:
        path = tmp_path / "m.onnx"
        path.write_bytes(small_network(outliers).SerializeToString())
        graph = read_graph(path)
        ranges = calibrate_onnx(graph, data, frames=6)
        benches.append(open_bench(graph, ranges, dataset or open_dataset(data, "train"), target="onnxruntime"))
        return benches[-1]

    yield call
    for item in benches:
        item.__exit__(None, None, None)
