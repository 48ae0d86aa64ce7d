"""Where masks go: a folder of overlays and masks, or a video. What is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from edgefsa.artifacts import atomic_file
from edgefsa.errors import InputError, OutputError
from edgefsa.media.frames import Frame, resize_frame
from edgefsa.media.labels import write_label
from edgefsa.media.pictures import write_image
from edgefsa.media.quiet import quiet_opencv
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.segmentation import Segmentation
from edgefsa.segment.sources import SourceFrame

# The first code that this OpenCV can write is taken. Its wheels have no H.264 encoder of their own.
_FOURCC_BY_SUFFIX = {
    ".mp4": ("mp4v", "avc1"),
    ".avi": ("MJPG",),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "avc1"),
    ".webm": ("VP90", "VP80"),
}
VIDEO_SUFFIXES = tuple(_FOURCC_BY_SUFFIX)


class Sink(ABC):
    """Takes each frame with its mask; a context manager. `outputs` lists the files once they are whole."""

    def __init__(self, style: OverlayStyle | None = None) -> None:
        self.style = style or OverlayStyle()
        self.outputs: list[Path] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @abstractmethod
    def write(self, source_frame: SourceFrame, segmentation: Segmentation) -> None:
        """Take one frame; OutputError where it cannot be written."""


class FolderSink(Sink):
    """Writes NAME_overlay.jpg and NAME_mask.png (class indices, with the palette) for each frame."""

    def __init__(self, folder: str | Path, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.folder = Path(folder)

    def write(self, source_frame: SourceFrame, segmentation: Segmentation) -> None:
        """Write the two files."""
        overlay = segmentation.overlay(source_frame.frame, self.style)
        base = self.folder / source_frame.name
        self.outputs.append(write_image(f"{base}_overlay.jpg", overlay))
        self.outputs.append(write_label(f"{base}_mask.png", segmentation.mask, segmentation.palette_rgb))


class VideoSink(Sink):
    """Writes overlays as a video, whose suffix picks the container: .mp4, .avi, .mkv, .mov or .webm.

    The size is that of the first frame, made even by repeating the last row or column (codecs take no odd
    sizes); later frames of another size are resized. The file appears when the sink is left without an error.
    """

    def __init__(self, path: str | Path, fps: float, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.path = Path(path)
        self.fps = fps
        self.frames = 0
        self._stack = contextlib.ExitStack()
        self._writer: cv2.VideoWriter | None = None
        self._size_hw = (0, 0)
        if self.path.suffix.lower() not in _FOURCC_BY_SUFFIX:
            raise InputError(f"{self.path.name}: cannot write that video format; use {', '.join(VIDEO_SUFFIXES)}")
        if not 0 < fps < float("inf"):
            raise InputError(f"a video of {fps} frames a second cannot be written; give a rate above 0")

    def write(self, source_frame: SourceFrame, segmentation: Segmentation) -> None:
        """Append one frame."""
        overlay = segmentation.overlay(source_frame.frame, self.style)
        if self._writer is None:
            self._size_hw = (overlay.shape[0], overlay.shape[1])
            with contextlib.ExitStack() as stack:  # without an encoder nothing is left behind
                self._partial = stack.enter_context(atomic_file(self.path))
                self._writer = self._open_writer()
                self._stack = stack.pop_all()
        self._writer.write(_even(resize_frame(overlay, self._size_hw)))
        self.frames += 1

    def __exit__(self, *error: Any) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if error[0] is not None:
            self._stack.__exit__(*error)  # atomic_file drops the file
            return
        with self._stack:
            self._check_written()
        self.outputs.append(self.path)

    def _open_writer(self) -> cv2.VideoWriter:
        height, width = (side + side % 2 for side in self._size_hw)
        codes = _FOURCC_BY_SUFFIX[self.path.suffix.lower()]
        with quiet_opencv(), _quiet_stderr():
            for code in codes:
                writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*code), self.fps, (width, height))
                if writer.isOpened():
                    return writer
        raise OutputError(f"cannot write {self.path}: this OpenCV encodes none of {', '.join(codes)}; use .avi")

    def _check_written(self) -> None:
        # OpenCV's writer tells of no error, a full disk least of all: the file itself must give its last frame.
        with quiet_opencv():
            written = cv2.VideoCapture(str(self._partial))
            count = round(written.get(cv2.CAP_PROP_FRAME_COUNT))  # Matroska's is rounded from its duration
            written.set(cv2.CAP_PROP_POS_FRAMES, min(count, self.frames) - 1)
            whole = count >= self.frames - 1 and written.read()[0]
            written.release()
        if not whole:
            raise OutputError(
                f"cannot write {self.path}: the last of its {self.frames} frames did not arrive; "
                "free space or choose another place with -o"
            )


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Lead standard error nowhere: OpenCV prints there, past its own log, that WebM has no codec tags."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _even(frame: Frame) -> Frame:
    odd_rows, odd_columns = frame.shape[0] % 2, frame.shape[1] % 2
    if not odd_rows and not odd_columns:
        return frame
    padded: Frame = cv2.copyMakeBorder(frame, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
    return padded
