"""Builds compare numbers: wrong arithmetic, a wrong conversion and an engine in float by name only do not pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefsa.artifacts import Manifest
from edgefsa.engines import LayerPrecision, logits_session, open_engine
from edgefsa.engines.cpu import onnxruntime as onnxruntime_target
from edgefsa.engines.cpu import openvino as openvino_target
from edgefsa.engines.golden import Bound, Distance, Outputs
from edgefsa.engines.numbers import Numbers, distance, engine_bound
from edgefsa.engines.precision import macs_shares
from edgefsa.engines.proof import ProofFrames
from edgefsa.errors import EngineError, PrecisionError
from edgefsa.graph.running import onnx_runner
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build

TARGETS = ("openvino", "onnxruntime")


def spoil(model: onnx.ModelProto, name: str, factor: float) -> None:
    """Scale a stored tensor."""
    (item,) = (item for item in model.graph.initializer if item.name == name)
    value = numpy_helper.to_array(item)
    item.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), name))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_distances_are_those_of_the_three_things_that_ran(build: Build, precision: str, target: str) -> None:
    """Measured again from the stored files: float graph by NumPy in float64, converted graph, engine."""
    rng = np.random.default_rng(11)
    frames = rng.integers(0, 256, (9, 1, *tiny.SIZE_HW, 3), dtype=np.uint8)
    engine = build(precision, target, frames=lambda: ProofFrames(frames, "noise")).engine
    numbers = Manifest.read(engine).proof["numbers"]
    assert (numbers["frames"], numbers["data"]) == (9, "noise")
    name = {"fp32": "model.onnx", "int8": "int8.onnx" if target == "openvino" else "engine.onnx"}[precision]
    converted = onnx_runner(onnx.load(engine / name), optimised=False)
    wanted = np.stack([tiny.reference_logits(batch) for batch in frames])
    middle = np.stack([converted(batch)[0] for batch in frames]).astype(np.float64)
    with logits_session(engine) as session:
        found = np.stack([session.run(batch) for batch in frames])
    cost, rounding = numbers["float_to_converted"], numbers["converted_to_engine"]
    assert rounding["relative_l2"] == pytest.approx(np.linalg.norm(found - middle) / np.linalg.norm(middle), rel=1e-6)
    if precision == "int8":
        expected = np.linalg.norm(middle - wanted) / np.linalg.norm(wanted)
        assert cost["relative_l2"] == pytest.approx(expected, rel=1e-3) and 1e-3 < expected < 0.05
        assert rounding["relative_l2"] < expected
    else:
        assert cost["relative_l2"] == 0 and rounding["relative_l2"] < 1e-5
    assert cost["bound"]["relative_l2"] > cost["relative_l2"] and cost["agreement"] >= cost["bound"]["agreement"]
    assert set(rounding["bound"]) == {"relative_l2", "agreement"}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", TARGETS)
def test_an_engine_that_computes_something_else_fails_the_build(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, target: str
) -> None:
    """Its layers have the right names and types; one scale is 8 % off."""
    name = "stem.scale" if precision == "int8" else "stem.weight"

    def planted(graph: onnx.ModelProto) -> onnx.ModelProto:
        wrong = onnx.ModelProto.FromString(graph.SerializeToString())
        spoil(wrong, name, 1.08)
        return wrong

    save, write = openvino_target._save_ir, onnxruntime_target.write_graph
    monkeypatch.setattr(openvino_target, "_save_ir", lambda graph, path, **rest: save(planted(graph), path, **rest))
    monkeypatch.setattr(onnxruntime_target, "write_graph", lambda graph, path: write(planted(graph), path))
    with pytest.raises(PrecisionError, match=r"what its converted graph defines: logits differ by 0\.0"):
        build(precision, target)
    assert list((tmp_path / "engines").iterdir()) == []


def test_a_conversion_that_costs_too_much_fails_the_build(
    build: Build, quantiser: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range some times too small clips nearly everything; the engine repeats the converted graph faithfully."""
    factor = 0.1

    def clipped(model: onnx.ModelProto, *_: object, **__: object) -> tuple[onnx.ModelProto, dict[str, object]]:
        quantised, summary = tiny.tiny_int8(model, tiny.tiny_ranges())
        spoil(quantised, "stem_relu.scale", factor)
        return quantised, summary

    monkeypatch.setattr(quantiser, "int8_onnx", clipped)
    noise = np.random.default_rng(11).integers(0, 256, (8, 1, *tiny.SIZE_HW, 3), dtype=np.uint8)
    with pytest.raises(PrecisionError, match=r"int8 costs this network too much: .*the bound is 0\.3 and 90 %"):
        build("int8", frames=lambda: ProofFrames(noise, "noise"))
    factor = 0.4
    with pytest.raises(PrecisionError, match="costs this network too much"):
        build("int8", frames=lambda: ProofFrames(noise, "noise"))
    foreign = build("int8", frames=lambda: ProofFrames(noise, "noise", foreign=True))
    assert "relative L2" in foreign.cost, "frames of other data are held to a wider bound, and the cost is said"


