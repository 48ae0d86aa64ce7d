"""The truncated DCT's kernels, the operator's first step, on the host against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.conftest import Emulate
from tests.kernels.emulation.run import Device, EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, HWC8, INT8, LINEAR, relative_l2, to_format
from tests.kernels.truncated_dct_attention import (
    DCT,
    DTYPES,
    Array,
    Case,
    settings_of,
    tensors_of,
    token_stride,
)

CASES = [
    Case((1, 3, 130, 32), (8, 8)),  # more rows than a block takes at once, in two blocks
    Case((1, 1, 5, 520), (3, 8)),  # a basis that is staged in parts
    Case((3, 2, 7, 20), (4, 9)),
    Case((1, 65, 4, 6), (1, 5), largest=1e4),
    Case((1, 2, 33, 15), (32, 32)),
    Case((1, 1, 1, 1), (1, 1)),
]
KINDS = [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8), (INT8, LINEAR)]


def transformed(tensors: dict[str, Array]) -> Array:
    x, basis_h, basis_w = (tensors[name].astype(np.float64) for name in ("x", "basis_h", "basis_w"))
    with np.errstate(invalid="ignore"):
        tokens: Array = np.einsum("ih,nchw,jw->ncij", basis_h, x, basis_w)
    return tokens.reshape(*x.shape[:2], -1)


def run(
    operator: EmulatedOperator,
    tensors: dict[str, Array],
    kind: int = FLOAT,
    form: int = LINEAR,
    device: Device | None = None,
) -> Array:
    stored = to_format(tensors["x"].astype(DTYPES[kind]), form)
    inputs = {"x": stored, "basis_h": tensors["basis_h"], "basis_w": tensors["basis_w"]}
    settings = settings_of(tensors, kind, form) | {"x_scale": 0.5}
    shape = (*tensors["x"].shape[:2], token_stride(settings["kh"], settings["kw"]))
    got = operator.run(inputs, {"coefficients": (shape, np.float32)}, settings, device)["coefficients"]
    return got[..., : settings["kh"] * settings["kw"]]


@pytest.mark.parametrize(("kind", "form"), KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_coefficients(emulate: Emulate, case: Case, kind: int, form: int) -> None:
    case = Case(case.shape, case.k, largest=80) if kind == INT8 else case
    tensors = tensors_of(case, kind)
    expected = transformed(tensors) * (0.5 if kind == INT8 else 1)
    assert relative_l2(run(emulate(DCT), tensors, kind, form), expected) < 1e-5


@pytest.mark.parametrize("kind", [FLOAT, HALF, INT8])
def test_more_rows_than_a_block_can_hold_the_sums_of(emulate: Emulate, kind: int) -> None:
    operator, tensors = emulate(DCT), tensors_of(Case((1, 3, 850, 3), (2, 3)), kind)
    found = run(operator, tensors, kind, device=Device(multiprocessors=1))
    assert relative_l2(found, transformed(tensors) * (0.5 if kind == INT8 else 1)) < 1e-5
    assert operator.blocks[0] == 6  # 848 are the most: two for each plane


@pytest.mark.parametrize(("kw", "multiprocessors", "blocks"), [(8, 1, 2), (8, 4, 8), (9, 4, 6), (9, 100, 16)])
def test_channels_last_rows_are_spread_over_the_multiprocessors(
    emulate: Emulate, kw: int, multiprocessors: int, blocks: int
) -> None:
    operator, tensors = emulate(DCT), tensors_of(Case((1, 3, 16, 70), (1, kw)), HALF)
    found = run(operator, tensors, HALF, HWC8, Device(multiprocessors=multiprocessors))
    assert relative_l2(found, transformed(tensors)) < 1e-5
    assert operator.workspace_bytes == 16 * 3 * token_stride(1, kw) * 4
    assert operator.blocks[0] == blocks


@pytest.mark.parametrize("form", [LINEAR, HWC8])
def test_halves_keep_the_precision_of_a_float_basis(emulate: Emulate, form: int) -> None:
    tensors = tensors_of(Case((1, 8, 5, 33), (4, 8)), HALF)
    tensors["basis_w"] = np.random.default_rng(1).standard_normal((8, 33)).astype(np.float32)
    assert relative_l2(run(emulate(DCT), tensors, HALF, form), transformed(tensors)) < 1e-6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("kind", "form"), KINDS[:3])
def test_a_value_that_is_not_finite_reaches_its_own_plane_as_the_formula_says(
    emulate: Emulate, value: float, kind: int, form: int
) -> None:
    tensors = tensors_of(Case((2, 9, 5, 9), (3, 4)), kind)  # with an odd width, some values of the basis are near 0
    tensors["x"][1, 2, 3, 4] = value
    got, expected = run(emulate(DCT), tensors, kind, form), transformed(tensors)
    assert np.isfinite(expected).sum() == expected.size - 12
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.sign(got[1, 2]), np.sign(expected[1, 2]))
