"""The kernels that fit frames and masks, on the host, against what the CPU does with OpenCV: bit by bit."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.engines.tensorrt.frame_kernels import PreparationParams, RestorationParams, tables_of
from edgefsa.media.fit import geometry
from edgefsa.media.resampling import Resampling
from edgefsa.metadata import FITS
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import EmulatedOperator

SOURCES = "frame_preparation", "frame_preparation.h", ("frame_preparation.cu",)


def operator_of(name: str, params: type[ctypes.Structure]) -> Operator:
    pointers = tuple(field for field, kind in params._fields_ if kind is ctypes.c_void_p)
    return Operator(name, *SOURCES, pointers, tuple(field for field, _ in params._fields_ if field not in pointers))


PREPARATION = operator_of("FramePreparation", PreparationParams)
RESTORATION = operator_of("MaskRestoration", RestorationParams)
IGNORED, INVALID_VALUE = 200, 1  # not 255, which fills memory that is not written

Array = npt.NDArray[Any]
Size = tuple[int, int]


def some(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def preparation_of(fit: str, frame_hw: Size, size_hw: Size) -> tuple[dict[str, Array], dict[str, int]]:
    """Return the tables and the numbers of a preparation."""
    arrays, values = tables_of(geometry(fit, frame_hw, size_hw))
    return {name: array for name, array in arrays.items() if name in PREPARATION.pointers}, values


def prepare(operator: EmulatedOperator, frame: Array, size_hw: Size, fit: str = "stretch") -> Array:
    arrays, values = preparation_of(fit, (frame.shape[0], frame.shape[1]), size_hw)
    return operator.run({"frame": frame, **arrays}, {"image": ((*size_hw, 3), np.uint8)}, values)["image"]


def restoration_of(fit: str, frame_hw: Size, size_hw: Size) -> tuple[dict[str, Array], dict[str, int]]:
    """Return the tables and the numbers of a restoration."""
    arrays, values = tables_of(geometry(fit, frame_hw, size_hw))
    arrays = {name: array for name, array in arrays.items() if name in RESTORATION.pointers}
    return arrays, values | {"ignore_index": IGNORED}


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


def test_the_parameters_are_those_of_the_header() -> None:
    from edgefsa.kernels.launchers import structures

    for name, params in (("FramePreparationParams", PreparationParams), ("MaskRestorationParams", RestorationParams)):
        assert [(field, kind) for field, kind in structures()[name]._fields_] == [*params._fields_]  # type: ignore[misc]


ARGUMENTS = {"crop": ((8, 30), (12, 16)), "letterbox": ((8, 30), (12, 16))}  # a part of the frame, a part of the image


@pytest.mark.parametrize(
    ("name", "values"),
    [(name, (0, -1, 65536)) for name in ("frame_height", "frame_width", "height", "width", "row_taps")]
    + [(f"{box}_{side}", (-1, 31)) for box in ("seen", "filled") for side in ("top", "left", "height", "width")]
    + [("resampling", (-1, 3)), ("column_taps", (0, 1)), ("border", (-1, 256))],
)
def test_a_preparation_that_cannot_be_is_refused(emulate: Emulate, name: str, values: tuple[int, ...]) -> None:
    for fit, (frame_hw, size_hw) in ARGUMENTS.items():
        arrays, given = preparation_of(fit, frame_hw, size_hw)
        inputs, outputs = {"frame": some((*frame_hw, 3)), **arrays}, {"image": ((*size_hw, 3), np.uint8)}
        assert given["resampling"] == Resampling.BILINEAR
        assert emulate(PREPARATION).status(inputs, outputs, given) == 0
        for value in values:
            assert emulate(PREPARATION).status(inputs, outputs, given | {name: value}) == INVALID_VALUE
            assert emulate(PREPARATION).launches == 0
    for pointer in inputs:
        assert emulate(PREPARATION).status({**inputs, pointer: None}, outputs, given) == INVALID_VALUE


@pytest.mark.parametrize(
    ("name", "values"),
    [(name, (0, -1, 65536)) for name in ("frame_height", "frame_width", "height", "width")]
    + [(f"seen_{side}", (-1, 31)) for side in ("top", "left", "height", "width")]
    + [("ignore_index", (-1, 256))],
)
def test_a_restoration_that_cannot_be_is_refused(emulate: Emulate, name: str, values: tuple[int, ...]) -> None:
    frame_hw, size_hw = ARGUMENTS["crop"]
    arrays, given = restoration_of("crop", frame_hw, size_hw)
    inputs, outputs = {"mask": some(size_hw), **arrays}, {"restored": (frame_hw, np.uint8)}
    assert emulate(RESTORATION).status(inputs, outputs, given) == 0
    for value in values:
        assert emulate(RESTORATION).status(inputs, outputs, given | {name: value}) == INVALID_VALUE
        assert emulate(RESTORATION).launches == 0
    for pointer in inputs:
        assert emulate(RESTORATION).status({**inputs, pointer: None}, outputs, given) == INVALID_VALUE
