"""Frames of files: pictures one by one, folders, and videos. Each can be iterated again, which `--loop` does.

What is damaged is used as far as it goes: a video gives the frames that can be decoded, a folder the pictures that can
be read.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgefsa.errors import SourceError
from edgefsa.media.address import name_of, redacted
from edgefsa.media.depth import check_bits
from edgefsa.media.notes import PictureNotes
from edgefsa.media.orientation import check_convention
from edgefsa.media.pictures import IMAGE_SUFFIXES, read_picture, value_bits
from edgefsa.media.video import VideoReader
from edgefsa.segment.sources.base import Failure, FrameSource, SourceFrame


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
                failure = Failure(str(path), str(error))
                if failure not in self.failures:
                    self.failures.append(failure)
                continue
            noticed.add(path, picture)
            yield SourceFrame(picture.frame, name, index, float(index))
        if len(self.failures) == len(self.paths):
            first = self.failures[0].reason
            raise SourceError(f"none of the {len(self.paths)} pictures of {self.name} can be read; the first: {first}")
        for line in noticed.lines():
            self.note_once(line)


def images_of_folder(folder: Path) -> list[Path]:
    """Return the images that lie in `folder`, by name; SourceError where there are none."""
    files = folder.iterdir()
    paths = sorted(path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    if not paths:
        raise SourceError(f"{folder} holds no images; give a folder with files of {', '.join(IMAGE_SUFFIXES)}")
    return paths


def images_of_glob(pattern: str) -> list[Path]:
    """Return the files that match a pattern (`*`, `?`, `[...]`, `**` for folders), by name.

    SourceError where there are none.
    """
    # Path.glob takes no absolute pattern.
    paths = sorted(path for path in map(Path, glob.glob(pattern, recursive=True)) if path.is_file())  # noqa: PTH207
    if not paths:
        raise SourceError(f"no file matches {redacted(pattern)}; check it, and quote it so that the shell leaves it")
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
    """A video file by its path or its http(s) address, upright, each frame with the time that the file gives it."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path.stem if isinstance(path, Path) else name_of(path))
        self._path = path
        self._reader = VideoReader(path)
        self._begun = self._closed = False
        self.fps, self.total = self._reader.fps, self._reader.total

    def __iter__(self) -> Iterator[SourceFrame]:
        if self._begun:
            self._reader.close()
            self._reader = VideoReader(self._path)
            if self._closed:
                self._reader.close()
        self._begun = True
        self._take_notes()
        for index, timed in enumerate(self._reader):
            yield SourceFrame(timed.frame, f"{self.name}_{index:06d}", index, timed.time_s)
        self._take_notes()

    def close(self) -> None:
        """Release the file, at the end of a read that is under way."""
        self._closed = True
        self._reader.close()

    def _take_notes(self) -> None:
        for note in self._reader.notes:
            self.note_once(note)
