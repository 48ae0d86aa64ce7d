"""Where frames come from: an image, a folder, a video, a camera, or a rendered street.

A damaged video is used as far as it goes: its whole frames are given, and `FrameSource.notes` then says how many
of how many there were. A video of which no frame can be read raises SourceError when it is opened.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefsa.data.readers import SYNTHETIC_SIZE_HW
from edgefsa.errors import InputError, SourceError
from edgefsa.media.frames import Frame
from edgefsa.media.pictures import IMAGE_SUFFIXES, read_image
from edgefsa.media.quiet import quiet_opencv

DEFAULT_FPS = 25.0
_PLAUSIBLE_FPS = (1.0, 240.0)
_SYNTHETIC_FRAMES = 100


@dataclass(frozen=True)
class SourceFrame:
    """A frame uint8 [H, W, 3] BGR, a name for its files, its index, and its time from the first frame."""

    frame: Frame
    name: str
    index: int
    time_s: float


class FrameSource(ABC):
    """Frames in order, once through.

    `total` is the number of frames as far as it is known beforehand; `fps` is None where frames have no
    rate (images); `live` frames come whether they are taken or not (a camera). `notes` says, after the
    last frame, what a user should know.
    """

    name: str
    total: int | None = None
    fps: float | None = None
    live: bool = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Give the frames; SourceError where one cannot be read."""

    def close(self) -> None:  # noqa: B027 most sources hold nothing open
        """Give back a file or a device."""


def open_source(spec: str | Path) -> FrameSource:
    """Open an image file, a folder of images, a video file, `camera:N`, or `synthetic[:SEED]`.

    Raises SourceError where it is missing, empty or unreadable, InputError for a malformed or empty `spec`.
    """
    if not str(spec).strip():
        raise InputError("the source is empty; give an image, a folder, a video, camera:0 or synthetic")
    kind, _, argument = str(spec).partition(":")
    if kind == "camera":
        return CameraSource(_whole_number(str(spec), argument))
    if kind == "synthetic":
        return SyntheticSource(_whole_number(str(spec), argument or "0"))
    path = Path(spec)
    if path.is_dir():
        return ImageSource.of_folder(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; give an image, a folder, a video, camera:0 or synthetic")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource([path], path.stem)
    return VideoSource(path)


class ImageSource(FrameSource):
    """Image files, one frame each, turned upright by their EXIF orientation."""

    def __init__(self, paths: list[Path], name: str) -> None:
        super().__init__(name)
        self.paths = paths
        self.total = len(paths)

    @classmethod
    def of_folder(cls, folder: Path) -> ImageSource:
        """Take the images that lie in `folder`, by name; SourceError where there are none."""
        files = folder.iterdir()
        paths = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
        if not paths:
            raise SourceError(f"{folder} holds no images; give a folder with files of {', '.join(IMAGE_SUFFIXES)}")
        return cls(paths, folder.resolve().name)

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, (path, name) in enumerate(zip(self.paths, _unique_names(self.paths), strict=True)):
            yield SourceFrame(read_image(path), name, index, float(index))


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Name each file by its stem; a.jpg and a.png, which must not write to the same files, become a_jpg and a_png."""
    times_used = Counter(path.stem for path in paths)
    taken = {stem for stem, count in times_used.items() if count == 1}
    names = []
    for path in paths:
        name = path.stem
        if times_used[name] > 1:
            base, number = path.name.replace(".", "_"), 2
            name = base
            while name in taken:
                name, number = f"{base}_{number}", number + 1
            taken.add(name)
        names.append(name)
    return names


class _CaptureSource(FrameSource):
    """What a video file and a camera share: OpenCV's capture, its rate and its first frame."""

    def __init__(self, name: str, target: str | int, failure: str) -> None:
        super().__init__(name)
        with quiet_opencv():
            self._capture = cv2.VideoCapture(target)
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            self._first = self._read()
        if self._first is None:
            self.close()
            raise SourceError(failure)
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else DEFAULT_FPS

    def __iter__(self) -> Iterator[SourceFrame]:
        frame, index, start_s = self._first, 0, time.monotonic()
        while frame is not None:
            yield SourceFrame(frame, f"{self.name}_{index:06d}", index, self._time_s(index, start_s))
            index += 1
            frame = self._read()
        self._ended(index)

    def close(self) -> None:
        self._capture.release()

    def _read(self) -> Frame | None:
        try:
            found, frame = self._capture.read()
        except cv2.error:
            return None
        return np.asarray(frame, np.uint8) if found else None

    @abstractmethod
    def _time_s(self, index: int, start_s: float) -> float: ...

    @abstractmethod
    def _ended(self, count: int) -> None: ...


class VideoSource(_CaptureSource):
    """A video file, turned as its rotation flag says."""

    def __init__(self, path: Path) -> None:
        failure = f"{path} is no video that can be decoded, or it is cut short; give a whole video or an image"
        super().__init__(path.stem, str(path), failure)
        self._path = path
        total = round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = total if total > 0 else None

    def _time_s(self, index: int, start_s: float) -> float:
        position_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        return position_ms / 1e3 if position_ms > 0 else index / (self.fps or DEFAULT_FPS)

    def _ended(self, count: int) -> None:
        # Some containers only estimate the count, so a frame or one in a hundred says nothing.
        if self.total is not None and count < 0.99 * self.total - 1:
            self.notes.append(f"{self._path} is cut short or damaged: {count} of its {self.total} frames were read")


class CameraSource(_CaptureSource):
    """A camera by its number; it goes on until it is stopped or unplugged."""

    live = True

    def __init__(self, number: int) -> None:
        failure = f"camera {number} gives no frames; is it connected, free, and are you allowed to use it?"
        super().__init__(f"camera{number}", number, failure)
        self._number = number

    def _time_s(self, index: int, start_s: float) -> float:
        return time.monotonic() - start_s

    def _ended(self, count: int) -> None:
        self.notes.append(f"camera {self._number} stopped after {count} frames")


class SyntheticSource(FrameSource):
    """A drive through a rendered street, 360 x 480, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"synthetic{seed}")
        self._seed = seed
        self.total = _SYNTHETIC_FRAMES
        self.fps = DEFAULT_FPS

    def __iter__(self) -> Iterator[SourceFrame]:
        from edgefsa.data.synthetic import render_clip

        clip = render_clip(self._seed, _SYNTHETIC_FRAMES, SYNTHETIC_SIZE_HW, fps=DEFAULT_FPS)
        for index, (frame, _) in enumerate(clip):
            yield SourceFrame(frame, f"{self.name}_{index:06d}", index, index / DEFAULT_FPS)


def _whole_number(spec: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        kind = spec.partition(":")[0]
        raise InputError(f"{spec}: {text!r} is no whole number; write {kind}:0, for example")
    return int(text)
