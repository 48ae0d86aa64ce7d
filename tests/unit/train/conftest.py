"""A tiny network and data set to train on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from edgefsa.train import recipe


class TinyNet(nn.Module):
    """Two convolutions with a norm, dropout and an auxiliary head; logits at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(size_multiple=2, mean_rgb=(120.0, 110.0, 100.0), std_rgb=(60.0, 60.0, 60.0))
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.drop = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(12, 11, 1)
        self.auxiliary = nn.Conv2d(12, 11, 1)

    def forward(self, x):
        x = self.stem(x)
        logits = self.head(self.drop(x))
        return (logits, self.auxiliary(x)) if self.training else logits


@pytest.fixture
def tiny_model(monkeypatch):
    """Make the recipe train TinyNet, whatever the name."""
    monkeypatch.setattr(recipe, "create_model", lambda name, **options: TinyNet())
    torch.set_num_threads(1)
    return "tiny"


@pytest.fixture
def colour_data(tmp_path: Path) -> str:
    """A data set where the colour tells the class: blue 0, green 3, red 8; a border is unlabelled."""
    rng = np.random.default_rng(0)
    colours = {0: (220, 60, 40), 3: (50, 200, 60), 8: (40, 50, 210)}
    for split, count in (("train", 6), ("val", 2)):
        for part in ("images", "labels"):
            (tmp_path / "data" / split / part).mkdir(parents=True)
        for index in range(count):
            label = rng.choice(list(colours), size=(4, 5)).astype(np.uint8).repeat(12, axis=0).repeat(12, axis=1)
            frame = np.zeros((*label.shape, 3))
            for value, colour in colours.items():
                frame[label == value] = colour
            frame = np.clip(frame + rng.normal(0, 10, frame.shape), 0, 255).astype(np.uint8)
            label[:3] = 11
            cv2.imwrite(str(tmp_path / "data" / split / "images" / f"{index}.png"), frame)
            cv2.imwrite(str(tmp_path / "data" / split / "labels" / f"{index}.png"), label)
    return f"camvid:{tmp_path / 'data'}"
