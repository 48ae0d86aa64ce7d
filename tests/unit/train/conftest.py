"""A tiny network and data set to train on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from edgefsa.models import ModelConfig
from edgefsa.train import loop


class TinyNet(nn.Module):
    """Two convolutions with a norm, dropout and an auxiliary head; logits at stride 2."""

    def __init__(self, num_classes: int = 11, width: int = 12) -> None:
        super().__init__()
        options = {"num_classes": num_classes, "width": width}
        mean, std = (120.0, 110.0, 100.0), (60.0, 60.0, 60.0)
        self.config = ModelConfig(
            "tiny", "tiny", num_classes, size_multiple=2, mean_rgb=mean, std_rgb=std, options=options
        )
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.drop = nn.Dropout2d(0.1)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.auxiliary = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        x = self.stem(x)
        logits = self.head(self.drop(x))
        return (logits, self.auxiliary(x)) if self.training else logits


@pytest.fixture
def tiny_model(monkeypatch):
    """Make every run train TinyNet, whatever the model's name."""
    monkeypatch.setattr(loop, "create_model", lambda name, **options: TinyNet(**options))
    torch.set_num_threads(1)
    return "tiny"


def write_colour_data(folder: Path, colours: dict[int, tuple[int, int, int]], unlabelled: int) -> None:
    """Frames where the colour (BGR) tells the class, in train/ and val/; a border is unlabelled."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True)
        for index in range(count):
            label = rng.choice(list(colours), size=(4, 5)).astype(np.uint8).repeat(12, axis=0).repeat(12, axis=1)
            frame = np.zeros((*label.shape, 3))
            for value, colour in colours.items():
                frame[label == value] = colour
            frame = np.clip(frame + rng.normal(0, 10, frame.shape), 0, 255).astype(np.uint8)
            label[:3] = unlabelled
            cv2.imwrite(str(folder / split / "images" / f"{index}.png"), frame)
            cv2.imwrite(str(folder / split / "labels" / f"{index}.png"), label)


@pytest.fixture
def colour_data(tmp_path: Path) -> str:
    """A data set where the colour tells the class: blue 0, green 3, red 8; a border is unlabelled."""
    write_colour_data(tmp_path / "data", {0: (220, 60, 40), 3: (50, 200, 60), 8: (40, 50, 210)}, 11)
    return f"camvid:{tmp_path / 'data'}"
