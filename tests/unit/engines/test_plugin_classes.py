"""The plugin classes as TensorRT drives them: fields, shapes, types, formats, workspace, errors, and results.

They are compiled for the host against TensorRT's public headers, with the emulated kernels behind them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgefsa.engines.plugin_library import PLUGINS
from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.models.formulas import spectral_mask, truncated_dct_attention
from tests.kernels.emulation.build import compiler, objects_folder
from tests.unit.engines.plugin_harness.harness import (
    CHW32,
    FIELD_CHAR,
    FIELD_FLOAT32,
    FIELD_INT32,
    FLOAT,
    HALF,
    HWC8,
    INT8,
    INT32,
    LINEAR,
    UINT8,
    Harness,
    Plugin,
    Tensor,
    build_harness,
    include_dirs,
)

ATTENTION = {"mode": "dot_product", "recurrence": 1, "scale": 0.125}
UPSAMPLE = {"height": 9, "width": 14}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "TruncatedDctAttention": ATTENTION,
    "SpectralMask": {},
    "UpsampleArgmax": UPSAMPLE,
}
N, C, H, W, KH, KW, CQ, CV = 2, 10, 6, 7, 3, 4, 2, 5


@pytest.fixture(scope="module", params=include_dirs() or [None], ids=lambda folder: str(folder))
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    if request.param is None:
        pytest.skip("needs TensorRT's public headers; set TENSORRT_INCLUDE_DIR to their folder")
    if compiler() is None:
        pytest.skip("needs g++ to compile the plugins for the host; there is none on the PATH")
    return Harness(build_harness(request.param, objects_folder(tmp_path_factory), tmp_path_factory.mktemp("plugins")))


def tensors_of(name: str, x: Tensor | None = None, batch: int = N) -> list[Tensor]:
    """Give the inputs of the ONNX node and the output."""
    if name == "UpsampleArgmax":
        return [x or Tensor((batch, C, H, W)), Tensor((batch, 9, 14), INT32)]
    x = x or Tensor((batch, C, H, W))
    weights = {
        "TruncatedDctAttention": [(KH, H), (KW, W), (CQ, C), (CQ,), (CQ, C), (CQ,), (CV, C), (CV,), (C, CV), (C,)],
        "SpectralMask": [(C,), (H, 5), (W, 3), (15, 15), (15, 15)],
    }[name]
    return [x, *(Tensor(dims) for dims in weights), x]


def make(harness: Harness, name: str, **changes: Any) -> Plugin:
    plugin = harness.create(name, {**ATTRIBUTES[name], **changes})
    assert plugin is not None, harness.log()
    return plugin


def test_the_creators_are_the_operators_with_their_attributes(harness: Harness) -> None:
    creators = {item.name: item for item in harness.creators()}
    assert {(item.name, item.version, item.namespace) for item in creators.values()} == {
        (name, version, "") for name, version in PLUGINS.items()
    }
    scales = {"x_scale": FIELD_FLOAT32, "y_scale": FIELD_FLOAT32}
    attention = {"mode": FIELD_CHAR, "recurrence": FIELD_INT32, "scale": FIELD_FLOAT32}
    assert creators["TruncatedDctAttention"].fields == attention | scales
    assert creators["SpectralMask"].fields == scales
    assert creators["UpsampleArgmax"].fields == {"height": FIELD_INT32, "width": FIELD_INT32}


@pytest.mark.parametrize("name", ["TruncatedDctAttention", "SpectralMask"])
def test_a_map_keeps_its_shape_and_type_and_any_batch(harness: Harness, name: str) -> None:
    plugin = make(harness, name)
    inputs = tensors_of(name, Tensor((-1, C, H, W)))[:-1]
    assert plugin.output_shape(inputs) == (-1, C, H, W)
    for kind in (FLOAT, HALF, INT8):
        assert plugin.output_type([kind, *[FLOAT] * (len(inputs) - 1)]) == kind
    assert harness.log() == ""


def test_the_mask_has_the_given_size_any_batch_and_int32(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    assert plugin.output_shape([Tensor((-7, C, H, W))]) == (-7, 9, 14)
    assert plugin.output_type([HALF]) == INT32
    assert plugin.output_shape([Tensor((C, H, W))]) is None
    assert "logits have 3 dimensions and not 4" in harness.log()


@pytest.mark.parametrize("name", ["TruncatedDctAttention", "SpectralMask"])
def test_formats_of_a_map(harness: Harness, name: str) -> None:
    plain, scaled = make(harness, name), make(harness, name, x_scale=0.5, y_scale=0.25)
    dims = (N, C, H, W)

    def accepts(plugin: Plugin, x: Tensor) -> bool:
        tensors = tensors_of(name, x)
        return all(plugin.supports(position, tensors) for position in range(len(tensors)))

    wanted = {(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)}
    for kind in (FLOAT, HALF, INT8, INT32, UINT8):
        for layout in (LINEAR, HWC8, CHW32):
            assert accepts(plain, Tensor(dims, kind, layout)) == ((kind, layout) in wanted), (kind, layout)
            known = wanted | {(INT8, LINEAR)}
            assert accepts(scaled, Tensor(dims, kind, layout)) == ((kind, layout) in known), (kind, layout)
    # TensorRT 10 may bring the scale itself.
    assert accepts(plain, Tensor(dims, INT8, LINEAR, 0.1))
    tensors = tensors_of(name, Tensor(dims, HALF))
    assert not plain.supports(1, [tensors[0], Tensor(tensors[1].dims, HALF), *tensors[2:]])
    assert not plain.supports(len(tensors) - 1, [*tensors[:-1], Tensor(dims, FLOAT)])
    assert not plain.supports(len(tensors) - 1, [*tensors[:-1], Tensor(dims, HALF, HWC8)])


def test_formats_of_logits(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    mask = Tensor((N, 9, 14), INT32)
    for kind in (FLOAT, HALF, INT8):
        for layout in (LINEAR, HWC8, CHW32):
            logits = Tensor((N, C, H, W), kind, layout)
            wanted = (kind, layout) in {(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)}
            assert plugin.supports(0, [logits, mask]) == wanted, (kind, layout)
    assert plugin.supports(1, [Tensor((N, C, H, W)), mask])
    assert not plugin.supports(1, [Tensor((N, C, H, W)), Tensor((N, 9, 14), FLOAT)])


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_shapes_that_belong_together_are_taken_and_others_are_told(harness: Harness, name: str) -> None:
    plugin = make(harness, name)
    tensors = tensors_of(name)
    assert plugin.configure(tensors) == 0 and plugin.shape_change(tensors) == 0
    assert harness.log() == ""
    for position, tensor in enumerate(tensors[1:], start=1):
        wrong = Tensor((*tensor.dims[:-1], tensor.dims[-1] + 1), tensor.type)
        assert plugin.shape_change([*tensors[:position], wrong, *tensors[position + 1 :]]) != 0
        message = harness.log()
        assert message.startswith(f"edgefsa {name}: ") and "export the model again" in message


def test_more_frequencies_than_the_kernels_have_are_told(harness: Harness) -> None:
    tensors = tensors_of("TruncatedDctAttention", Tensor((N, C, 40, W)))
    tensors[1] = Tensor((33, 40))
    assert make(harness, "TruncatedDctAttention").configure(tensors) != 0
    assert "at most 32 frequencies a side, not 33 x 4" in harness.log()


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("TruncatedDctAttention", {"recurrence": 1, "scale": 1.0}, "the attribute mode is missing"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": "softmax"}, 'mode is "softmax"; it can be dot_product or lins'),
        ("TruncatedDctAttention", {**ATTENTION, "recurrence": 0}, "recurrence is 0"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": "linsoftmax", "recurrence": 17}, "at most 16"),
        ("TruncatedDctAttention", {**ATTENTION, "scale": 1}, "scale has to be one float"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": 3}, "mode has to be a text"),
        ("SpectralMask", {"x_scale": "wide"}, "x_scale has to be one float"),
        ("UpsampleArgmax", {"height": 0, "width": 4}, "are 0 and 4"),
        ("UpsampleArgmax", {"height": 4}, "the attribute width is missing"),
        ("UpsampleArgmax", {"height": 4.5, "width": 4}, "height has to be one integer"),
        ("UpsampleArgmax", {"height": (1 << 32) + 4, "width": 4}, "height has to be one integer of 32 bits"),
    ],
)
def test_attributes_that_cannot_be_are_logged_and_give_no_plugin(
    harness: Harness, name: str, attributes: dict[str, Any], message: str
) -> None:
    assert harness.create(name, attributes) is None
    logged = harness.log()
    assert logged.startswith(f"edgefsa {name}: ") and message in logged and logged.count("\n") == 1


def test_a_wrong_number_of_tensors_is_told(harness: Harness) -> None:
    plugin = make(harness, "SpectralMask")
    assert plugin.shape_change(tensors_of("UpsampleArgmax")) != 0
    assert "takes 6 inputs and gives 1 output, not 1 and 1" in harness.log()


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_clones_and_saved_plugins_are_like_the_first(harness: Harness, name: str) -> None:
    changes: dict[str, Any] = {}
    if name == "TruncatedDctAttention":
        changes = {"mode": "linsoftmax", "recurrence": 3}
    first = make(harness, name, **changes)
    tensors, identity = tensors_of(name), first.timing_cache_id()
    size = first.workspace_bytes(tensors)
    for other in (first.clone(), first.attach(), first.round_trip(), first.round_trip().clone().round_trip()):
        assert (other.name(), other.timing_cache_id()) == (name, identity)
        assert other.workspace_bytes(tensors) == size
        assert other.shape_change(tensors) == 0
        other.destroy()
    first.destroy()
    assert harness.log() == ""


def test_the_timing_cache_tells_settings_apart(harness: Harness) -> None:
    ids = [make(harness, "TruncatedDctAttention", recurrence=recurrence).timing_cache_id() for recurrence in (1, 2)]
    ids += [make(harness, "UpsampleArgmax", height=height).timing_cache_id() for height in (1, 2)]
    assert len(set(ids)) == 4


def attention_case(form: str, mode: str, recurrence: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    layer = FrequencySelfAttention(C, k=(0, KH, 0, KW), mode=mode, recurrence=recurrence, form=form).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    operator = layer.operator(H, W)
    return operator.attributes, operator.tensors


def half_rounded(array: np.ndarray, kind: int) -> np.ndarray:
    return array.astype(np.float16 if kind == HALF else np.float32)


def hwc8(array: np.ndarray) -> np.ndarray:
    """Lay [N, C, H, W] out as [N, H, W, C padded to 8]."""
    padded = np.zeros((array.shape[0], -(-array.shape[1] // 8) * 8, *array.shape[2:]), array.dtype)
    padded[:, : array.shape[1]] = array
    return np.ascontiguousarray(padded.transpose(0, 2, 3, 1))


def relative_l2(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def run_map(
    harness: Harness,
    name: str,
    attributes: dict[str, Any],
    x: np.ndarray,
    weights: dict[str, torch.Tensor],
    kind: int,
    layout: int,
) -> np.ndarray:
    plugin = make(harness, name, **attributes)
    plugin = plugin.round_trip()
    given = hwc8(x) if layout == HWC8 else x
    arrays = [given, *(tensor.numpy().astype(np.float32) for tensor in weights.values())]
    description = Tensor(x.shape, kind, layout)
    tensors = [description, *(Tensor(tuple(tensor.shape)) for tensor in weights.values()), description]
    y = np.zeros_like(given)
    assert plugin.shape_change(tensors) == 0 and plugin.enqueue(tensors, arrays, y) == 0, harness.log()
    return y.transpose(0, 3, 1, 2)[:, : x.shape[1]] if layout == HWC8 else y


@pytest.mark.parametrize(("kind", "layout"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
@pytest.mark.parametrize(
    ("form", "mode", "recurrence"),
    [("ccnet", "dot_product", 1), ("mmseg", "dot_product", 2), ("mmseg", "linsoftmax", 1)],
)
def test_the_attention_plugin_computes_the_operator(
    harness: Harness, form: str, mode: str, recurrence: int, kind: int, layout: int
) -> None:
    attributes, weights = attention_case(form, mode, recurrence)
    x = half_rounded(np.random.default_rng(0).standard_normal((N, C, H, W)), kind)
    wide = {name: tensor.double() for name, tensor in weights.items()}
    wanted = truncated_dct_attention(torch.from_numpy(x).double(), **wide, **attributes).numpy()
    found = run_map(harness, "TruncatedDctAttention", attributes, x, weights, kind, layout)
    assert relative_l2(found.astype(np.float64), wanted) < (2e-3 if kind == HALF else 1e-5)


@pytest.mark.parametrize(("kind", "layout"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
def test_the_mask_plugin_computes_the_operator(harness: Harness, kind: int, layout: int) -> None:
    weights = SpectralMask(C, radius=2).operator(H, W).tensors
    x = half_rounded(np.random.default_rng(0).standard_normal((N, C, H, W)), kind)
    wide = {name: tensor.double() for name, tensor in weights.items()}
    wanted = spectral_mask(torch.from_numpy(x).double(), **wide).numpy()
    found = run_map(harness, "SpectralMask", {}, x, weights, kind, layout)
    assert relative_l2(found.astype(np.float64), wanted) < (2e-3 if kind == HALF else 1e-5)


def test_an_int8_map_uses_the_scales_of_the_node(harness: Harness) -> None:
    weights = SpectralMask(C, radius=1).operator(H, W).tensors
    stored = np.random.default_rng(0).integers(-127, 128, (N, C, H, W)).astype(np.int8)
    x_scale, y_scale = 0.03, 0.05
    wide = {name: tensor.double() for name, tensor in weights.items()}
    wanted = spectral_mask(torch.from_numpy(stored).double() * x_scale, **wide).numpy()
    found = run_map(harness, "SpectralMask", {"x_scale": x_scale, "y_scale": y_scale}, stored, weights, INT8, LINEAR)
    assert np.abs(found * y_scale - np.clip(wanted, -128 * y_scale, 127 * y_scale)).max() <= 0.501 * y_scale


@pytest.mark.parametrize(("kind", "layout"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
def test_the_upsampling_plugin_computes_the_operator(harness: Harness, kind: int, layout: int) -> None:
    logits = half_rounded(np.random.default_rng(1).standard_normal((N, C, H, W)), kind)
    size = (UPSAMPLE["height"], UPSAMPLE["width"])
    large = torch.nn.functional.interpolate(torch.from_numpy(logits).double(), size, mode="bilinear")
    given = hwc8(logits) if layout == HWC8 else logits
    tensors = [Tensor(logits.shape, kind, layout), Tensor((N, *size), INT32)]
    found = np.full((N, *size), -1, np.int32)
    plugin = make(harness, "UpsampleArgmax").round_trip()
    assert plugin.enqueue(tensors, [given], found) == 0, harness.log()
    np.testing.assert_array_equal(found, large.argmax(1).numpy())


def test_a_launch_that_fails_is_logged_and_told(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    tensors = [Tensor((0, C, H, W)), Tensor((0, 9, 14), INT32)]
    negative = [Tensor((N, C, -1, W)), tensors[1]]
    assert plugin.enqueue(negative, [np.zeros(1, np.float32)], np.zeros(1, np.int32)) != 0
    assert "is unknown or too large" in harness.log()
