from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefsa.errors import RangesError
from edgefsa.graph.files import weights_hash
from edgefsa.quantize import Ranges, int8_onnx, ranges_from_calibration


@pytest.fixture
def ranges(network_path: Path, frames: list[np.ndarray]) -> Ranges:
    return ranges_from_calibration(network_path, frames, data_name="five")


def test_a_file_reads_back_and_is_readable(ranges: Ranges, network: onnx.ModelProto, tmp_path: Path):
    path = ranges.write(tmp_path / "ranges.json")
    again = Ranges.read(path)
    assert list(again.tensors) == list(ranges.tensors) and again.data == ranges.data
    for name, item in ranges.tensors.items():
        assert again.tensors[name]["amax"] == pytest.approx(item["amax"], rel=1e-5)
    again.check(network)
    value = json.loads(path.read_text())
    assert list(value)[-1] == "tensors" and value["model_sha256"] == weights_hash(network)
    assert all(len(repr(item["amax"])) <= 9 for item in value["tensors"].values())


def test_a_person_may_edit_a_range(ranges: Ranges, network: onnx.ModelProto, tmp_path: Path):
    path = ranges.write(tmp_path / "ranges.json")
    value = json.loads(path.read_text())
    value["tensors"]["a1_relu"] = {"amax": 254, "note": "by hand"}
    path.write_text(json.dumps(value))
    _, summary = int8_onnx(network, Ranges.read(path))
    assert summary.tensors["a1_relu"] == 2.0


def test_other_weights_and_other_models_are_told_apart(ranges: Ranges, network: onnx.ModelProto):
    weight = next(item for item in network.graph.initializer if item.name == "b2_w")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 1, "b2_w"))
    with pytest.raises(RangesError, match="other weights of it"):
        ranges.check(network)
    ranges.model = "fsanet-edge"
    with pytest.raises(RangesError, match=r"ranges are of fsanet-edge \(\w{12}\), the graph is of small"):
        ranges.check(network)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no ranges file"),
        ('{"model": "m"}', "without model_sha256, method, data, tensors"),
    ],
)
def test_files_that_are_no_ranges(tmp_path: Path, content: str, message: str):
    path = tmp_path / "ranges.json"
    path.write_text(content)
    with pytest.raises(RangesError, match=message) as caught:
        Ranges.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("amax", [0, -1, None, "wide", True, float("nan"), float("inf"), 1e300, 10**400, 1e-46, 1e-39])
def test_a_range_that_is_no_positive_number_is_named(ranges: Ranges, tmp_path: Path, amax: object):
    path = ranges.write(tmp_path / "ranges.json")
    value = json.loads(path.read_text())
    value["tensors"]["down"]["amax"] = amax
    path.write_text(json.dumps(value))
    with pytest.raises(RangesError, match="down has amax"):
        Ranges.read(path)


def test_missing_files_other_formats_and_odd_tensors(ranges: Ranges, tmp_path: Path):
    with pytest.raises(RangesError, match="no such file"):
        Ranges.read(tmp_path / "none.json")
    path = ranges.write(tmp_path / "ranges.json")
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "format": 9}))
    with pytest.raises(RangesError, match="has format 9"):
        Ranges.read(path)
    path.write_text(json.dumps({**value, "tensors": [1, 2]}))
    with pytest.raises(RangesError, match=r"tensors is .* not an object"):
        Ranges.read(path)
    path.write_text(json.dumps({**value, "tensors": {"down": 2}}))
    with pytest.raises(RangesError, match="down has amax None"):
        Ranges.read(path)


@pytest.mark.parametrize(
    ("name", "item"),
    [("model", None), ("model_sha256", 5), ("method", []), ("data", 5), ("tool_version", 1), ("format", True)],
)
def test_a_field_of_another_kind_is_named(ranges: Ranges, tmp_path: Path, name: str, item: object):
    path = ranges.write(tmp_path / "ranges.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), name: item}))
    with pytest.raises(RangesError, match=f"{name} is .*, not a") as caught:
        Ranges.read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8(tmp_path: Path):
    path = tmp_path / "ranges.json"
    path.write_bytes(b'{"model": "\xff\xfe"}')
    with pytest.raises(RangesError, match="is not JSON"):
        Ranges.read(path)