@pytest.mark.parametrize("target", TARGETS)
def test_the_golden_output_is_the_converted_graphs(build: Build, target: str) -> None:
    engine = build("int8", target).engine
    graph = onnx.load(engine / ("int8.onnx" if target == "openvino" else "engine.onnx"))
    with np.load(engine / "golden.npz") as golden:
        _, masks = onnx_runner(graph, optimised=False)(golden["frames"][0])
        assert masks is not None and (golden["outputs"][0] == masks).all() and len(golden["frames"]) == 1


def test_a_runtime_that_computes_wrongly_elsewhere_is_noticed_on_opening(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build("int8").engine
    collect = openvino_target.OpenVinoSession._collect

    def wrong(self: Any, handle: Any) -> Any:
        outputs, *times = collect(self, handle)
        return np.roll(outputs, 3, axis=1), *times

    monkeypatch.setattr(openvino_target.OpenVinoSession, "_collect", wrong)
    with pytest.raises(EngineError, match=r"what its converted graph defines \(\d+\.\d % of the pixels agree"):
        open_engine(engine).__enter__()


@pytest.mark.parametrize("target", TARGETS)
def test_the_share_of_macs_and_what_stayed_in_float(build: Build, target: str) -> None:
    """By hand, one frame: stem 8 x 27, body 8 x 72, classifier 4 x 8 products at each of 16 x 24 places."""
    stem, body, classifier = 216, 576, 32
    total = stem + body + classifier
    report = build("int8", target)
    manifest = Manifest.read(report.engine)
    assert manifest.int8_macs_share == pytest.approx((stem + body) / total, abs=1e-4) == report.int8_macs_share
    assert manifest.fp16_macs_share == 0 and report.warnings == ()
    assert manifest.proof["in_float"][0]["node"] == "classifier"
    if target == "onnxruntime":
        return  # the tiny quantiser writes its uint8 form for both convolutions only
    small = build("int8", target, skip=("body",), overwrite=True)
    assert Manifest.read(small.engine).int8_macs_share == pytest.approx(stem / total, abs=1e-4)
    (warning,) = small.warnings
    assert warning.startswith("only 26 % of the MACs run in INT8") and "body 69.9 %" in warning


def test_shares_give_the_reason_for_float() -> None:
    layers = [
        LayerPrecision("a+b", "Convolution", "int8", nodes=("a",), multiplies=True),
        LayerPrecision("c", "Convolution", "f32", nodes=("c",), multiplies=True),
        LayerPrecision("relu", "Eltwise", "int8", nodes=("e",)),
    ]
    shares = macs_shares({"a": 60, "c": 30, "d": 8, "e": 2}, layers, {"c": "skipped on request"})
    assert (shares.int8, shares.half) == (0.6, 0.0)
    assert [(row["node"], row["share"]) for row in shares.in_float] == [("c", 0.3), ("d", 0.08), ("e", 0.02)]
    assert shares.in_float[0]["reason"] == "skipped on request"


def test_distance_is_the_formula() -> None:
    rng = np.random.default_rng(2)
    there = [Outputs(rng.standard_normal((1, 3, 4, 5)).astype(np.float32), np.zeros((1, 8, 10), np.uint8))] * 2
    here = [Outputs(item.logits * 1.1 if item.logits is not None else None, item.masks) for item in there]
    here[0] = Outputs(here[0].logits, np.pad(np.ones((1, 8, 1), np.uint8), ((0, 0), (0, 0), (0, 9))))
    found = distance(here, there)
    assert found.relative_l2 == pytest.approx(0.1, rel=1e-5) and found.agreement == 1 - 8 / 160
    assert distance([Outputs(None, item.masks) for item in here], there).relative_l2 is None
    broken = [Outputs(np.full((1, 3, 4, 5), np.nan, np.float32), None)] * 2
    assert not distance(broken, there).within(Bound(10.0, 0.0)), "what is not finite is near nothing"


def test_rounding_may_be_as_coarse_as_int8_is_for_the_network() -> None:
    assert engine_bound("int8", Distance(0.01, 0.999)) == Bound(0.04, 0.98)
    assert engine_bound("int8", Distance(0.2, 0.92)) == Bound(pytest.approx(0.3), pytest.approx(0.88))
    assert engine_bound("f32", Distance(0.2, 0.92)) == Bound(1e-3, 0.999)


def test_an_engine_that_differs_more_on_one_batch_can_still_be_opened() -> None:
    frames = np.zeros((2, 1, 8, 8, 3), np.uint8)
    cost = Distance(0.0, 1.0)
    numbers = Numbers(frames, [], "noise", cost, Bound(0.3, 0.9), Distance(0.01, 0.985), Bound(0.04, 0.98))
    assert numbers.golden_agreement() == 0.98
    assert replace(numbers, first=Distance(0.01, 0.999)).golden_agreement() == 0.98
    assert replace(numbers, first=Distance(0.01, 0.97)).golden_agreement() == pytest.approx(0.96)
