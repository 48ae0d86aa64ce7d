"""A small network with every pattern that the quantiser and the batch norms' folding know, and its export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import nn

from edgefsa.data.synthetic import render_scene
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.models import FrequencySelfAttention, ModelConfig
from edgefsa.models.resnet import BasicBlock, conv_norm_relu
from edgefsa.quantize import Ranges, int8_onnx, ranges_from_calibration

SIZE_HW = (32, 48)


class SmallNet(nn.Module):
    """A stem; a residual block; a norm before a convolution; attention; a sum in float; a join; two heads."""

    def __init__(self, num_classes: int = 11) -> None:
        super().__init__()
        options = {"num_classes": num_classes}
        self.config = ModelConfig("small", "small", num_classes, size_hw=SIZE_HW, size_multiple=4, options=options)
        self.stem = nn.Sequential(*conv_norm_relu(3, 8, stride=2))
        self.block = BasicBlock(8, 12, 2, 1)
        self.norm = nn.BatchNorm2d(12)
        self.project = nn.Conv2d(12, 12, 1)
        self.attention = FrequencySelfAttention(12, k=3)
        self.fuse = nn.Sequential(*conv_norm_relu(20, 16), nn.Dropout2d(0.3))
        self.head = nn.Conv2d(16, num_classes, 1)
        self.auxiliary_head = nn.Conv2d(12, num_classes, 1)

    def forward(self, x):
        fine = self.stem(x)
        coarse = self.block(fine)
        deep = coarse + self.attention(self.project(self.norm(coarse)))
        deep = F.interpolate(deep, size=fine.shape[2:], mode="bilinear", align_corners=False)
        logits = self.head(self.fuse(torch.cat([deep, fine], 1)))
        return (logits, self.auxiliary_head(coarse)) if self.training else logits


def seasoned(model: nn.Module) -> nn.Module:
    """Return the model norms that do something, and a gain to its attention; in eval mode."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                value.uniform_(low, high, generator=generator)
        elif isinstance(module, FrequencySelfAttention):
            nn.init.ones_(module.gamma)
    return model.eval()


@dataclass
class Exported:
    """A model, its graph of logits, frames uint8 [1, H, W, 3], and ranges measured on them."""

    model: nn.Module
    graph: onnx.ModelProto
    frames: list[np.ndarray]
    ranges: Ranges

    def int8_logits(self, skip: tuple[str, ...] = ()) -> list[np.ndarray]:
        """Run the INT8 graph, every operator as written."""
        return run(int8_onnx(self.graph, self.ranges, skip=skip)[0], self.frames)


def exported(model: nn.Module, size_hw: tuple[int, int], folder: Path, frames: int = 8) -> Exported:
    onnx_from_model(model, folder / "model.onnx", size_hw=size_hw, outputs="logits")
    scenes = [render_scene(index, size_hw)[0] for index in range(frames)]
    ranges = ranges_from_calibration(folder / "model.onnx", scenes)
    return Exported(model, load_graph(folder / "model.onnx"), [scene[None] for scene in scenes], ranges)


def run(graph: onnx.ModelProto, frames: list[np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"frames": frame})[0] for frame in frames]
