from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefsa.errors import GraphError, InputError, RangesError
from edgefsa.graph.files import weights_hash, write_metadata
from edgefsa.media.frames import resize_frame
from edgefsa.quantize import METHODS, ranges_from_calibration
from edgefsa.quantize.calibrate import calibrated_tensors
from edgefsa.quantize.placement import place
from tests.unit.quantize.conftest import HEIGHT, TEXT, WIDTH, metadata, run
from tests.unit.quantize.test_placement import mixer


def test_minmax_is_the_largest_magnitude_over_all_frames(network: onnx.ModelProto, network_path: Path, frames):
    ranges = ranges_from_calibration(network_path, frames, method="minmax", data_name="five", data_fingerprint="f")
    tensors = calibrated_tensors(network)
    values = [run(network, frame[None], tensors) for frame in frames]
    assert list(ranges.tensors) == tensors
    for index, name in enumerate(tensors):
        expected = max(np.abs(value[index]).max() for value in values)
        assert ranges.tensors[name]["amax"] == pytest.approx(expected, rel=1e-5)
    assert ranges.data == {"name": "five", "fingerprint": "f", "frames": 5}
    assert ranges.model == "small" and ranges.model_sha256 == weights_hash(network)


def test_what_any_form_rounds_is_measured(network: onnx.ModelProto):
    for model in (network, mixer()):
        forms: list[dict[str, bool]] = [{}, {"integer_outputs": True}, {"int8_operators": True}]
        needed = {name for form in forms for name in place(model, **form).tensors}
        assert set(calibrated_tensors(model)) == needed
    assert "both" in needed and "low" in needed


@pytest.mark.parametrize("method", [name for name in METHODS if name != "minmax"])
def test_other_methods_lie_below_and_are_the_same_each_time(network_path: Path, frames, method: str):
    first, again = (ranges_from_calibration(network_path, frames, method=method) for _ in range(2))
    assert first == again and first.method == method
    largest = ranges_from_calibration(network_path, frames, method="minmax")
    shares = [item["amax"] / largest.tensors[name]["amax"] for name, item in first.tensors.items()]
    assert max(shares) <= 1 + 1e-6 and min(shares) > 0.2


def test_only_so_many_frames_are_taken_from_an_endless_source(network_path: Path, frames):
    def endless():
        while True:
            yield from frames

    calls: list[tuple[int, int]] = []
    ranges = ranges_from_calibration(
        network_path, endless(), max_frames=3, progress=lambda done, total: calls.append((done, total))
    )
    assert ranges.data["frames"] == 3 and calls == [(1, 3), (2, 3), (3, 3)]


def test_frames_of_another_size_are_resized(network: onnx.ModelProto, network_path: Path):
    frame = np.random.default_rng(0).integers(0, 256, (51, 70, 3), dtype=np.uint8)
    ranges = ranges_from_calibration(network_path, [frame], method="minmax")
    (image,) = run(network, resize_frame(frame, (HEIGHT, WIDTH))[None], ["image"])
    assert ranges.tensors["image"]["amax"] == np.abs(image).max()


def test_a_batch_that_is_not_full_counts_each_frame_once(
    network_path: Path, network: onnx.ModelProto, frames, tmp_path
):
    text = TEXT.replace(f"uint8[1,{HEIGHT}", f"uint8[2,{HEIGHT}").replace("{1, 12, 12, 16}", "{2, 12, 12, 16}")
    pair = onnx.parser.parse_model(text)
    for node in pair.graph.node:
        node.name = node.output[0]
    pair.graph.initializer.extend(item for item in network.graph.initializer if item.name != "sizes")
    pair.functions.extend(network.functions)
    write_metadata(pair, metadata(batch=2))
    (tmp_path / "pair.onnx").write_bytes(pair.SerializeToString())
    alone = ranges_from_calibration(network_path, frames, method="percentile")
    together = ranges_from_calibration(tmp_path / "pair.onnx", frames, method="percentile")
    assert together.data["frames"] == 5 and together.model_sha256 == alone.model_sha256
    for name, item in alone.tensors.items():
        assert together.tensors[name]["amax"] == pytest.approx(item["amax"], rel=2e-3)


def test_without_a_fingerprint_the_frames_are_hashed(network_path: Path, frames):
    first = ranges_from_calibration(network_path, frames[:2]).data["fingerprint"]
    assert len(first) == 64 and first != ranges_from_calibration(network_path, frames[1:3]).data["fingerprint"]


def test_bad_input_is_one_clear_line(network: onnx.ModelProto, network_path: Path, frames, tmp_path: Path):
    with pytest.raises(RangesError, match="got no frames from nothing"):
        ranges_from_calibration(network_path, [], data_name="nothing")
    with pytest.raises(InputError, match="'best' is unknown"):
        ranges_from_calibration(network_path, frames, method="best")
    with pytest.raises(GraphError, match="no such file"):
        ranges_from_calibration(tmp_path / "none.onnx", frames)
    bias = next(item for item in network.graph.initializer if item.name == "a1_b")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "a1_b"))
    network_path.write_bytes(network.SerializeToString())
    with pytest.raises(RangesError, match="is not finite on frame 1"):
        ranges_from_calibration(network_path, frames)
