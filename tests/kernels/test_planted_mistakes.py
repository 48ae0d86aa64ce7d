"""Each barrier and wait taken away, and bounds of each kernel exceeded by one: the tests' own runs must fail then.

All mistakes of an operator are planted in one build of it, and made one at a time.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgefsa.media.fit import geometry
from tests.kernels import test_frame_preparation as frames
from tests.kernels import test_spectral_mask as mask
from tests.kernels import test_truncated_dct as dct
from tests.kernels import test_upsample_argmax as upsampling
from tests.kernels.emulation.build import PLUGINS, Operator
from tests.kernels.emulation.run import EmulatedOperator
from tests.kernels.planting import CRASHED, RIGHT, Check, Mistake, Mutants
from tests.kernels.tensors import FLOAT, HALF, HWC8, LINEAR, relative_l2
from tests.kernels.truncated_dct_attention import (
    ATTENTION,
    COEFFICIENT_ATTENTION,
    DCT,
    DOT_PRODUCT,
    LINSOFTMAX,
    TOLERANCE,
    Case,
    attend_coefficients,
    formula,
    run_attention,
    tensors_of,
)

KERNELS = PLUGINS / "kernels"


def attention_check(case: Case, kind: int, form: int, mode: int) -> Check:
    return partial(check_attention, case, kind, form, mode)


def check_attention(case: Case, kind: int, form: int, mode: int, operator: EmulatedOperator) -> None:
    tensors = tensors_of(case, kind)
    scale = 1 / (case.shape[2] * case.shape[3])
    y = run_attention(operator, tensors, kind, form, mode=mode, recurrence=case.recurrence, scale=scale)
    assert relative_l2(y, formula(tensors, mode, case.recurrence, scale)) < TOLERANCE[kind], "not the formula"


def dct_check(case: Case, kind: int, form: int) -> Check:
    return partial(check_dct, case, kind, form)


def check_dct(case: Case, kind: int, form: int, operator: EmulatedOperator) -> None:
    tensors = tensors_of(case, kind)
    found = dct.run(operator, tensors, kind, form)
    assert relative_l2(found, dct.transformed(tensors)) < 1e-5, "not the formula"


def mask_check(case: mask.Case, form: int, passes: int = mask.ONE) -> Check:
    return partial(check_mask, case, form, passes)


def check_mask(case: mask.Case, form: int, passes: int, operator: EmulatedOperator) -> None:
    kind = HALF if form == HWC8 else FLOAT
    tensors = mask.tensors_of(case)
    tensors["x"] = tensors["x"].astype(mask.DTYPES[kind]).astype(np.float32)
    device = mask.least_device(tensors, kind, form) if passes == mask.TWO else None
    y = mask.run(operator, tensors, kind, form, device, passes=passes)
    assert relative_l2(y, mask.formula(tensors)) < TOLERANCE[kind], "not the formula"


def coefficients_check(operator: EmulatedOperator) -> None:
    tensors = tensors_of(Case((2, 5, 9, 11), (3, 5), recurrence=2))
    found, expected = attend_coefficients(operator, tensors, recurrence=2)
    assert relative_l2(found, expected) < 1e-5, "not the formula"


def upsampling_check(shape: tuple[int, ...], size_hw: tuple[int, int]) -> Check:
    return partial(check_upsampling, shape, size_hw)


def check_upsampling(shape: tuple[int, ...], size_hw: tuple[int, int], operator: EmulatedOperator) -> None:
    logits = upsampling.logits_of(shape, np.float32)
    upsampling.assert_largest(upsampling.run(operator, logits, size_hw), upsampling.upsampled(logits, size_hw))


def frames_check(frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> Check:
    return partial(check_frames, frame_hw, size_hw)


def restored_check(frame_hw: tuple[int, int], size_hw: tuple[int, int]) -> Check:
    return partial(check_restored, frame_hw, size_hw)


def check_frames(frame_hw: tuple[int, int], size_hw: tuple[int, int], operator: EmulatedOperator) -> None:
    frame = frames.some((*frame_hw, 3))
    expected = geometry("letterbox", frame_hw, size_hw).to_engine(frame)
    assert (frames.prepare(operator, frame, size_hw, "letterbox") == expected).all(), "not the formula"


def check_restored(frame_hw: tuple[int, int], size_hw: tuple[int, int], operator: EmulatedOperator) -> None:
    mask = frames.some(size_hw)
    expected = geometry("crop", frame_hw, size_hw).mask_to_frame(mask, frames.IGNORED)
    assert (frames.restore(operator, mask, frame_hw, "crop") == expected).all(), "not the formula"


# One run for each file, in which each of its barriers matters: bases staged in parts, several rounds of rows.
DCT_FLOATS = dct_check(Case((1, 1, 19, 264), (3, 18)), FLOAT, LINEAR)
DCT_HALVES = dct_check(Case((1, 1, 36, 520), (5, 16)), HALF, LINEAR)
DCT_HWC = dct_check(Case((1, 10, 3, 141), (3, 32)), HALF, HWC8)
INVERSE_LINEAR = attention_check(Case((2, 3, 12, 20), (3, 5)), HALF, LINEAR, DOT_PRODUCT)
INVERSE_HWC = attention_check(Case((1, 3, 66, 2), (2, 2)), HALF, HWC8, DOT_PRODUCT)
LIN_SOFTMAX = attention_check(Case((2, 3, 9, 12), (3, 5), (65, 3), recurrence=2), FLOAT, LINEAR, LINSOFTMAX)
MASK_IN_TWO_PASSES = mask_check(mask.Case((1, 2, 64, 64), radius=2), LINEAR, mask.TWO)
UPSAMPLING = upsampling_check((1, 2, 8, 32), (32, 128))
UPSAMPLING_IN_PARTS = upsampling_check((1, 30, 8, 32), (32, 128))  # more classes than are staged at once


def upsampling_at_once_and_in_parts(operator: EmulatedOperator) -> None:
    UPSAMPLING(operator)
    UPSAMPLING_IN_PARTS(operator)


FOLDER = "truncated_dct_attention"
BARRIERS: dict[str, tuple[Operator, Check]] = {
    f"{FOLDER}/truncated_dct_floats.cu": (DCT, DCT_FLOATS),
    f"{FOLDER}/truncated_dct_halves.cu": (DCT, DCT_HALVES),
    f"{FOLDER}/truncated_dct_hwc.cu": (DCT, DCT_HWC),
    f"{FOLDER}/token_product.cuh": (COEFFICIENT_ATTENTION, coefficients_check),
    f"{FOLDER}/token_steps.cu": (COEFFICIENT_ATTENTION, coefficients_check),
    f"{FOLDER}/pixel_maps.cu": (ATTENTION, LIN_SOFTMAX),
    f"{FOLDER}/inverse_dct_linear.cu": (ATTENTION, INVERSE_LINEAR),
    f"{FOLDER}/inverse_dct_hwc.cu": (ATTENTION, INVERSE_HWC),
    "spectral_mask/spectral_mask.cuh": (mask.OPERATOR, MASK_IN_TWO_PASSES),
    "spectral_mask/two_passes.cuh": (mask.OPERATOR, MASK_IN_TWO_PASSES),
    "upsample_argmax/upsample_argmax.cuh": (upsampling.OPERATOR, UPSAMPLING),
    "upsample_argmax/cell_logits.cuh": (upsampling.OPERATOR, upsampling_at_once_and_in_parts),
}
BARRIER = "__syncthreads();"


# The same for waits of launches that overlap the one before: in files whose kernels are not the first of a chain.
SPLIT_DCT = dct_check(Case((1, 1, 130, 32), (8, 8)), FLOAT, LINEAR)
WAIT = "waitForEarlier();"
WAITS: dict[str, tuple[Operator, Check]] = {
    f"{FOLDER}/truncated_dct.cu": (DCT, SPLIT_DCT),
    f"{FOLDER}/coefficient_attention.cu": (ATTENTION, INVERSE_LINEAR),
    f"{FOLDER}/token_steps.cu": (ATTENTION, LIN_SOFTMAX),
    f"{FOLDER}/linear_softmax.cu": (ATTENTION, LIN_SOFTMAX),
    f"{FOLDER}/pixel_maps.cu": (ATTENTION, LIN_SOFTMAX),
    f"{FOLDER}/inverse_dct_linear.cu": (ATTENTION, INVERSE_LINEAR),
    f"{FOLDER}/inverse_dct_hwc.cu": (ATTENTION, INVERSE_HWC),
}


def without(call: str, kind: str) -> dict[str, Mistake]:
    """Return a mistake for each place where a kernel makes a call: that it does not."""
    return {
        f"{name}: {kind} {index + 1}": Mistake(name, call, f"if (!PLANTED) {{ {call} }}", index)
        for file in sorted([*KERNELS.glob("*/*.cu"), *KERNELS.glob("*/*.cuh")])
        for name in [str(file.relative_to(KERNELS))]
        for index in range(file.read_text().count(call))
    }


WITHOUT_A_BARRIER = without(BARRIER, "barrier")
WITHOUT_A_WAIT = without(WAIT, "wait")


@dataclass(frozen=True)
class Bounds:
    """Places in one file of an operator where a bound becomes one more (at the @), and a run that must fail then."""

    operator: Operator
    check: Check
    file: str
    places: tuple[str, ...]

    def mistakes(self) -> dict[str, Mistake]:
        """Return them by a name."""
        return {
            f"{self.file}: {place}": Mistake(self.file, place.replace("@", ""), place.replace("@", " + PLANTED"))
            for place in self.places
        }


PLANE, TWO_PASSES = "spectral_mask/plane.cuh", "spectral_mask/two_passes.cuh"
UPSAMPLE = "upsample_argmax/upsample_argmax.cuh"
LOGITS = "upsample_argmax/cell_logits.cuh"
FRAMES = "frame_preparation/frame_preparation.cu"
MASK_HWC = mask_check(mask.Case((1, 8, 5, 8), radius=1), HWC8)
# What the kernels of the projections and of the products after them store.
STORED = [
    "if (place.row < rows@ && place.column < count) {\n"
    f"            out[static_cast<std::size_t>(place.row) * stride + place.column] = {value}"
    for value in ("values[e] +", "spreads ?")
]
BOUNDS = [
    Bounds(DCT, DCT_FLOATS, f"{FOLDER}/truncated_dct_floats.cu", (
        "min(first_row + row, last_row@)", "column + run * RUN < width@", "warp_first + index / PADDED < rows@",
    )),
    Bounds(DCT, DCT_HALVES, f"{FOLDER}/truncated_dct_halves.cu", (
        "min(warp_first + group, rows - 1@)", "if (column + run * RUN < width@) {", "if (row < rows@) {",
    )),
    Bounds(DCT, DCT_HWC, f"{FOLDER}/truncated_dct_hwc.cu", (
        "has_channels && pixel + e < width@", "lane_channel < stored@",
        "min(kDctChannels, a.channels - first_channel@)",
    )),
    Bounds(DCT, DCT_FLOATS, f"{FOLDER}/truncated_dct.cuh", ("row < rows@; row += kWarpSize",)),
    Bounds(DCT, SPLIT_DCT, f"{FOLDER}/truncated_dct.cu", ("static_cast<std::size_t>(planes) * token_stride@) {",)),
    Bounds(COEFFICIENT_ATTENTION, coefficients_check, f"{FOLDER}/token_product.cuh", (
        "min(first_column + tile_column, p.right_stride - 4@)", "if (k + e < p.depth@) {\n                right",
        "min(row + e, p.rows - 1@)", "k + i < p.depth@ ?",
    )),
    Bounds(COEFFICIENT_ATTENTION, coefficients_check, f"{FOLDER}/token_steps.cu", (
        "e < length@; e", *STORED,
    )),
    Bounds(COEFFICIENT_ATTENTION, coefficients_check, f"{FOLDER}/coefficient_attention.cu", (
        "place.row >= a.channels@ ||",
    )),
    Bounds(ATTENTION, LIN_SOFTMAX, f"{FOLDER}/linear_softmax.cu", ("place.row < p.rows@ &&",)),
    Bounds(ATTENTION, LIN_SOFTMAX, f"{FOLDER}/pixel_maps.cu", (
        "pixel < width@ ? p.basis_w", "if (pixel < width@) {", "pixel < p.width@; pixel += kWarpSize",
        "if (row > count@) {", "h < p.height@; ++h) {\n            sum += left", "pixel < p.width@; pixel += kThreads",
    )),
    Bounds(ATTENTION, INVERSE_LINEAR, f"{FOLDER}/inverse_dct_linear.cu", (
        "row < rows@ ? inverseSum", "tile.rows = rows@;", "tile.stored_columns = columns@;",
    )),
    Bounds(ATTENTION, INVERSE_LINEAR, f"{FOLDER}/inverse_dct.cuh", ("column < a.width@ ? a.basis_w",)),
    Bounds(ATTENTION, INVERSE_HWC, f"{FOLDER}/inverse_dct_hwc.cu", (
        "min(a.tile_columns, a.width - first_column)@;", "min(a.tile_channels, stored - first_channel)@;",
        "min(first_row + a.rows_per_block, a.height)@;",
    )),
    Bounds(mask.OPERATOR, MASK_IN_TWO_PASSES, "spectral_mask/spectral_mask.cuh", (
        "int row = tile.row; row < tile.rows@;",
    )),
    Bounds(mask.OPERATOR, MASK_IN_TWO_PASSES, PLANE, (
        "min(op.height - tile.first_row, work.rows_per_band)@;", "i < tile.rows * ROW_STRIDE@;",
        "tile.packs = op.width / VEC@;",
    )),
    Bounds(mask.OPERATOR, MASK_IN_TWO_PASSES, TWO_PASSES, (
        "band < work.bands@;", "static_cast<unsigned>(work.bands) * kThreads@)",
        "return {later - both@, band, true};", "job.band) * tokens@;",
    )),
    Bounds(mask.OPERATOR, MASK_HWC, PLANE, (
        "pack % kGroups * kGroupChannels < tile.channels@", "tile.packs = op.width * kGroups@;",
    )),
    Bounds(upsampling.OPERATOR, UPSAMPLING, UPSAMPLE, ("i < (bottom - top@) * runs", "if (x + p < cell.x_end@) {")),
    Bounds(upsampling.OPERATOR, UPSAMPLING, LOGITS, (
        "left_ + index % kPacks * kPerPack, last@)", "index % rows_, op_.low_height - 1@)",
        "first, (end - first@) * rows_ * kPacks",
    )),
    Bounds(upsampling.OPERATOR, upsampling_check((1, 2, 5, 33), (20, 132)), LOGITS, (
        "left_ + index % kColumns, op_.low_width - 1@)",
    )),
    Bounds(upsampling.OPERATOR, upsampling_check((1, 2, 1, 2), (17, 34)), UPSAMPLE, ("if (pixel >= pixels@) {",)),
    Bounds(upsampling.OPERATOR, upsampling_check((1, 3, 1, 4), (17, 68)), LOGITS, (
        "first_class + s < classes_@", "column + 1 < op.low_width@",
    )),
    Bounds(frames.PREPARATION, frames_check((9, 16), (20, 32)), FRAMES, (
        "if (x >= op.width@) {", "min(max(index, 0), size - 1@)", "down >= op.filled_height@ ||",
    )),
    Bounds(frames.PREPARATION, frames_check((20, 9), (12, 33)), FRAMES, ("across >= op.filled_width@) {",)),
    Bounds(frames.RESTORATION, restored_check((9, 30), (12, 16)), FRAMES, (
        "if (x >= op.frame_width@) {", "across < op.seen_width@;",
    )),
    Bounds(frames.RESTORATION, restored_check((30, 9), (12, 16)), FRAMES, ("down < op.seen_height@;",)),
]  # fmt: skip
EXCEEDED = {name: (bounds, mistake) for bounds in BOUNDS for name, mistake in bounds.mistakes().items()}
MISTAKES = {**WITHOUT_A_BARRIER, **WITHOUT_A_WAIT, **{name: mistake for name, (_, mistake) in EXCEEDED.items()}}
REPORTS = (
    r"an access outside of|a write just before or past|an index past|threads part at a barrier|a wait for a block|"
    rf"depends on the order|not the formula|^{CRASHED}$"
)


def test_every_file_with_barriers_or_waits_has_its_run() -> None:
    assert {mistake.file for mistake in WITHOUT_A_BARRIER.values()} == set(BARRIERS)
    assert {mistake.file for mistake in WITHOUT_A_WAIT.values()} == set(WAITS)


def test_every_kernel_has_a_bound_that_is_exceeded() -> None:
    kernels = {str(file.relative_to(KERNELS)) for file in KERNELS.glob("*/*.cu*") if "__global__" in file.read_text()}
    assert kernels <= {bounds.file for bounds in BOUNDS}


@pytest.fixture(scope="module")
def mutants(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mutants]:
    made = Mutants(MISTAKES, objects, tmp_path_factory.mktemp("planted"))
    yield made
    made.close()


def test_without_a_mistake_every_run_is_right(mutants: Mutants) -> None:
    runs = [*BARRIERS.values(), *WAITS.values(), *((bounds.operator, bounds.check) for bounds in BOUNDS)]
    assert {mutants.outcome(operator, check) for operator, check in runs} == {RIGHT}


@pytest.mark.parametrize("name", WITHOUT_A_BARRIER)
def test_a_barrier_that_is_taken_away_is_reported(mutants: Mutants, name: str) -> None:
    assert re.search(REPORTS, mutants.outcome(*BARRIERS[MISTAKES[name].file], name))


@pytest.mark.parametrize("name", WITHOUT_A_WAIT)
def test_a_wait_for_the_launch_before_that_is_taken_away_is_reported(mutants: Mutants, name: str) -> None:
    outcome = mutants.outcome(*WAITS[MISTAKES[name].file], name)
    assert re.search(r"before the wait for the launch before|have not waited for the launch before", outcome)


@pytest.mark.parametrize("name", EXCEEDED)
def test_an_index_past_its_bound_is_reported(mutants: Mutants, name: str) -> None:
    bounds, _ = EXCEEDED[name]
    assert re.search(REPORTS, mutants.outcome(bounds.operator, bounds.check, name))


def crash(_operator: EmulatedOperator) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_brings_its_process_down_is_reported_and_the_next_one_is_right(mutants: Mutants) -> None:
    assert mutants.outcome(DCT, crash) == CRASHED
    assert mutants.outcome(DCT, SPLIT_DCT) == RIGHT
