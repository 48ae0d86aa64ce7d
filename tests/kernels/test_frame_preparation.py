"""The frame preparation's kernels on the host against their formula in float64, OpenCV and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.media.frames import resize_frame
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, HWC8, LINEAR, from_format, relative_l2, to_format

COLOURS = [f"{name}_rgb[{index}]" for name in ("mean", "std") for index in range(3)]
OPERATOR = Operator(
    "FramePreparation",
    "frame_preparation",
    "frame_preparation.h",
    ("frame_preparation.cu",),
    ("frames", "image"),
    ("type", "format", "batch", "frame_height", "frame_width", "height", "width"),
    tuple(COLOURS),
)
MEAN_RGB, STD_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
DTYPES = {FLOAT: np.float32, HALF: np.float16}
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}

Array = npt.NDArray[Any]
Size = tuple[int, int]


def frames_of(batch: int, size_hw: Size) -> Array:
    return np.random.default_rng(sum(size_hw)).integers(0, 256, (batch, *size_hw, 3), np.uint8)


def resized(frames: Array, size_hw: Size) -> Array:
    """Bilinear, pixel centres at halves, borders repeated, in float64; [N, H, W, 3]."""
    values = frames.astype(np.float64)
    for axis, size in ((1, size_hw[0]), (2, size_hw[1])):
        low = values.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * low / size - 0.5, 0, low - 1)
        before = position.astype(int)
        share = (position - before).reshape([-1 if k == axis else 1 for k in range(4)])
        after = np.minimum(before + 1, low - 1)
        values = np.take(values, before, axis) * (1 - share) + np.take(values, after, axis) * share
    return values


def formula(frames: Array, size_hw: Size) -> Array:
    image = (resized(frames, size_hw)[..., ::-1] - MEAN_RGB) / STD_RGB
    return np.asarray(image.transpose(0, 3, 1, 2))


def settings_of(frames: Array, size_hw: Size, kind: int, form: int) -> dict[str, Any]:
    sizes = {"batch": len(frames), "frame_height": frames.shape[1], "frame_width": frames.shape[2]}
    sizes |= {"height": size_hw[0], "width": size_hw[1]}
    return {"type": kind, "format": form, **sizes, **dict(zip(COLOURS, MEAN_RGB + STD_RGB, strict=True))}


def run(operator: EmulatedOperator, frames: Array, size_hw: Size, kind: int = FLOAT, form: int = LINEAR) -> Array:
    stored = to_format(np.empty((len(frames), 3, *size_hw), DTYPES[kind]), form)
    outputs = {"image": (stored.shape, stored.dtype)}
    given = operator.run({"frames": frames}, outputs, settings_of(frames, size_hw, kind, form))
    return from_format(given["image"], form, 3)


SIZES = [
    ((8, 16), (8, 16)),
    ((37, 48), (37, 48)),
    ((7, 13), (7, 13)),
    ((1, 1), (1, 1)),
    ((9, 16), (18, 32)),
    ((30, 40), (16, 24)),
    ((13, 7), (31, 29)),
    ((1, 5), (8, 16)),
    ((64, 48), (5, 8)),
    ((2, 3), (1, 1)),
]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("kind", "form"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
@pytest.mark.parametrize(("frame_hw", "size_hw"), SIZES)
def test_the_formula(emulate: Emulate, frame_hw: Size, size_hw: Size, kind: int, form: int, batch: int) -> None:
    frames = frames_of(batch, frame_hw)
    image = run(emulate(OPERATOR), frames, size_hw, kind, form)
    assert relative_l2(image, formula(frames, size_hw)) < TOLERANCE[kind]


@pytest.mark.parametrize("size_hw", [(18, 32), (7, 13), (16, 11)])
def test_opencv_resizes_to_within_a_level(emulate: Emulate, size_hw: Size) -> None:
    frames = frames_of(1, (12, 20))
    image = run(emulate(OPERATOR), frames, size_hw)
    pixels = image[0].transpose(1, 2, 0) * STD_RGB + MEAN_RGB
    assert np.abs(pixels[..., ::-1] - resize_frame(frames[0], size_hw)).max() < 1


def test_pytorch_gives_the_same(emulate: Emulate) -> None:
    torch = pytest.importorskip("torch")
    frames = frames_of(2, (11, 23))
    rgb = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2).double()
    large = torch.nn.functional.interpolate(rgb, (19, 40), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN_RGB, STD_RGB))
    expected = ((large - mean) / std).numpy()
    assert relative_l2(run(emulate(OPERATOR), frames, (19, 40)), expected) < 1e-5
