"""UpsampleArgmax's kernels on the host against bilinear interpolation in float64, and against PyTorch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, HWC8, LINEAR, to_format

OPERATOR = Operator(
    "UpsampleArgmax",
    "upsample_argmax",
    "upsample_argmax.h",
    ("upsample_argmax.cu",),
    ("x", "y"),
    ("type", "format", "index_type", "batch", "classes", "low_height", "low_width", "height", "width"),
)
INT32, UINT8, FLOAT16 = 0, 1, 2  # IndexType
INDICES = {INT32: np.int32, UINT8: np.uint8, FLOAT16: np.float16}

Array = npt.NDArray[Any]
Size = tuple[int, int]


def weights(low: int, size: int) -> Array:
    """The matrix [size, low] of bilinear interpolation, align_corners=False, in float64."""
    position = np.maximum((np.arange(size) + 0.5) * low / size - 0.5, 0)
    before = np.minimum(position.astype(int), low - 1)
    matrix = np.zeros((size, low))
    np.add.at(matrix, (np.arange(size), before), 1 - (position - before))
    np.add.at(matrix, (np.arange(size), np.minimum(before + 1, low - 1)), position - before)
    return matrix


def upsampled(logits: Array, size_hw: Size) -> Array:
    rows, columns = weights(logits.shape[2], size_hw[0]), weights(logits.shape[3], size_hw[1])
    return np.asarray(np.einsum("Hh,nkhw,Ww->nkHW", rows, logits.astype(np.float64), columns, optimize=True))


def assert_largest(indices: Array, large: Array) -> None:
    """Each index is that of the largest value, or of one that no float32 could tell from it."""
    largest = large.max(1)
    chosen = np.take_along_axis(large, indices[:, None].astype(int), 1)[:, 0]
    assert (largest - chosen <= 1e-5 * np.abs(large).max()).all(), "not the formula"


def settings_of(shape: tuple[int, ...], size_hw: Size, kind: int, form: int, index: int) -> dict[str, int]:
    batch, classes, low_height, low_width = shape
    low = {"batch": batch, "classes": classes, "low_height": low_height, "low_width": low_width}
    return {"type": kind, "format": form, "index_type": index, "height": size_hw[0], "width": size_hw[1], **low}


def run(operator: EmulatedOperator, logits: Array, size_hw: Size, form: int = LINEAR, index: int = UINT8) -> Array:
    kind = HALF if logits.dtype == np.float16 else FLOAT
    shape = (logits.shape[0], *size_hw)
    settings = settings_of(logits.shape, size_hw, kind, form, index)
    return operator.run({"x": to_format(logits, form)}, {"y": (shape, INDICES[index])}, settings)["y"]


def logits_of(shape: tuple[int, ...], kind: type, largest: float = 5.0, smooth: bool = False) -> Array:
    random = np.random.default_rng(sum(shape))
    logits = random.uniform(-largest, largest, shape)
    if smooth:  # regions of one class, as a network gives them
        logits += 3 * largest * (np.arange(shape[1])[:, None, None] == np.arange(shape[3]) // 5 % shape[1])
    return logits.astype(kind)


CASES = [
    ((1, 19, 5, 37), (20, 148)),
    ((3, 3, 4, 6), (32, 48)),
    ((1, 1, 3, 5), (12, 20)),
    ((1, 65, 3, 4), (48, 64)),
    ((2, 11, 7, 33), (29, 131)),
    ((1, 5, 9, 35), (23, 71)),
    ((1, 4, 1, 7), (5, 29)),
    ((1, 4, 11, 1), (31, 3)),
    ((1, 7, 1, 1), (13, 16)),
    ((1, 7, 1, 1), (40, 37)),
    ((2, 6, 13, 17), (13, 17)),
    ((1, 6, 13, 17), (13, 40)),
    ((1, 6, 16, 34), (5, 11)),
    ((1, 255, 2, 3), (6, 7)),
]


@pytest.mark.parametrize(
    ("kind", "form", "index"), [(np.float32, LINEAR, INT32), (np.float16, LINEAR, UINT8), (np.float16, HWC8, FLOAT16)]
)
@pytest.mark.parametrize("smooth", [False, True], ids=["noise", "regions"])
@pytest.mark.parametrize(("shape", "size_hw"), CASES)
def test_the_largest_class(
    emulate: Emulate, shape: tuple[int, ...], size_hw: Size, smooth: bool, kind: type, form: int, index: int
) -> None:
    logits = logits_of(shape, kind, smooth=smooth)
    assert_largest(run(emulate(OPERATOR), logits, size_hw, form, index), upsampled(logits, size_hw))


@pytest.mark.parametrize("size_hw", [(20, 148), (9, 50), (7, 111), (3, 20)])
def test_pytorch_gives_the_same(emulate: Emulate, size_hw: Size) -> None:
    torch = pytest.importorskip("torch")
    logits = logits_of((2, 19, 5, 37), np.float32, largest=1e4)
    size = torch.nn.functional.interpolate(torch.from_numpy(logits), size_hw, mode="bilinear", align_corners=False)
    large = size.numpy()
    np.testing.assert_allclose(large, upsampled(logits, size_hw), atol=0.1)
    indices = run(emulate(OPERATOR), logits, size_hw)
    assert_largest(indices, upsampled(logits, size_hw))
    assert (indices == large.argmax(1)).mean() > 0.999


@pytest.mark.parametrize("size_hw", [(12, 16), (3, 4), (7, 5)])
def test_of_equals_the_first_is_taken(emulate: Emulate, size_hw: Size) -> None:
    logits = np.zeros((1, 9, 3, 4), np.float32)
    logits[:, [2, 3, 7]] = 1
    np.testing.assert_array_equal(run(emulate(OPERATOR), logits, size_hw), 2)


@pytest.mark.parametrize("size_hw", [(12, 16), (7, 9), (2, 3), (3, 4)])
@pytest.mark.parametrize("form", [LINEAR, HWC8])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_as_in_pytorch(emulate: Emulate, value: float, form: int, size_hw: Size) -> None:
    torch = pytest.importorskip("torch")
    logits = logits_of((1, 5, 3, 4), np.float16, smooth=True)
    logits[0, 3, 1, 1] = value
    logits[0, 4, 1, 1] = value
    large = torch.from_numpy(logits).float()
    if size_hw != logits.shape[2:]:  # where PyTorch on a CPU mixes with weights of 0, which make NaN of infinity
        large = torch.nn.functional.interpolate(large, size_hw, mode="bilinear")
    expected = large.argmax(1).numpy()
    np.testing.assert_array_equal(run(emulate(OPERATOR), logits, size_hw, form), expected)


def test_all_minus_infinity_gives_the_first_class(emulate: Emulate) -> None:
    logits = np.full((1, 3, 2, 2), -np.inf, np.float32)
    np.testing.assert_array_equal(run(emulate(OPERATOR), logits, (2, 2)), 0)
