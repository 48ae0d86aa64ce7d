"""trtexec's files of layers: fields and spellings are those that trtexec 8.6 to 10.x wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.layer_times import layer_times, read_layer_info, read_profile
from edgefsa.errors import InputError
from tests.unit.engines.tensorrt.test_layers import INT8_MAP, conv, row

PROFILE = [
    {"count": 388},
    {"name": "conv1", "timeMs": 38.8, "averageMs": 0.1, "medianMs": 0.09, "percentage": 25.0},
    {"name": "conv2 + relu2", "timeMs": 116.4, "averageMs": 0.3, "medianMs": 0.3, "percentage": 75.0},
]


def write(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "file.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_layers_with_their_types(tmp_path: Path) -> None:
    rows = [
        conv("conv1", "Int8", [INT8_MAP]),
        row("pool", "CaskPooling", [INT8_MAP], [INT8_MAP], ParameterType="Pooling"),
    ]
    found = read_layer_info(write(tmp_path, {"Layers": rows, "Bindings": ["images", "output0"]}))
    assert [(layer.name, layer.kind, layer.precision) for layer in found] == [
        ("conv1", "convolution", "int8"),
        ("pool", "pooling", "int8"),
    ]


def test_names_alone_are_layers_of_which_nothing_is_known(tmp_path: Path) -> None:
    (layer,) = read_layer_info(write(tmp_path, {"Layers": ["conv1"], "Bindings": []}))
    assert (layer.name, layer.kind, layer.precision) == ("conv1", "unknown", "unknown")


def test_times_join_what_layers_run_in(tmp_path: Path) -> None:
    layers = [LayerPrecision("conv1", "convolution", "int8"), LayerPrecision("cast", "reformat", "f32")]
    found = layer_times(layers, read_profile(write(tmp_path, PROFILE)))
    assert [(layer.name, layer.precision, layer.time_ms) for layer in found] == [
        ("conv2 + relu2", "unknown", 0.3),
        ("conv1", "int8", 0.1),
        ("cast", "f32", None),
    ]
    assert [layer.share for layer in found] == [pytest.approx(0.75), pytest.approx(0.25), None]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "is not JSON (Expecting property name"),
        ("[" * 100_000, "is not JSON"),
        ([], "is not what trtexec writes with --exportLayerInfo (an object with a list of Layers)"),
        ({"Layers": []}, "an object with a list of Layers"),
        ({"Layers": [{"Name": "conv1"}]}, "Layers with Name, LayerType, Inputs and Outputs"),
        ({"Layers": [{"Name": "a", "LayerType": 3, "Outputs": []}]}, "Layers with Name"),
        ({"Layers": [{"Name": "a", "LayerType": "b", "Outputs": [3]}]}, "Layers with Name"),
        ({"Layers": [7]}, "Layers with Name"),
    ],
)
def test_another_file_than_one_of_layers(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_layer_info(write(tmp_path, value))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [{"count": 3}],
        [{"name": "a"}],
        [{"name": "a", "averageMs": "slow"}],
        [{"name": 3, "averageMs": 1}],
        [None],
    ]
    + ['[{"name": "a", "averageMs": NaN}]', '[{"name": "a", "averageMs": -1}]'],
)
def test_another_file_than_one_of_times(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match="is not what trtexec writes with --exportProfile"):
        read_profile(write(tmp_path, value))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or directory; check the path"):
        read_profile(tmp_path / "none.json")
