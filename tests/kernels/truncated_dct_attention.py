"""The operator TruncatedDctAttention for tests: how to run its kernels, and what they compute, in float64.

The formula here is another one than the kernels': every pass goes back to space and attends among the pixels of the
filtered maps, as the paper says it, where the kernels stay among the coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import Device, EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, INT8, LINEAR, from_format, to_format

FOLDER = "truncated_dct_attention"
WEIGHTS = (
    *("query_weight", "query_bias", "key_weight", "key_bias", "value_weight", "value_bias"),
    *("out_weight", "shift"),
)
SIZES = ("batch", "channels", "height", "width", "kh", "kw")
DCT_SOURCES = (
    *("checks.cpp", "truncated_dct.cu", "truncated_dct_halves.cu", "truncated_dct_floats.cu"),
    "truncated_dct_hwc.cu",
)
DCT = Operator(
    "TruncatedDct",
    FOLDER,
    "truncated_dct_attention.h",
    DCT_SOURCES,
    ("x", "coefficients", "basis_h", "basis_w"),
    ("type", "format", *SIZES),
    ("x_scale",),
    workspace="truncatedDctWorkspaceBytes",
)
SOURCES = (
    *DCT_SOURCES,
    *("inverse_dct.cu", "inverse_dct_linear.cu", "inverse_dct_hwc.cu", "coefficient_attention.cu"),
    *("linear_softmax.cu", "pixel_maps.cu", "token_steps.cu", "truncated_dct_attention.cu"),
)
ATTENTION = Operator(
    "TruncatedDctAttention",
    FOLDER,
    "truncated_dct_attention.h",
    SOURCES,
    ("x", "y", "basis_h", "basis_w", *WEIGHTS),
    ("type", "format", *SIZES, "query_channels", "value_channels", "mode", "recurrence"),
    ("x_scale", "y_scale", "scale"),
    workspace="truncatedDctAttentionWorkspaceBytes",
    overlaps=True,
)
INVERSE_SOURCES = ("checks.cpp", "inverse_dct.cu", "inverse_dct_linear.cu", "inverse_dct_hwc.cu")
INVERSE_DCT = Operator(
    "InverseDct",
    FOLDER,
    "truncated_dct_attention.h",
    INVERSE_SOURCES,
    ("x", "y", "change", "basis_h", "basis_w", "shift"),
    ("type", "format", *SIZES),
    ("x_scale", "y_scale", "shift_gain"),
)
COEFFICIENT_ATTENTION = Operator(
    "CoefficientAttention",
    FOLDER,
    "truncated_dct_attention.h",
    SOURCES,
    ("coefficients", "change", *(f"op.{name}" for name in ("basis_h", "basis_w", *WEIGHTS))),
    tuple(f"op.{name}" for name in ATTENTION.integers),
    tuple(f"op.{name}" for name in ATTENTION.floats),
    workspace="coefficientAttentionWorkspaceBytes",
)
DOT_PRODUCT, LINSOFTMAX = 0, 1  # AttentionMode
DTYPES = {FLOAT: np.float32, HALF: np.float16, INT8: np.int8}
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Shape (N, C, H, W), kept coefficients (kh, kw), channels of queries and values, largest value."""

    shape: tuple[int, int, int, int]
    k: tuple[int, int]
    inner: tuple[int, int] = (3, 5)
    recurrence: int = 1
    largest: float = 3.0


def token_stride(kh: int, kw: int) -> int:
    """Elements from one channel's coefficients to the next's."""
    return (kh * kw + 4) // 4 * 4


def basis_of(length: int, rows: int) -> Array:
    """Return the first rows of the orthonormal DCT-II [rows, length], float32; from `length` on they are zero."""
    index = np.arange(rows)[:, None]
    basis = np.cos(np.pi * index * (np.arange(length) + 0.5) / length) * np.sqrt(np.where(index == 0, 1, 2) / length)
    return np.where(index < length, basis, 0).astype(np.float32)


def tensors_of(case: Case, kind: int = FLOAT, seed: int = 0) -> dict[str, Array]:
    """Make x, of values that type `kind` holds, and the node's other inputs, float32.

    The weights are so that the change is about as large as x, whatever its scale.
    """
    random = np.random.default_rng(seed)
    _, channels, height, width = case.shape
    query_channels, value_channels = case.inner
    basis_h, basis_w = basis_of(height, case.k[0]), basis_of(width, case.k[1])
    x = random.uniform(-case.largest, case.largest, case.shape) + case.largest / 3
    weights = {
        "query_weight": random.standard_normal((query_channels, channels)) / (case.largest * channels**0.5),
        "key_weight": random.standard_normal((query_channels, channels)) / (case.largest * channels**0.5),
        "value_weight": random.standard_normal((value_channels, channels)) / channels**0.5,
        "out_weight": random.standard_normal((channels, value_channels)) / value_channels**0.5,
        "query_bias": 0.1 * random.standard_normal(query_channels),
        "key_bias": 0.1 * random.standard_normal(query_channels),
        "value_bias": 0.1 * case.largest * random.standard_normal(value_channels),
        "shift": 0.3 * case.largest * random.standard_normal(channels),
    }
    x = np.rint(x) if kind == INT8 else x.astype(DTYPES[kind])
    made = {"x": x, "basis_h": basis_h, "basis_w": basis_w, **weights}
    return {name: value.astype(np.float32) for name, value in made.items()}


