"""The ranking of blocks, on engines; and what it says of times, on figures made up."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from edgefsa.verify.sensitivity import BlockCost, analyse
from edgefsa.verify.sensitivity.analysis import NO_GAIN, SLOWER
from edgefsa.verify.sensitivity.figure import draw_ranking
from tests.unit.verify.sensitivity.conftest import Opener
from tests.unit.verify.sensitivity.small import NAMES


def test_the_damaged_block_is_first_and_the_budget_goes_to_it(opened: Opener, tmp_path: Path) -> None:
    found = analyse(opened(("b",)), budget=4)
    assert found.evaluations == 4
    assert {block.name for block in found.blocks} == {"stem_sum", *NAMES.values()}
    worst, *others = found.blocks
    assert worst.name == NAMES["b"] and worst.nodes == ("b1/Conv", "b2/Conv")
    assert worst.lost is not None and worst.regained is not None
    assert worst.lost > 50 and worst.regained > 50
    assert worst.regained == pytest.approx(worst.lost, abs=15), "nothing else costs much"
    assert worst.snr_db < 20 < worst.snr_without_db
    assert all(block.lost is None and block.gained_ms is None for block in others)
    assert all(block.snr_db > 30 and block.snr_without_db < 20 for block in others)
    assert found.float_miou == 100 and found.int8_miou < 50
    assert found.rest == "f32" and found.truth == "masks of the float network"
    picture = cv2.imread(str(draw_ranking(found, tmp_path / "ranking.png")))
    assert picture.shape[1] > 1000 and (picture != 255).any()


def cost(gained_ms: float | None, noise_ms: float | None) -> BlockCost:
    return BlockCost("b", ("c",), 0.1, 40.0, 30.0, gained_ms=gained_ms, noise_ms=noise_ms)


@pytest.mark.parametrize(
    ("gained_ms", "verdict"), [(0.3, ""), (0.05, NO_GAIN), (-0.05, NO_GAIN), (-0.3, SLOWER), (None, "")]
)
def test_a_block_that_is_slower_in_int8_is_said_to_be(gained_ms: float | None, verdict: str) -> None:
    assert cost(gained_ms, None if gained_ms is None else 0.1).verdict == verdict
