"""Accuracy figures against counts by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from edgefsa.data.convention import Convention
from edgefsa.data.readers import Sample
from edgefsa.models import ModelConfig
from edgefsa.train.evaluate import evaluate_model, normalised, predict_mask


class BrighterIsOne(nn.Module):
    """Class 1 where the red channel is above its mean; logits at stride 1."""

    config = ModelConfig("brighter", "", 3, size_multiple=4, mean_rgb=(100.0, 0.0, 0.0), std_rgb=(50.0, 1.0, 1.0))

    def __init__(self):
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x):
        self.config.check_input(x)
        red = x[:, :1] * self.unit
        return torch.cat((-red, red, torch.full_like(red, -100)), 1)


class Data(list):
    class_set = SimpleNamespace(names=("dark", "bright", "never"), num_classes=3, ignore_index=255)
    convention = Convention(Path("dataset.toml"))


def test_iou_and_pixel_accuracy_by_hand():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, 4:, 2] = 200  # BGR: red on the right half -> class 1 on 32 pixels
    label = np.zeros((8, 8), np.uint8)
    label[:, 6:] = 1  # truly class 1 on 16 of those
    label[0] = 255
    model = BrighterIsOne().train()
    result = evaluate_model(model, Data([Sample("a", frame, label)]))
    assert result.per_class_iou == {"dark": pytest.approx(28 / 42), "bright": pytest.approx(14 / 28), "never": None}
    assert result.miou == pytest.approx((28 / 42 + 14 / 28) / 2)
    assert result.pixel_accuracy == pytest.approx(42 / 56)
    assert model.training


@pytest.mark.parametrize("size_hw", [(7, 10), (3, 6), (13, 18), (8, 4)])
def test_sizes_that_the_network_does_not_take_are_resized_for_it_only(size_hw):
    frame = np.zeros((*size_hw, 3), np.uint8)
    frame[:, size_hw[1] // 2 :, 2] = 200
    mask = predict_mask(BrighterIsOne().eval(), frame)
    assert np.array_equal(mask, frame[..., 2] // 200)


def test_normalised_turns_bgr_bytes_into_rgb_planes():
    frames = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)
    got = normalised(frames, (30.0, 0.0, 0.0), (1.0, 2.0, 5.0))
    assert got.shape == (1, 3, 1, 1)
    assert got.flatten().tolist() == [0.0, 10.0, 2.0]
