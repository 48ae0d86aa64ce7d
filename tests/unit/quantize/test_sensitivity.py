"""Which blocks can be left in float, and the noise of the logits, against float64 on the network literally run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefsa.graph.files import LoadedGraph, read_metadata
from edgefsa.quantize import int8_onnx, ranges_from_calibration
from edgefsa.quantize.placement import place
from edgefsa.quantize.sensitivity import LIMIT_DB, LogitNoise, candidates_of, skip_patterns
from tests.unit.quantize.conftest import run


@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_the_candidates_share_out_what_is_quantised(network: onnx.ModelProto, activations: str) -> None:
    candidates = candidates_of(network, activations=activations)
    nodes = [node for block in candidates for node in block.nodes]
    assert sorted(nodes) == sorted(place(network, integer_outputs=activations == "uint8").weights)
    assert ("logits" in nodes) == (activations == "int8"), "ONNX Runtime leaves the classifier in float"
    shares = [block.macs_share for block in candidates]
    assert min(shares) > 0 and sum(shares) <= 1


def test_nodes_that_are_skipped_are_no_candidates(network: onnx.ModelProto) -> None:
    nodes = [node for block in candidates_of(network, ["a*"]) for node in block.nodes]
    assert nodes and not any(node.startswith("a") for node in nodes)


def test_what_is_left_in_float_has_no_pairs(network: onnx.ModelProto, frames: list[np.ndarray]) -> None:
    for node in network.graph.node:
        node.name = node.name.replace("a1", "a[1]")  # a pattern of its own, were it not escaped
    ranges = ranges_from_calibration(_saved(network), frames)
    candidates = candidates_of(network)
    chosen = next(block for block in candidates if "a[1]" in block.nodes)
    _, summary = int8_onnx(network, ranges, skip=skip_patterns(candidates, [chosen.name]))
    assert set(chosen.nodes) <= set(summary.float_nodes)
    assert summary.quantised == [node for node in place(network).weights if node not in chosen.nodes]


def test_the_ratio_is_that_of_the_literal_graph(network: onnx.ModelProto, frames: list[np.ndarray]) -> None:
    ranges = ranges_from_calibration(_saved(network), frames)
    batches = [frame[None] for frame in frames[:2]]
    noise = LogitNoise(network, ranges, batches)
    skip = ["b*", "stem"]
    quantised, _ = int8_onnx(network, ranges, skip=skip)
    wanted, found = (
        np.stack([run(model, batch, ["logits"])[0].astype(np.float64) for batch in batches])
        for model in (network, quantised)
    )
    expected = 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum())
    assert noise.snr_db(skip) == pytest.approx(expected, abs=0.01)
    assert noise.snr_db(["*"]) == LIMIT_DB
    assert noise.snr_db([]) < noise.snr_db(skip)


def _saved(network: onnx.ModelProto) -> LoadedGraph:
    return LoadedGraph(Path("network.onnx"), network, read_metadata(network))
