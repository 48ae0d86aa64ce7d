"""What is found in the samples of a data set while they are read, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from edgefsa.data.readers import Dataset, Sample
from edgefsa.errors import UnreadableError

_AT_ONCE = 8  # samples whose pixels are held in memory at a time


class Survey:
    """Counts over samples: turned frames, scaled labels, pixels of each class (int64 [256]), unreadable files."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.frames = 0
        self.unreadable: list[str] = []
        self._turned: list[str] = []
        self._resized: list[str] = []
        self._pixels = np.zeros(256, np.int64)

    def readable(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Yield the samples at `indices` whose files can be read, and count them all.

        Raises DataError where a label does not follow the data set's convention.
        """
        yield from self._counted(map(self._read, indices))

    def read_all(self) -> None:
        """Read every sample that lies in files once, several at a time; raises DataError as `readable` does."""
        indices = range(len(self._dataset) if self._dataset.from_files else 0)
        with ThreadPoolExecutor() as pool:
            for first in indices[::_AT_ONCE]:
                for _ in self._counted(pool.map(self._read, indices[first : first + _AT_ONCE])):
                    pass

    def check_any(self) -> None:
        """Raise UnreadableError where there were samples and not one could be read."""
        if self.unreadable and not self.frames:
            raise UnreadableError(self.unreadable[0])

    def notes(self) -> list[str]:
        """Return what was guessed of the labels and what to write where the guess is wrong, a line each."""
        return [*self._turned_notes(), *self._resized_notes(), *self._class_notes()]

    def _read(self, index: int) -> Sample | UnreadableError:
        try:
            return self._dataset[index]
        except UnreadableError as error:
            return error

    def _counted(self, found: Iterable[Sample | UnreadableError]) -> Iterator[Sample]:
        for item in found:
            if isinstance(item, UnreadableError):
                self.unreadable.append(str(item))
            else:
                self._count(item)
                yield item

    def _count(self, sample: Sample) -> None:
        self.frames += 1
        if sample.orientation != 1:
            self._turned.append(sample.name)
        if sample.label is not None:
            label = np.ascontiguousarray(sample.label)
            self._pixels += cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
            if sample.label_hw not in (None, sample.label.shape) and sample.label_hw != sample.label.shape[::-1]:
                self._resized.append(f"{sample.name}: {_size(sample.label_hw)} for {_size(sample.label.shape)}")

    def _turned_notes(self) -> list[str]:
        if not self._turned:
            return []
        frames = f"{len(self._turned)} of {self.frames} frames were turned upright by their EXIF orientation"
        first = f"{frames} ({self._turned[0]} first)"
        if not self._pixels.any():
            return [first]
        raw = self._dataset.convention.label_orientation == "raw"
        done = "and their labels with them" if raw else "their labels were not"
        where, setting = ("upright picture", "upright") if raw else ("raw pixels", "raw")
        remedy = self._dataset.convention.remedy(f'label_orientation = "{setting}"')
        return [f"{first}, {done}; if labels are drawn on the {where}, {remedy}"]

    def _resized_notes(self) -> list[str]:
        if not self._resized:
            return []
        return [
            f"{len(self._resized)} of {self.frames} labels have another size than their frame ({self._resized[0]}) and "
            "were scaled by nearest neighbour"
        ]

    def _class_notes(self) -> list[str]:
        classes = self._dataset.class_set
        found = np.flatnonzero(self._pixels[: classes.num_classes])
        ignored = self._pixels[classes.ignore_index]
        if len(found) != 1 or classes.num_classes < 2 or not ignored:
            return []
        name = classes.names[int(found[0])]
        remedy = self._dataset.convention.remedy("values = [0, 255]" if classes.num_classes == 2 else "values = [...]")
        values = " and ".join(str(value) for value in sorted({classes.ignore_index, 255}))
        return [f"the labels hold {name!r} alone: the value {values} is no class and not counted; if it is, {remedy}"]


def _size(size_hw: tuple[int, ...] | None) -> str:
    return "x".join(map(str, size_hw or ()))
