"""TruncatedDctAttention's kernels on the host against the formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.kernels.conftest import Emulate
from tests.kernels.emulation.run import Device
from tests.kernels.tensors import FLOAT, HALF, HWC8, INT8, LINEAR, relative_l2
from tests.kernels.truncated_dct_attention import (
    ATTENTION,
    DOT_PRODUCT,
    LINSOFTMAX,
    TOLERANCE,
    Case,
    formula,
    run_attention,
    tensors_of,
)

KINDS = [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)]
DOT_PRODUCT_CASES = [
    Case((1, 3, 16, 32), (8, 8)),
    Case((3, 1, 5, 7), (5, 5), (2, 1)),
    Case((1, 19, 13, 12), (8, 5), (2, 19), largest=1e4),
    Case((1, 65, 3, 9), (1, 1), (17, 33)),
    Case((1, 2, 17, 24), (5, 16), recurrence=3),
    Case((1, 1, 1, 31), (1, 8), recurrence=2),
    Case((1, 1, 29, 1), (16, 1)),
    Case((1, 1, 34, 36), (32, 17), (1, 1)),
]
LINSOFTMAX_CASES = [
    Case((1, 3, 8, 16), (8, 8), recurrence=2),
    Case((3, 1, 5, 7), (5, 5), (2, 1), recurrence=3),
    Case((1, 19, 11, 12), (3, 5), (2, 19), largest=1e4),
    Case((1, 9, 7, 9), (1, 1), (65, 3)),
    Case((1, 2, 9, 18), (2, 17), (2, 2), recurrence=2),
]
# Larger than a block takes of the inverse transform: several blocks along rows and columns.
TILED_CASES = [
    (Case((1, 1, 130, 600), (8, 8)), HALF, LINEAR),
    (Case((1, 1, 70, 300), (5, 32)), HALF, LINEAR),
    (Case((1, 1, 66, 260), (3, 17)), FLOAT, LINEAR),
    (Case((1, 1, 3, 300), (2, 32)), HALF, HWC8),
]


def check(emulate: Emulate, case: Case, kind: int, form: int, mode: int) -> None:
    tensors = tensors_of(case, kind)
    scale = 1 / (case.shape[2] * case.shape[3])
    y = run_attention(emulate(ATTENTION), tensors, kind, form, mode=mode, recurrence=case.recurrence, scale=scale)
    expected = formula(tensors, mode, case.recurrence, scale)
    assert relative_l2(y, expected) < TOLERANCE[kind]
    # The residual alone would pass a loose tolerance: the change itself must be right too.
    change = expected - tensors["x"]
    assert np.linalg.norm(change) > 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize(("kind", "form"), KINDS)
@pytest.mark.parametrize("case", DOT_PRODUCT_CASES, ids=str)
def test_dot_products(emulate: Emulate, case: Case, kind: int, form: int) -> None:
    check(emulate, case, kind, form, DOT_PRODUCT)


@pytest.mark.parametrize(("kind", "form"), KINDS)
@pytest.mark.parametrize("case", LINSOFTMAX_CASES, ids=str)
def test_linear_softmax(emulate: Emulate, case: Case, kind: int, form: int) -> None:
    check(emulate, case, kind, form, LINSOFTMAX)


@pytest.mark.parametrize(("case", "kind", "form"), TILED_CASES, ids=str)
def test_maps_larger_than_a_block(emulate: Emulate, case: Case, kind: int, form: int) -> None:
    check(emulate, case, kind, form, DOT_PRODUCT)


@pytest.mark.parametrize("mode", [DOT_PRODUCT, LINSOFTMAX])
def test_an_out_weight_that_was_folded_into_the_values(emulate: Emulate, mode: int) -> None:
    tensors = tensors_of(Case((2, 19, 9, 12), (3, 5), (2, 7)))
    out, weight, bias = (tensors[name].astype(np.float64) for name in ("out_weight", "value_weight", "value_bias"))
    given = {
        **tensors,
        "value_weight": (out @ weight).astype(np.float32),
        "value_bias": (out @ bias).astype(np.float32),
    }
    del given["out_weight"]
    y = run_attention(emulate(ATTENTION), given, mode=mode, recurrence=2)
    assert relative_l2(y, formula(tensors, mode, 2, 1 / (9 * 12))) < TOLERANCE[FLOAT]


@pytest.mark.parametrize(("mode", "launches"), [(DOT_PRODUCT, 5), (LINSOFTMAX, 11)])
def test_one_pass_takes_few_launches_and_all_but_the_first_may_overlap(
    emulate: Emulate, mode: int, launches: int
) -> None:
    operator = emulate(ATTENTION)
    run_attention(operator, tensors_of(Case((1, 2, 8, 16), (4, 4))), mode=mode)
    assert (operator.launches, operator.overlapping) == (launches, launches - 1)


def test_launches_do_not_overlap_before_capability_9_and_where_that_is_switched_off(emulate: Emulate) -> None:
    operator, tensors = emulate(ATTENTION), tensors_of(Case((1, 2, 8, 16), (4, 4)))
    run_attention(operator, tensors, device=Device(capability=89))
    assert operator.overlapping == 0
    operator.allow_overlapping_launches(False)
    run_attention(operator, tensors)
    operator.allow_overlapping_launches(True)
    assert operator.overlapping == 0


@pytest.mark.parametrize("mode", ["dot_product", "linsoftmax"])
def test_what_a_model_computes(emulate: Emulate, mode: Any) -> None:
    torch = pytest.importorskip("torch")
    from edgefsa.models import FrequencySelfAttention

    torch.manual_seed(0)
    layer = FrequencySelfAttention(16, k=(0, 4, 0, 6), mode=mode, recurrence=2).eval()
    with torch.no_grad():
        layer.gain.fill_(0.7)
        x = torch.randn(2, 16, 9, 14)
        expected = layer(x).numpy()
    node = layer.operator(9, 14)
    tensors = {name: value.detach().numpy().astype(np.float32) for name, value in node.tensors.items()}
    scale = float(node.attributes["scale"])
    inputs = {"x": x.numpy(), **tensors}
    y = run_attention(emulate(ATTENTION), inputs, mode=int(mode == "linsoftmax"), recurrence=2, scale=scale)
    assert relative_l2(y, expected) < 1e-5


@pytest.mark.parametrize("mode", [DOT_PRODUCT, LINSOFTMAX])
@pytest.mark.parametrize(
    ("shape", "k"),
    [((2, 3, 9, 16), (5, 5)), ((1, 2, 7, 12), (5, 16)), ((1, 3, 5, 11), (5, 5)), ((1, 1, 66, 144), (2, 17))],
    ids=str,
)
def test_int8_rounds_the_formula(
    emulate: Emulate, shape: tuple[int, int, int, int], k: tuple[int, int], mode: int
) -> None:
    tensors = tensors_of(Case(shape, k, largest=80), INT8)
    x_scale, y_scale = 0.03, 0.025
    real = {**tensors, "x": x_scale * tensors["x"]}
    scale = 1 / (shape[2] * shape[3])
    y = run_attention(emulate(ATTENTION), tensors, INT8, mode=mode, scale=scale, x_scale=x_scale, y_scale=y_scale)
    expected = formula(real, mode, 1, scale) / y_scale
    assert np.abs(expected).max() > 128, "nothing is saturated"
    assert np.abs(np.clip(expected, -128, 127) - y).max() < 0.5 + 1e-2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_a_value_that_is_not_finite_spoils_its_own_sample_only(
    emulate: Emulate, value: float, kind: int, form: int
) -> None:
    tensors = tensors_of(Case((2, 9, 6, 8), (3, 4)), kind)
    tensors["x"][1, 2, 3, 4] = value
    with np.errstate(invalid="ignore"):
        expected = formula(tensors, DOT_PRODUCT, 1, 1 / 48)
    y = run_attention(emulate(ATTENTION), tensors, kind, form)
    assert np.isnan(expected[1]).all()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert relative_l2(y[0], expected[0]) < TOLERANCE[kind]


def test_halves_overflow_to_infinity(emulate: Emulate) -> None:
    tensors = tensors_of(Case((1, 2, 8, 16), (2, 2), largest=4e4), HALF)
    tensors["shift"][:] = 6e4
    expected = formula(tensors, DOT_PRODUCT, 1, 1 / 128)
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float16)
    assert np.isinf(expected).any()
    np.testing.assert_array_equal(np.isinf(run_attention(emulate(ATTENTION), tensors, HALF)), np.isinf(expected))
