"""The inverse DCT's accesses to shared memory, as its kernels make them on the host: how many meet in one bank."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.emulation.build import PLUGINS, RECORDING, build_operator
from tests.kernels.emulation.run import EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, HWC8, INT8, LINEAR, to_format
from tests.kernels.truncated_dct_attention import (
    DTYPES,
    FOLDER,
    INVERSE_DCT,
    Array,
    Case,
    settings_of,
    tensors_of,
    token_stride,
)

BANKS, WORD = 32, 4
SERVED_BYTES = 128  # at once: 32 lanes with 4 bytes each, or 8 lanes with 16
# How columns lay in shared memory before: neighbours side by side.
AS_THEY_LIE = (
    ("return place % run_stride / 4 * COLUMNS", "return emulationPlanted ? place : place % run_stride / 4 * COLUMNS"),
    ("return column / 4 % kRuns", "return emulationPlanted ? column : column / 4 % kRuns"),
    ("+ column / COLUMNS * 4;\n#", "+ (emulationPlanted ? column : column / COLUMNS * 4);\n#"),
    ("tile.right_run_stride, r)", "emulationPlanted ? 4 : tile.right_run_stride, r)"),
)


@pytest.fixture(scope="module")
def inverse(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> EmulatedOperator:
    """Return the inverse DCT with its accesses recorded; its mistake 1 is the layout AS_THEY_LIE."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(PLUGINS / "kernels", root / "kernels")
    header = root / "kernels" / FOLDER / "inverse_dct.cuh"
    source = header.read_text()
    for text, planted in AS_THEY_LIE:
        assert source.count(text) == 1
        source = source.replace(text, planted)
    header.write_text(source)
    library = build_operator(INVERSE_DCT, objects, root / "built", root, RECORDING)
    return EmulatedOperator(INVERSE_DCT, library)


def worst_conflict(accesses: Array) -> int:
    """Return the most words of one bank that lanes ask for at once; 1 where no access has to wait for another.

    What lanes do at one place of the code belongs together: first with first, second with second.
    """
    worst = 0
    for code in np.unique(accesses["code"]):
        here = accesses[accesses["code"] == code]
        at_once = SERVED_BYTES // int(here["bytes"][0])
        # By the order among the thread's own accesses, and the lanes that are served together.
        lanes = [here[here["thread"] == thread] for thread in np.unique(here["thread"])]
        together: dict[tuple[int, int], set[int]] = {}
        for lane in lanes:
            for time, access in enumerate(lane):
                first = int(access["offset"]) // WORD
                words = range(first, first + int(access["bytes"]) // WORD)
                together.setdefault((time, int(access["thread"]) // at_once), set()).update(words)
        worst = max(worst, *(np.bincount([word % BANKS for word in words]).max() for words in together.values()))
    return worst


def conflict_of(operator: EmulatedOperator, shape: tuple[int, int, int, int], kind: int, form: int) -> int:
    tensors = tensors_of(Case(shape, (3, 8)), kind)
    stored = to_format(tensors["x"].astype(DTYPES[kind]), form)
    settings = settings_of(tensors, kind, form) | {"y_scale": 1.0, "shift_gain": 1.0}
    change = np.zeros((*shape[:2], token_stride(3, 8)), np.float32)
    inputs = {name: tensors[name] for name in ("basis_h", "basis_w", "shift")}
    accesses = operator.accesses(
        {"x": stored, "change": change, **inputs}, {"y": (stored.shape, stored.dtype)}, settings
    )
    assert len(accesses) > 1000
    return worst_conflict(accesses)


# A type and format, a shape whose tile fills whole warps, and the conflict without the order of columns.
CASES = [
    ((1, 1, 8, 128), FLOAT, LINEAR, 1),
    ((1, 1, 16, 128), HALF, LINEAR, 2),
    ((1, 1, 8, 256), INT8, LINEAR, 4),
    ((1, 64, 1, 16), HALF, HWC8, 2),
]


@pytest.mark.parametrize(("shape", "kind", "form", "before"), CASES)
def test_no_access_waits_for_another(
    inverse: EmulatedOperator, shape: tuple[int, int, int, int], kind: int, form: int, before: int
) -> None:
    inverse.make_mistake(0)
    assert conflict_of(inverse, shape, kind, form) == 1
    inverse.make_mistake(1)
    assert conflict_of(inverse, shape, kind, form) == before


def test_where_rows_end_within_a_quarter_of_a_warp_two_words_meet_at_most(inverse: EmulatedOperator) -> None:
    inverse.make_mistake(0)
    assert conflict_of(inverse, (1, 1, 9, 83), HALF, LINEAR) == 2
