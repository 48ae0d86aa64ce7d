"""A drive through a rendered street, rendered once and kept."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np

from edgefsa.artifacts import atomic_file
from edgefsa.cache import cache_folder, keep_newest
from edgefsa.data.readers import SYNTHETIC_SIZE_HW
from edgefsa.data.scenes import renderer_sha256
from edgefsa.errors import OutputError
from edgefsa.media.frames import Frame
from edgefsa.media.video import DEFAULT_FPS
from edgefsa.segment.sources.base import FrameSource, SourceFrame

FRAMES = 100
_SHAPE = (FRAMES, *SYNTHETIC_SIZE_HW, 3)
_CLIPS_KEPT = 10


class SyntheticSource(FrameSource):
    """A drive through a rendered street, 360 x 480, the same for the same seed.

    Once it was iterated to its end, its frames lie in the cache (52 MB), and come from there.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(f"synthetic{seed}")
        self._seed, self._rendered_first = seed, False
        self._interrupted = threading.Event()
        self.total = FRAMES
        self.fps = DEFAULT_FPS

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, frame in enumerate(self._frames()):
            yield SourceFrame(frame, f"{self.name}_{index:06d}", index, index / DEFAULT_FPS)

    def keep_rate(self) -> None:
        """Render all frames before the first is yielded, where they are not in the cache."""
        self._rendered_first = True

    def interrupt(self) -> None:
        """End the rendering at the next frame."""
        self._interrupted.set()

    def _frames(self) -> Iterable[Frame]:
        path = clip_path(self._seed)
        if path.is_file() and path.stat().st_size == np.prod(_SHAPE):
            with contextlib.suppress(OSError):
                path.touch()  # used last
            return (np.array(frame) for frame in np.memmap(path, np.uint8, "r", shape=_SHAPE))
        if not self._rendered_first:
            return self._rendered(path)
        self.note(f"{self.name} is rendered before it can be played, once: {FRAMES} frames")
        frames = []
        with contextlib.closing(self._rendered(path)) as rendered:
            for frame in rendered:
                frames.append(frame)
                if self._interrupted.is_set():
                    return []
        return frames

    def _rendered(self, path: Path) -> Generator[Frame, None, None]:
        """Yield the frames as they are rendered, and keep them where all of them are asked for."""
        from edgefsa.data.synthetic import render_clip

        clip = (frame for frame, _ in render_clip(self._seed, FRAMES, SYNTHETIC_SIZE_HW, fps=DEFAULT_FPS))
        try:
            with atomic_file(path) as partial, partial.open("wb") as file:
                for frame in clip:
                    yield frame
                    file.write(frame.tobytes())
            _forget_others(path)
        except OutputError as error:
            self.note_once(f"{self.name} is rendered anew each time: {error}")
            yield from clip


def clip_path(seed: int) -> Path:
    """Return where the frames of a seed are kept, as uint8 [100, 360, 480, 3] and nothing else."""
    return cache_folder("clips") / f"synthetic-{seed}-{_clip_sha256()[:16]}.bgr"


def _clip_sha256() -> str:
    """Return a hash of a clip's form and of the program that renders, so that no clip outlives a change of it."""
    return hashlib.sha256(f"{_SHAPE} {DEFAULT_FPS} {renderer_sha256()}".encode()).hexdigest()


def _forget_others(path: Path) -> None:
    """Remove the clips of other renderers, and those used longest ago where there are many."""
    version = path.stem.rpartition("-")[2]
    for clip in path.parent.glob("synthetic-*.bgr"):
        if not clip.stem.endswith(version):
            clip.unlink(missing_ok=True)
    keep_newest(path.parent, "synthetic-*.bgr", _CLIPS_KEPT)
