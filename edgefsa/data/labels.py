"""From a label's file to class indices, by the data set's convention."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefsa.data.classes import ClassSet
from edgefsa.data.colours import Rgb
from edgefsa.data.convention import REST, Convention
from edgefsa.errors import DataError, InputError, SourceError, UnreadableError
from edgefsa.media.frames import Mask, resize_mask
from edgefsa.media.labels import read_label, read_label_colours
from edgefsa.media.orientation import upright

# Sides may differ by rounding where a frame and its label were scaled apart.
_ASPECT_TOLERANCE = 0.02
_WRONG = -1


@dataclass(frozen=True)
class LabelReader:
    """Reads labels as uint8 [H, W] of class indices, with the ignore index of `class_set` for what is no class.

    `colours` says which colour is which index; it is empty where no table is known. `rows` is the index of each row
    of a colour table that alone names the classes: the values of labels without colours count its rows.
    """

    class_set: ClassSet
    convention: Convention
    colours: tuple[tuple[Rgb, int], ...] = ()
    rows: tuple[int, ...] = ()

    def read(self, path: Path, frame_hw: tuple[int, int], orientation: int) -> tuple[Mask, tuple[int, int]]:
        """Return the label at its frame's size (by nearest neighbour), and the size that it is stored in.

        `orientation` is the EXIF code (1 to 8) by which the frame was turned upright. Raises UnreadableError for a
        damaged file and DataError for one that does not follow the convention.
        """
        label = self._indices(path)
        stored_hw = (label.shape[0], label.shape[1])
        if self._raw:
            label = upright(label, orientation)
        self._check_size(path, label, frame_hw, orientation)
        return resize_mask(label, frame_hw), stored_hw

    @property
    def _raw(self) -> bool:
        return self.convention.label_orientation == "raw"

    @property
    def _turn(self) -> str:
        return "raw" if self._raw else "exif"

    def _indices(self, path: Path) -> Mask:
        coloured = is_coloured(path)
        if self.convention.form == "colours" or (coloured and self.convention.form is None):
            return self._from_colours(path)
        read = _equal_channels(path, self._turn) if coloured else _read(read_label, path, self._turn)
        stored = np.ascontiguousarray(read)  # a turned one is a view, which OpenCV does not take
        table = value_table(self.class_set, self.convention, self.rows)
        counts = cv2.calcHist([stored], [0], None, [256], [0, 256]).ravel()
        wrong = np.flatnonzero((counts > 0) & (table == _WRONG))
        if wrong.size:
            raise DataError(self._wrong_value(path, int(wrong[0])))
        return np.asarray(cv2.LUT(stored, table.astype(np.uint8)), np.uint8)

    def _from_colours(self, path: Path) -> Mask:
        if not self.colours:
            remedy = self.convention.remedy('colours = "FILE"')
            raise DataError(
                f"{path} holds colours, and no table says which class each is; put label_colors.txt (R G B NAME, a "
                f"class a line) beside the data, or {remedy}"
            )
        rgb = _read(read_label_colours, path, self._turn).astype(np.int32)
        keys, indices = _sorted_colours(self.colours)
        packed = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        places = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
        wrong = packed[keys[places] != packed]
        if wrong.size:
            colour = (int(wrong[0]) >> 16, int(wrong[0]) >> 8 & 255, int(wrong[0]) & 255)
            raise DataError(
                f"{path} holds the colour {colour}, which is no class ({wrong.size} such pixels); add it to the table, "
                f"or save the label without blending, or {self.convention.remedy(_INDICES)} where it holds indices"
            )
        return indices[places]

    def _wrong_value(self, path: Path, value: int) -> str:
        count, ignored = self.class_set.num_classes, self.class_set.ignore_index
        if self.convention.values:
            remedy = self.convention.remedy(f'values = [...] with {value} in it, or unlabelled = [{value}] or "{REST}"')
        elif value == count:
            remedy = self.convention.remedy(
                f'zero = "unlabelled" where classes count from 1, or unlabelled = [{value}]'
            )
        else:
            remedy = self.convention.remedy(f"unlabelled = [{value}], or values = [...] with the value of each class")
        return (
            f"{path} holds class {value}; {self.class_set.name} has 0 to {count - 1} and {ignored} for unlabelled: "
            f"mend the label, list the classes in classes.txt, or {remedy}"
        )

    def _check_size(self, path: Path, label: Mask, frame_hw: tuple[int, int], orientation: int) -> None:
        height, width = label.shape
        if _same_aspect(label.shape, frame_hw):
            return
        sizes = f"{path} is {height}x{width}, its image {frame_hw[0]}x{frame_hw[1]} (height x width)"
        if orientation > 4 and _same_aspect((width, height), frame_hw):
            other = "upright" if self._raw else "raw"
            remedy = self.convention.remedy(f'label_orientation = "{other}"')
            raise DataError(
                f"{sizes}, which was turned upright by its EXIF orientation; if labels are drawn on the {other} "
                f"pixels, {remedy}"
            )
        raise DataError(f"{sizes}; both must show the same view: mend the one that is wrong")


_INDICES = 'form = "indices"'


def value_table(class_set: ClassSet, convention: Convention, rows: tuple[int, ...] = ()) -> npt.NDArray[np.int16]:
    """Return the class index of each stored value, int16 [256]; -1 for a value that no label may hold.

    The classes (or `rows`, see LabelReader) count from 0, or from 1 where zero is unlabelled; `values` says it
    otherwise. The ignore index and 255 are unlabelled unless they are a class's value. Raises InputError where the
    number of values is not that of the classes.
    """
    ignored = class_set.ignore_index
    indices = rows if rows and not convention.values else tuple(range(class_set.num_classes))
    first = 1 if convention.zero == "unlabelled" else 0
    values = convention.values or tuple(range(first, first + len(indices)))
    if len(values) != len(indices) or len(set(values)) != len(values) or max(values) > 255:
        raise InputError(
            f"{convention.path}: values names {len(set(values))} values for {len(indices)} classes; give each class "
            "one of its own, 0 to 255"
        )
    table = np.full(256, ignored if convention.unlabelled == REST else _WRONG, np.int16)
    table[[ignored, 255]] = ignored
    if first:
        table[0] = ignored
    table[list(values)] = indices
    if not isinstance(convention.unlabelled, str):
        table[list(convention.unlabelled)] = ignored
    return table


@functools.lru_cache(maxsize=8)
def _sorted_colours(colours: tuple[tuple[Rgb, int], ...]) -> tuple[npt.NDArray[np.int32], Mask]:
    """Return packed colours in rising order, int32, and the class index of each, uint8."""
    packed = sorted((red << 16 | green << 8 | blue, index) for (red, green, blue), index in colours)
    return np.array([key for key, _ in packed], np.int32), np.array([index for _, index in packed], np.uint8)


def is_coloured(path: Path) -> bool:
    """Return whether a label's file has three channels or four; false where it cannot be opened."""
    try:
        with Image.open(path) as picture:
            return picture.mode in ("RGB", "RGBA")
    except OSError:
        return False  # read_label says what is wrong


def _read(reader: Callable[..., npt.NDArray[np.uint8]], path: Path, orientation: str) -> npt.NDArray[np.uint8]:
    try:
        return reader(path, orientation=orientation)
    except SourceError as error:
        raise UnreadableError(str(error)) from error


def _equal_channels(path: Path, orientation: str) -> Mask:
    """Return indices that are stored three times over, as R, G and B."""
    rgb = _read(read_label_colours, path, orientation)
    if (rgb != rgb[..., :1]).any():
        raise DataError(f"{path} holds colours, not indices; leave form out, or mend the label")
    return rgb[..., 0]


def _same_aspect(size_hw: tuple[int, ...], other_hw: tuple[int, ...]) -> bool:
    ratio = (size_hw[0] * other_hw[1]) / max(size_hw[1] * other_hw[0], 1)
    return abs(ratio - 1) <= _ASPECT_TOLERANCE
