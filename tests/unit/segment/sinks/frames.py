"""Frames with masks, and runs, for sinks to take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgefsa.segment import FrameSource, Run, Segmentation, SegmentedFrame, Segmenter, SourceFrame
from tests.unit.segment.fakes import NAMES, PALETTE, TIMES, FakeSession, moving_square


def segmented(index: int, size_hw: tuple[int, int] = (48, 64), fps: float = 25) -> SegmentedFrame:
    """Frame `index` of the moving square, with the mask that FakeSession finds."""
    frame = moving_square(index, size_hw)
    segmentation = Segmentation(frame[..., 0] // 64, NAMES, PALETTE, TIMES)
    return SegmentedFrame(SourceFrame(frame, f"f{index}", index, index / fps), segmentation, "fake-fp32", 2.5)


class Squares(FrameSource):
    """Frames of the moving square, as fast as they are taken."""

    def __init__(self, count: int = 0, live: bool = False, fps: float | None = 25.0) -> None:
        super().__init__("squares")
        self.total, self.live, self.fps = count, live, fps

    def __iter__(self) -> Iterator[SourceFrame]:
        for index in range(self.total or 0):
            yield segmented(index, fps=self.fps or 1.0).source


def run_of(
    live: bool = False,
    fps: float | None = 25.0,
    engines: tuple[str, ...] = ("fake-fp32",),
    on_note: Callable[[str], None] | None = None,
) -> Run:
    """A run whose engines are fakes."""
    segmenters = {name: Segmenter(FakeSession()) for name in engines}
    return Run(Squares(live=live, fps=fps), segmenters, on_note=on_note)
