"""The operators' bodies against plain dense formulas in float64."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.graph.files import IR_VERSION, OPSET, inline_functions
from edgefsa.graph.functions import function_for
from edgefsa.graph.operators import DOMAIN

RNG = np.random.default_rng


def model_of(name: str, x: np.ndarray, tensors: dict[str, np.ndarray], out_type: int, **attributes) -> onnx.ModelProto:
    node = helper.make_node(name, ["x", *tensors], ["y"], name="op", domain=DOMAIN, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", out_type, None)],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, functions=[function_for(node)], opset_imports=opsets, ir_version=IR_VERSION)


def run_both(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    results = []
    for graph in (model, inline_functions(model)):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, {"x": x.astype(np.float32)})[0])
    np.testing.assert_array_equal(results[0], results[1])
    return results[0]


def dct_rows(count: int, size: int, amplitude_size: int | None = None) -> np.ndarray:
    rows = np.cos(np.pi * np.arange(count)[:, None] * (2 * np.arange(size) + 1) / (2 * size))
    rows *= np.sqrt(2 / (amplitude_size or size))
    rows[0] = np.sqrt(1 / size)
    return rows


def dense_attention(x: np.ndarray, t: dict[str, np.ndarray], mode: str, recurrence: int, scale: float) -> np.ndarray:
    """One image [C, H, W], each pass in space, with the basis as one [T, H W] matrix."""
    basis = np.kron(t["basis_h"], t["basis_w"])
    y = x.reshape(len(x), -1)
    for _ in range(recurrence):
        tokens = y @ basis.T
        query, key, value = (t[f"{kind}_weight"] @ tokens + t[f"{kind}_bias"][:, None] for kind in _KINDS)
        if mode == "dot_product":
            out = value @ (scale * key.T @ query) @ basis
        else:
            query, key, value = query @ basis, key @ basis, value @ basis
            query, key = (item / (np.linalg.norm(item, axis=0) + 1e-12) for item in (query, key))
            total = value.sum(1, keepdims=True) + value @ key.T @ query
            out = total / (1 / scale + key.sum(1) @ query)
        y = y + t["out_weight"] @ out + t["shift"][:, None]
    return y.reshape(x.shape)


_KINDS = ("query", "key", "value")


@pytest.mark.parametrize("mode", ["dot_product", "linsoftmax"])
@pytest.mark.parametrize("recurrence", [1, 3])
@pytest.mark.parametrize("amplitude_size", [None, 9])
def test_attention_is_the_dense_formula(mode: str, recurrence: int, amplitude_size: int | None):
    rng, channels, narrow, height, width = RNG(3), 6, 4, 9, 13
    tensors = {"basis_h": dct_rows(4, height), "basis_w": dct_rows(5, width, amplitude_size)}
    for kind in _KINDS:
        tensors[f"{kind}_weight"] = rng.normal(0, 0.4, (narrow, channels))
        tensors[f"{kind}_bias"] = rng.normal(0, 0.2, narrow)
    tensors["out_weight"] = rng.normal(0, 0.4, (channels, narrow))
    tensors["shift"] = rng.normal(0, 0.2, channels)
    x = rng.normal(0, 1, (2, channels, height, width))
    scale = 1 / (height * width)
    attributes = {"mode": mode, "recurrence": recurrence, "scale": scale}
    y = run_both(model_of("TruncatedDctAttention", x, tensors, TensorProto.FLOAT, **attributes), x)
    expected = np.stack([dense_attention(image, tensors, mode, recurrence, scale) for image in x])
    assert np.abs(expected - x).max() > 0.1
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("radius", [1, 2])
def test_spectral_mask_is_the_filter_in_the_fourier_domain(radius: int):
    from edgefsa.models.frequency import SpectralMask

    rng, channels, height, width = RNG(5), 7, 8, 11
    layer = SpectralMask(channels, radius=radius, lambdas=(0.7, 0.8, 0.9))
    operator = layer.operator(height, width)
    tensors = {key: value.detach().numpy() for key, value in operator.tensors.items()}
    x = rng.normal(0, 1, (2, channels, height, width))
    y = run_both(model_of(operator.name, x, tensors, TensorProto.FLOAT), x)
    rows = np.fft.fftfreq(height, 1 / height)[:, None]
    columns = np.fft.fftfreq(width, 1 / width)[None]
    distance = np.hypot(rows, columns)
    gain = tensors["gain"].astype(np.float64)[:, None, None]
    factor = np.where(distance < radius, gain, 1 - gain)
    factor = np.where(np.isclose(distance, radius), 1 / 3, factor)
    expected = np.fft.ifft2(np.fft.fft2(x) * factor).real
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("low", "large"), [((5, 6), (40, 48)), ((7, 9), (50, 61)), ((6, 4), (6, 4)), ((9, 8), (5, 6))])
def test_upsample_argmax_is_bilinear_interpolation_then_argmax(low: tuple[int, int], large: tuple[int, int]):
    x = RNG(7).normal(0, 1, (2, 11, *low))
    model = model_of("UpsampleArgmax", x, {}, TensorProto.INT32, height=large[0], width=large[1])
    indices = run_both(model, x)
    expected = bilinear(bilinear(x, large[0], 2), large[1], 3)
    top = np.sort(expected, 1)
    clear = top[:, -1] - top[:, -2] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(indices[clear], expected.argmax(1)[clear])


def bilinear(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Pixel centres at i + 0.5, edges repeated: what every framework calls align_corners=False."""
    position = np.clip((np.arange(size) + 0.5) * x.shape[axis] / size - 0.5, 0, x.shape[axis] - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, x.shape[axis] - 1)
    share = (position - before).reshape([-1 if index == axis else 1 for index in range(4)])
    return np.take(x, before, axis) * (1 - share) + np.take(x, after, axis) * share
