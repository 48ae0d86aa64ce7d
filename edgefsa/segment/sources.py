"""Where frames come from: an image, a folder, a video, a camera, or a rendered street.

What is damaged is used as far as it goes: a video gives the frames that can be decoded, a folder the pictures that can
be read. `FrameSource.notes` and `FrameSource.failures` then say what is missing.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgefsa.data.readers import SYNTHETIC_SIZE_HW
from edgefsa.errors import InputError, SourceError
from edgefsa.media.camera import Camera
from edgefsa.media.depth import check_bits
from edgefsa.media.frames import Frame
from edgefsa.media.notes import PictureNotes
from edgefsa.media.orientation import check_convention
from edgefsa.media.pictures import IMAGE_SUFFIXES, is_picture, read_picture, value_bits
from edgefsa.media.video import DEFAULT_FPS, VideoReader

_SYNTHETIC_FRAMES = 100


@dataclass(frozen=True)
class SourceFrame:
    """A frame uint8 [H, W, 3] BGR, a name for its files, its index, and its time from the first frame, in seconds.

    `captured_ns` is when it was captured or decoded, by `time.perf_counter_ns`; `device_time_s` the time that the
    camera or stream itself gives it, on a clock of its own.
    """

    frame: Frame
    name: str
    index: int
    time_s: float
    captured_ns: int = field(default_factory=time.perf_counter_ns)
    device_time_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why."""

    file: str
    reason: str


class FrameSource(ABC):
    """Frames in order, once through.

    `total` is the number of frames as far as it is known beforehand; `fps` is None where frames have no
    rate (images); `live` frames come whether they are taken or not (a camera). After the last frame `notes` says
    what a user should know, and `failures` lists the files that were left out. `on_note` is called with a note at once,
    `on_reconnect` when a source that was lost is back; the pipeline sets both.
    """

    name: str
    total: int | None = None
    fps: float | None = None
    live: bool = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []
        self.failures: list[Failure] = []
        self.on_note: Callable[[str], None] = lambda note: None
        self.on_reconnect: Callable[[], None] = lambda: None

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Yield the frames; SourceError where not one can be read."""

    def interrupt(self) -> None:  # noqa: B027 most sources never wait for long
        """Ask a read that is under way in another thread to end soon, and no other to begin."""

    def close(self) -> None:  # noqa: B027 most sources hold nothing open
        """Release a file or a device; another thread may be reading it."""


def open_source(spec: str | Path, *, orientation: str = "exif", bits: int | None = None) -> FrameSource:
    """Open an image file, a folder of images, a video file, `camera:N`, or `synthetic[:SEED]`.

    `orientation` ("exif" or "raw") and `bits` (of 16-bit values) are for images: see `media.pictures.read_picture`.
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
        return ImageSource(_images_of(path), path.resolve().name, orientation=orientation, bits=bits)
    if not path.exists():
        raise SourceError(f"{path} does not exist; give an image, a folder, a video, camera:0 or synthetic")
    if is_picture(path):
        return ImageSource([path], path.stem, orientation=orientation, bits=bits)
    return VideoSource(path)


class ImageSource(FrameSource):
    """Image files, one frame each.

    One file of a folder that cannot be read is left out and listed in `failures`. Without `bits` the 16-bit files
    of a folder are taken for as many bits as the largest value among them has.
    """

    def __init__(self, paths: list[Path], name: str, *, orientation: str = "exif", bits: int | None = None) -> None:
        super().__init__(name)
        self.paths = paths
        self.total = len(paths)
        self._orientation, self._bits = check_convention(orientation), check_bits(bits)

    def __iter__(self) -> Iterator[SourceFrame]:
        noticed = PictureNotes()
        bits = self._bits or value_bits(self.paths)
        for index, (path, name) in enumerate(zip(self.paths, _unique_names(self.paths), strict=True)):
            try:
                picture = read_picture(path, orientation=self._orientation, bits=bits)
            except SourceError as error:
                if len(self.paths) == 1:
                    raise
                self.failures.append(Failure(str(path), str(error)))
                continue
            noticed.add(path, picture)
            yield SourceFrame(picture.frame, name, index, float(index))
        if len(self.failures) == len(self.paths):
            first = self.failures[0].reason
            raise SourceError(f"none of the {len(self.paths)} pictures of {self.name} can be read; the first: {first}")
        self.notes += noticed.lines()


def _images_of(folder: Path) -> list[Path]:
    """Return the images that lie in `folder`, by name; SourceError where there are none."""
    files = folder.iterdir()
    paths = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    if not paths:
        raise SourceError(f"{folder} holds no images; give a folder with files of {', '.join(IMAGE_SUFFIXES)}")
    return paths


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


class VideoSource(FrameSource):
    """A video file, upright, each frame with the time that the file gives it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self._reader = VideoReader(path)
        self.fps, self.total, self.notes = self._reader.fps, self._reader.total, self._reader.notes

    def __iter__(self) -> Iterator[SourceFrame]:
        for index, timed in enumerate(self._reader):
            yield SourceFrame(timed.frame, f"{self.name}_{index:06d}", index, timed.time_s)

    def close(self) -> None:
        """Release the file, at the end of a read that is under way."""
        self._reader.close()


class CameraSource(FrameSource):
    """A camera by its number; it goes on until it is stopped or unplugged. Times are those of the clock."""

    live = True

    def __init__(self, number: int) -> None:
        super().__init__(f"camera{number}")
        self._camera = Camera(number)
        self.fps = self._camera.fps

    def __iter__(self) -> Iterator[SourceFrame]:
        count = 0
        for timed in self._camera:
            yield SourceFrame(timed.frame, f"{self.name}_{count:06d}", count, timed.time_s)
            count += 1
        self.notes.append(f"camera {self._camera.number} stopped after {count} frames")

    def close(self) -> None:
        """Release the camera, at the end of a read that is under way."""
        self._camera.close()


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
