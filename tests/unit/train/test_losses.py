"""The losses against their formulas in float64 NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgefsa.train.losses import (
    SegmentationLoss,
    dice_loss,
    lovasz_softmax,
    ohem_cross_entropy,
    weighted_cross_entropy,
)

IGNORE = 11


def case(seed=0, classes=4, size=(2, 5, 6)):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size[0], classes, *size[1:])) * 2
    labels = rng.integers(0, classes, size=size)
    labels[rng.random(size) < 0.2] = IGNORE
    return logits, labels


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_cross_entropy_is_the_weighted_mean_over_counted_pixels():
    logits, labels = case()
    weights = np.array([0.5, 1.0, 2.0, 4.0])
    probabilities = softmax(logits)
    total = norm = 0.0
    for n, y, x in np.argwhere(labels != IGNORE):
        label = labels[n, y, x]
        total -= weights[label] * np.log(probabilities[n, label, y, x])
        norm += weights[label]
    got = weighted_cross_entropy(torch.tensor(logits), torch.tensor(labels), torch.tensor(weights), IGNORE)
    assert float(got) == pytest.approx(total / norm, rel=1e-12)


def lovasz_by_sets(logits, labels):
    """The Lovasz extension by its definition: the gain of the set loss when pixels join in order of error."""
    probabilities = np.moveaxis(softmax(logits), 1, -1)[labels != IGNORE]
    truth = labels[labels != IGNORE]
    losses = []
    for index in np.unique(truth):
        foreground = truth == index
        errors = np.abs(foreground - probabilities[:, index])
        wrong, before, loss = np.zeros(len(truth), bool), 0.0, 0.0
        for pixel in np.argsort(-errors):
            wrong[pixel] = True
            predicted = foreground ^ wrong
            jaccard_loss = 1 - (foreground & predicted).sum() / (foreground | predicted).sum()
            loss += errors[pixel] * (jaccard_loss - before)
            before = jaccard_loss
        losses.append(loss)
    return np.mean(losses)


@pytest.mark.parametrize("seed", [0, 1])
def test_lovasz_is_the_extension_of_the_jaccard_loss(seed):
    logits, labels = case(seed)
    got = lovasz_softmax(torch.tensor(logits), torch.tensor(labels), IGNORE)
    assert float(got) == pytest.approx(lovasz_by_sets(logits, labels), rel=1e-10)


@pytest.mark.parametrize("strength", [1, 4])
def test_lovasz_of_many_pixels_is_the_extension_within_its_bins(strength):
    """Thousands of errors share the bins, and a sure network puts most of them into a few."""
    logits, labels = case(2, size=(2, 40, 50))
    x = torch.tensor(strength * logits, requires_grad=True)
    loss = lovasz_softmax(x, torch.tensor(labels), IGNORE)
    assert loss.item() == pytest.approx(lovasz_by_sets(strength * logits, labels), abs=1 / 4096)
    towards_truth = np.moveaxis(np.eye(4)[np.where(labels == IGNORE, 0, labels)], -1, 1)
    (gradient,) = torch.autograd.grad(loss, x)
    ahead, behind = (lovasz_by_sets(strength * logits + step * towards_truth, labels) for step in (1e-6, -1e-6))
    assert (gradient.numpy() * towards_truth).sum() == pytest.approx((ahead - behind) / 2e-6, rel=0.01)


def test_lovasz_of_sure_predictions_is_one_minus_iou():
    labels = np.array([[[0, 0, 1, 1, 1, IGNORE]]])
    prediction = np.array([[[0, 1, 1, 1, 0, 0]]])
    logits = 100.0 * np.moveaxis(np.eye(2)[prediction], -1, 1)
    got = lovasz_softmax(torch.tensor(logits), torch.tensor(labels), IGNORE)
    assert float(got) == pytest.approx(((1 - 1 / 3) + (1 - 2 / 4)) / 2, abs=1e-9)


def test_losses_have_right_gradients():
    logits, labels = case(size=(1, 3, 4))
    x = torch.tensor(logits, requires_grad=True)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    target = torch.tensor(labels)
    assert torch.autograd.gradcheck(lambda z: weighted_cross_entropy(z, target, weights, IGNORE), (x,))
    for region in (lovasz_softmax, dice_loss, ohem_cross_entropy):
        assert torch.autograd.gradcheck(lambda z, loss=region: loss(z, target, IGNORE), (x,))


def test_all_pixels_ignored_gives_zero_and_zero_gradient():
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    for pixel in ("cross-entropy", "ohem"):
        for region in ("lovasz", "dice"):
            loss = SegmentationLoss(torch.ones(3), IGNORE, pixel, region)(x, torch.full((1, 8, 8), IGNORE))
            loss.backward()
            assert loss.item() == 0
            assert torch.count_nonzero(x.grad) == 0


@pytest.mark.parametrize("stride", [1, 3, 5])
def test_segmentation_loss_counts_the_middle_pixels_at_the_labels_size(stride):
    logits, _ = case(size=(2, 4, 5))
    _, labels = case(size=(2, 30, 45))
    x, y, weights = torch.tensor(logits), torch.tensor(labels), torch.tensor([0.5, 1.0, 2.0, 4.0])
    large = F.interpolate(x.float(), size=(30, 45), mode="bilinear", align_corners=False)
    large, y_part = (item[..., stride // 2 :: stride, stride // 2 :: stride] for item in (large, y))
    expected = weighted_cross_entropy(large, y_part, weights.float(), IGNORE)
    expected = expected + 0.5 * lovasz_softmax(large, y_part, IGNORE)
    criterion = SegmentationLoss(weights.float(), IGNORE, region="lovasz", stride=stride)
    assert criterion(x, y).item() == pytest.approx(expected.item(), rel=1e-6)
    extra = 0.4 * weighted_cross_entropy(-large, y_part, weights.float(), IGNORE)
    assert criterion((x, -x), y).item() == pytest.approx((expected + extra).item(), rel=1e-6)


def test_dice_is_its_formula_over_the_classes_that_occur():
    logits, labels = case()
    labels[labels == 3] = 1
    probabilities = np.moveaxis(softmax(logits), 1, -1)[labels != IGNORE]
    truth = np.eye(4)[labels[labels != IGNORE]]
    scores = 2 * (probabilities * truth).sum(0) / (probabilities.sum(0) + truth.sum(0))
    got = dice_loss(torch.tensor(logits), torch.tensor(labels), IGNORE)
    assert float(got) == pytest.approx(np.mean(1 - scores[:3]), rel=1e-12)


def test_ohem_is_the_mean_over_the_hard_pixels_but_over_enough():
    logits, labels = case()
    true = np.take_along_axis(softmax(logits), np.where(labels == IGNORE, 0, labels)[:, None], 1)[:, 0]
    losses = -np.log(true[labels != IGNORE])
    hard = losses[losses > -np.log(0.7)]
    assert 0 < hard.size < losses.size
    got = ohem_cross_entropy(torch.tensor(logits), torch.tensor(labels), IGNORE)
    assert float(got) == pytest.approx(hard.mean(), rel=1e-12)
    fewest = round(0.5 * losses.size)
    got = ohem_cross_entropy(torch.tensor(logits), torch.tensor(labels), IGNORE, sure=1e-9, least=0.5)
    assert float(got) == pytest.approx(np.sort(losses)[-fewest:].mean(), rel=1e-12)
