"""A drive through a rendered street."""

from __future__ import annotations

from collections.abc import Iterator

from edgefsa.data.readers import SYNTHETIC_SIZE_HW
from edgefsa.media.video import DEFAULT_FPS
from edgefsa.segment.sources.base import FrameSource, SourceFrame

_FRAMES = 100


class SyntheticSource(FrameSource):
    """A drive through a rendered street, 360 x 480, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"synthetic{seed}")
        self._seed = seed
        self.total = _FRAMES
        self.fps = DEFAULT_FPS

    def __iter__(self) -> Iterator[SourceFrame]:
        from edgefsa.data.synthetic import render_clip

        clip = render_clip(self._seed, _FRAMES, SYNTHETIC_SIZE_HW, fps=DEFAULT_FPS)
        for index, (frame, _) in enumerate(clip):
            yield SourceFrame(frame, f"{self.name}_{index:06d}", index, index / DEFAULT_FPS)