def formula(tensors: dict[str, Array], mode: int, recurrence: int, scale: float) -> Array:
    """Return y in float64, by way of space."""
    wide = {name: value.astype(np.float64) for name, value in tensors.items()}
    y = wide["x"]
    dense = np.einsum("ih,jw->ijhw", wide["basis_h"], wide["basis_w"])
    dense = dense.reshape(-1, y.shape[2] * y.shape[3])  # [T, H W]
    for _ in range(recurrence):
        flat = y.reshape(*y.shape[:2], -1)
        tokens = flat @ dense.T
        query, key, value = (
            wide[f"{name}_weight"] @ tokens + wide[f"{name}_bias"][:, None] for name in ("query", "key", "value")
        )
        if mode == DOT_PRODUCT:
            update = value @ (scale * key.swapaxes(1, 2) @ query) @ dense
        else:
            update = _linear_softmax(query @ dense, key @ dense, value @ dense, scale)
        flat = flat + wide["out_weight"] @ update + wide["shift"][:, None]
        y = flat.reshape(y.shape)
    return y


def _linear_softmax(query: Array, key: Array, value: Array, scale: float) -> Array:
    """Attend among pixels [N, channels, H W] by 1 + the cosine of query and key (Katharopoulos's order of products)."""
    query, key = (part / (np.linalg.norm(part, axis=1, keepdims=True) + 1e-12) for part in (query, key))
    weighed = (value @ key.swapaxes(1, 2)) @ query + value.sum(2, keepdims=True)
    mass = key.sum(2, keepdims=True).swapaxes(1, 2) @ query
    update: Array = weighed / (1 / scale + mass)
    return update


def settings_of(tensors: dict[str, Array], kind: int, form: int) -> dict[str, Any]:
    """Return the fields that every step has."""
    sizes = dict(zip(SIZES, (*tensors["x"].shape, len(tensors["basis_h"]), len(tensors["basis_w"])), strict=True))
    return {"type": kind, "format": form, "x_scale": 1.0, **sizes}


def run_attention(
    operator: EmulatedOperator,
    tensors: dict[str, Array],
    kind: int = FLOAT,
    form: int = LINEAR,
    device: Device | None = None,
    **values: float,
) -> Array:
    """Run the operator on x, stored as type `kind` in format `form`; return y [N, C, H, W].

    Without an out_weight that is a null pointer, so it has to be folded into the values.
    """
    stored = to_format(tensors["x"].astype(DTYPES[kind]), form)
    settings = settings_of(tensors, kind, form) | attributes_of(tensors) | values
    inputs = {"out_weight": None, **tensors, "x": stored}
    outputs = operator.run(inputs, {"y": (stored.shape, stored.dtype)}, settings, device)
    y: Array = from_format(outputs["y"], form, tensors["x"].shape[1])
    return y


def attributes_of(tensors: dict[str, Array]) -> dict[str, Any]:
    """The fields of the whole operator, for one pass of dot products."""
    inner = {"query_channels": len(tensors["query_weight"]), "value_channels": len(tensors["value_weight"])}
    size = tensors["x"].shape[2] * tensors["x"].shape[3]
    return {**inner, "mode": DOT_PRODUCT, "recurrence": 1, "y_scale": 1.0, "scale": 1 / size}


def attend_coefficients(operator: EmulatedOperator, tensors: dict[str, Array], recurrence: int) -> tuple[Array, Array]:
    """Run step 2 alone, for dot products; return its change of the coefficients and, in float64, the formula's."""
    basis_h, basis_w = (tensors[name].astype(np.float64) for name in ("basis_h", "basis_w"))
    kh, kw = len(basis_h), len(basis_w)
    count = kh * kw
    tokens = np.einsum("ih,nchw,jw->ncij", basis_h, tensors["x"], basis_w).reshape(*tensors["x"].shape[:2], count)
    settings = {**settings_of(tensors, FLOAT, LINEAR), **attributes_of(tensors), "recurrence": recurrence}
    coefficients = np.zeros((*tokens.shape[:2], token_stride(kh, kw)), np.float32)
    coefficients[..., :count] = tokens
    inputs = {f"op.{name}": tensors[name] for name in ("basis_h", "basis_w", *WEIGHTS)}
    outputs = operator.run(
        {"coefficients": coefficients, **inputs},
        {"change": (coefficients.shape, np.float32)},
        {f"op.{name}": value for name, value in settings.items()},
    )
    y = formula(tensors, DOT_PRODUCT, recurrence, settings["scale"])
    change = y - tensors["x"] - recurrence * tensors["shift"].astype(np.float64)[:, None, None]
    expected = np.einsum("ih,nchw,jw->ncij", basis_h, change, basis_w).reshape(tokens.shape)
    return outputs["change"][..., :count], expected
