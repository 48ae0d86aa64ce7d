"""Small networks and frames for the export tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from edgefsa.export import onnx_from_model
from edgefsa.models import create_model, load_default_weights

SIZE_HW = (64, 96)


@pytest.fixture(scope="session")
def frame() -> np.ndarray:
    """A frame with edges and shades, another in each channel."""
    rows, columns = np.mgrid[:72, :100]
    planes = [rows * 3, columns * 2 + rows, 255 * ((rows // 9 + columns // 7) % 2)]
    return np.stack(planes, -1).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def edge() -> nn.Module:
    model = create_model("fsanet-edge")
    load_default_weights(model)
    return model


@pytest.fixture(scope="session")
def edge_onnx(edge: nn.Module, frame: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edge") / "model.onnx"
    onnx_from_model(edge, path, size_hw=SIZE_HW, frame=frame, weights={"kind": "trained", "source": "s", "sha256": "0"})
    return path
