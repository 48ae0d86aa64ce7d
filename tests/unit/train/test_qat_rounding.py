"""Forward passes and gradients of the roundings, against NumPy in float64 and against the quantiser's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgefsa.quantize.qdq import int8_weight
from edgefsa.train.qat_rounding import round_activation, round_weight

AMAX = 2.54  # a step of 0.02


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1.5, (2, 3, 7, 5)).astype(np.float32)


def test_activations_are_rounded_to_whole_steps_and_clipped(values):
    rounded = round_activation(torch.from_numpy(values), torch.tensor(np.log(AMAX))).numpy()
    wanted = 0.02 * np.clip(np.rint(values.astype(np.float64) / 0.02), -128, 127)
    assert (np.abs(values) > 2.57).any()
    np.testing.assert_allclose(rounded, wanted, rtol=0, atol=1e-6)


def test_gradients_pass_straight_through_and_reach_the_range(values):
    x = torch.from_numpy(values).requires_grad_()
    log_amax = torch.tensor(float(np.log(AMAX)), requires_grad=True)
    weights = np.random.default_rng(1).normal(size=values.shape)
    (round_activation(x, log_amax) * torch.from_numpy(weights)).sum().backward()
    wide = values.astype(np.float64)
    steps = np.rint(wide / 0.02)
    inside = (steps >= -128) & (steps <= 127)
    np.testing.assert_allclose(x.grad.numpy(), np.where(inside, weights, 0), rtol=1e-6)
    of_each = np.where(inside, 0.02 * steps - wide, 0.02 * np.clip(steps, -128, 127))
    assert log_amax.grad.item() == pytest.approx((weights * of_each).sum(), rel=1e-4)


def test_the_range_gradient_of_clipped_values_is_the_slope():
    x, step = torch.tensor([3.0, -4.0, 9.0]), 1e-3

    def total(log_amax: float) -> float:
        return round_activation(x, torch.tensor(log_amax, dtype=torch.float32)).double().sum().item()

    log_amax = torch.tensor(0.5, requires_grad=True)
    round_activation(x, log_amax).sum().backward()
    assert log_amax.grad.item() == pytest.approx((total(0.5 + step) - total(0.5 - step)) / (2 * step), rel=1e-3)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (5, 1, 7, 1), (4, 9, 2)])
def test_weights_are_those_of_the_quantiser(shape):
    weight = np.random.default_rng(2).normal(0, 0.1, shape).astype(np.float32)
    weight[1] = 0
    values, scale = int8_weight(weight, 0)
    wanted = values * scale.reshape(-1, *[1] * (len(shape) - 1))
    tensor = torch.from_numpy(weight).requires_grad_()
    rounded = round_weight(tensor)
    np.testing.assert_allclose(rounded.detach().numpy(), wanted, rtol=1e-6)
    rounded.sum().backward()
    assert (tensor.grad == 1).all()
