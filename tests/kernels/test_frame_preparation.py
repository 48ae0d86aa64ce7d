"""The kernels that fit frames and masks, on the host, against what the CPU does with OpenCV: bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.engines.tensorrt.frame_kernels import tables_of
from edgefsa.media.fit import BORDER, Box, geometry
from edgefsa.metadata import FITS
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import EmulatedOperator

SOURCES = "frame_preparation", "frame_preparation.h", ("frame_preparation.cu",)
SIDES = ("top", "left", "height", "width")
SIZES = ("frame_height", "frame_width", "height", "width")
PREPARATION = Operator(
    "FramePreparation",
    *SOURCES,
    ("frame", "image", "first_rows", "first_columns", "row_weights", "column_weights"),
    (
        *("resampling", "row_taps", "column_taps", *SIZES, "border"),
        *(f"{box}.{side}" for box in ("seen", "filled") for side in SIDES),
    ),
)
RESTORATION = Operator(
    "MaskRestoration",
    *SOURCES,
    ("mask", "restored", "rows", "columns"),
    (*SIZES, "ignore_index", *(f"seen.{side}" for side in SIDES)),
)
IGNORED = 255

Array = npt.NDArray[Any]
Size = tuple[int, int]


def some(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def box_values(name: str, box: Box) -> dict[str, int]:
    return {f"{name}.{side}": getattr(box, side) for side in SIDES}


def preparation_of(fit: str, frame_hw: Size, size_hw: Size) -> tuple[dict[str, Array], dict[str, int]]:
    """Return the tables and the numbers of a preparation."""
    made = geometry(fit, frame_hw, size_hw)
    arrays, numbers = tables_of(made)
    values = numbers | {"border": BORDER} | box_values("seen", made.seen) | box_values("filled", made.filled)
    return {name: arrays[name] for name in PREPARATION.pointers if name in arrays}, values


def prepare(operator: EmulatedOperator, frame: Array, size_hw: Size, fit: str = "stretch") -> Array:
    arrays, values = preparation_of(fit, (frame.shape[0], frame.shape[1]), size_hw)
    return operator.run({"frame": frame, **arrays}, {"image": ((*size_hw, 3), np.uint8)}, values)["image"]


def restoration_of(fit: str, frame_hw: Size, size_hw: Size) -> tuple[dict[str, Array], dict[str, int]]:
    """Return the tables and the numbers of a restoration."""
    made = geometry(fit, frame_hw, size_hw)
    arrays, numbers = tables_of(made)
    values = {name: numbers[name] for name in SIZES} | {"ignore_index": IGNORED} | box_values("seen", made.seen)
    return {name: arrays[name] for name in ("rows", "columns")}, values


def restore(operator: EmulatedOperator, mask: Array, frame_hw: Size, fit: str = "stretch") -> Array:
    arrays, values = restoration_of(fit, frame_hw, (mask.shape[0], mask.shape[1]))
    return operator.run({"mask": mask, **arrays}, {"restored": (frame_hw, np.uint8)}, values)["restored"]


CASES: list[tuple[Size, Size]] = [
    ((24, 32), (24, 32)),
    ((48, 64), (24, 32)),
    ((72, 96), (24, 32)),
    ((54, 96), (25, 44)),
    ((40, 70), (32, 64)),
    ((9, 16), (20, 32)),
    ((13, 7), (31, 29)),
    ((64, 20), (16, 24)),
    ((1, 5), (8, 16)),
    ((2, 3), (1, 1)),
]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("frame_hw", "size_hw"), CASES)
def test_a_frame_is_fitted_as_on_the_cpu(emulate: Emulate, frame_hw: Size, size_hw: Size, fit: str) -> None:
    frame = some((*frame_hw, 3))
    expected = geometry(fit, frame_hw, size_hw).to_engine(frame)
    np.testing.assert_array_equal(prepare(emulate(PREPARATION), frame, size_hw, fit), expected)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("frame_hw", "size_hw"), CASES)
def test_a_mask_comes_back_as_on_the_cpu(emulate: Emulate, frame_hw: Size, size_hw: Size, fit: str) -> None:
    mask = some(size_hw)
    expected = geometry(fit, frame_hw, size_hw).mask_to_frame(mask, IGNORED)
    np.testing.assert_array_equal(restore(emulate(RESTORATION), mask, frame_hw, fit), expected)
