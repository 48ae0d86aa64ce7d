"""Data sets as lazily read sequences of frames and labels."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from edgefsa.artifacts import sha256_of_file
from edgefsa.data.classes import CAMVID, CITYSCAPES, ClassSet, class_set_from_file
from edgefsa.errors import DataError, InputError, SourceError
from edgefsa.media.frames import Frame, Mask
from edgefsa.media.labels import read_label
from edgefsa.media.pictures import IMAGE_SUFFIXES, read_image

SYNTHETIC_COUNTS = {"train": 400, "val": 32, "test": 32}
SYNTHETIC_SIZE_HW = (360, 480)

# Cityscapes' full label ids -> training ids; every id that is not listed is ignored.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@dataclass(frozen=True)
class Sample:
    """One frame, uint8 [H, W, 3] BGR, with its label, uint8 [H, W] of class indices, or None."""

    name: str
    frame: Frame
    label: Mask | None


class _Entry(Protocol):
    @property
    def name(self) -> str: ...

    def identity(self) -> str: ...

    def read(self, class_set: ClassSet) -> Sample: ...


@dataclass(frozen=True)
class _FileEntry:
    name: str
    image: Path
    label: Path | None = None
    full_ids: bool = False  # Cityscapes' labelIds files, mapped to training ids while reading

    def identity(self) -> str:
        try:
            hashes = [sha256_of_file(path) for path in (self.image, self.label) if path is not None]
        except OSError as error:
            raise DataError(
                f"cannot read {error.filename}: {(error.strerror or '').lower()}; check the path"
            ) from error
        return " ".join([f"{self.name}{self.image.suffix}", *hashes])

    def read(self, class_set: ClassSet) -> Sample:
        try:
            frame = read_image(self.image)
            label = None if self.label is None else read_label(self.label)
        except SourceError as error:
            raise DataError(str(error)) from error
        if label is not None:
            if self.full_ids:
                label = _training_ids()[label]
            self._check(frame, label, class_set)
        return Sample(self.name, frame, label)

    def _check(self, frame: Frame, label: Mask, class_set: ClassSet) -> None:
        if label.shape != frame.shape[:2]:
            sizes = f"{label.shape[0]}x{label.shape[1]}, its image {frame.shape[0]}x{frame.shape[1]}"
            raise DataError(f"{self.label} is {sizes} (height x width); both must have one size")
        found = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
        wrong = found[(found >= class_set.num_classes) & (found != class_set.ignore_index)]
        if wrong.size:
            raise DataError(
                f"{self.label} holds class {wrong[0]}; {class_set.name} has 0 to {class_set.num_classes - 1} "
                f"and {class_set.ignore_index} for unlabelled: mend the label, or list the classes in classes.txt"
            )


@dataclass(frozen=True)
class _SyntheticEntry:
    name: str
    seed: int

    def identity(self) -> str:
        from edgefsa.data.synthetic import GENERATOR_VERSION

        return f"{self.name} {self.seed} {SYNTHETIC_SIZE_HW} {GENERATOR_VERSION}"

    def read(self, class_set: ClassSet) -> Sample:
        from edgefsa.data.synthetic import render_scene

        frame, label = render_scene(self.seed, SYNTHETIC_SIZE_HW)
        return Sample(self.name, frame, label)


class Dataset(Sequence[Sample]):
    """A split of a data set; a sample is read (or rendered) when it is asked for.

    `data[i]` gives a Sample and raises DataError where its files cannot be used; `data[a:b]` gives a Dataset.
    `name` is the spec that it was opened with.
    """

    def __init__(self, name: str, split: str, class_set: ClassSet, entries: Sequence[_Entry]) -> None:
        self.name = name
        self.split = split
        self.class_set = class_set
        self._entries = tuple(entries)

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        if isinstance(index, slice):
            return Dataset(self.name, self.split, self.class_set, self._entries[index])
        return self._entries[index].read(self.class_set)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, split={self.split!r}, {len(self)} samples)"

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The samples' names, without reading any."""
        return tuple(entry.name for entry in self._entries)

    def shared_with(self, other: Dataset) -> tuple[str, ...]:
        """Give the names of the samples that both have: the same name, and the same contents of its files.

        Raises DataError where a file cannot be read.
        """
        others = {entry.name: entry for entry in other._entries}
        pairs = [(entry, others[entry.name]) for entry in self._entries if entry.name in others]
        return tuple(mine.name for mine, theirs in pairs if mine.identity() == theirs.identity())

    def fingerprint(self) -> str:
        """Give a SHA-256 (hex) over the classes and the names and contents of the files used.

        Raises DataError where a file cannot be read.
        """
        lines = [" ".join(self.class_set.names), *(entry.identity() for entry in self._entries)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_dataset(spec: str, split: str = "val", limit: int | None = None) -> Dataset:
    """Open a data set by its spec: `kind:DIR`, or `synthetic[:SEED]`.

    - `camvid:DIR`: DIR/SPLIT/images/NAME.jpg with DIR/SPLIT/labels/NAME.png, or SegNet's own DIR/SPLIT/NAME.png
      with DIR/SPLITannot/NAME.png; CamVid's 11 classes.
    - `cityscapes:DIR`: DIR/leftImg8bit/SPLIT/CITY/ and DIR/gtFine/SPLIT/CITY/ (labelTrainIds, else labelIds).
    - `folder:DIR`: images/ and labels/ in DIR/SPLIT or in DIR; classes.txt (one name a line, each once, in DIR)
      tells the classes, CamVid's are taken without it.
    - `images:DIR`: every image below DIR, without labels.
    - `synthetic[:SEED]`: 400 train, 32 val or 32 test street scenes, the same for a seed on every machine.

    `limit` takes that many samples spread evenly over the files (video frames that follow each other look alike);
    of synthetic scenes it renders exactly that many. Raises DataError or InputError.
    """
    kind, _, place = spec.partition(":")
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} samples leaves no data; give 1 or more")
    if kind == "synthetic":
        return Dataset(spec, split, CAMVID, _synthetic_entries(place, split, limit))
    reader = _READERS.get(kind)
    if reader is None or not place:
        kinds = ", ".join(f"{name}:DIR" for name in _READERS)
        raise InputError(f"{spec!r} is no data set; give one of {kinds}, synthetic or synthetic:SEED")
    root = Path(place).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder that exists; check the path in {spec!r}")
    class_set, entries = reader(root, split)
    return Dataset(spec, split, class_set, _spread(entries, limit))


def _spread(entries: list[_FileEntry], limit: int | None) -> list[_FileEntry]:
    if limit is None or limit >= len(entries):
        return entries
    return [entries[index * len(entries) // limit] for index in range(limit)]


def _synthetic_entries(seed_text: str, split: str, limit: int | None) -> list[_SyntheticEntry]:
    if split not in SYNTHETIC_COUNTS:
        raise DataError(f"the synthetic scenes have no split {split!r}; use one of {', '.join(SYNTHETIC_COUNTS)}")
    if seed_text and not seed_text.isdecimal():
        raise InputError(f"synthetic:{seed_text} has no whole number as its seed; write for example synthetic:7")
    base = int(seed_text or 0)
    count = SYNTHETIC_COUNTS[split] if limit is None else limit
    return [
        _SyntheticEntry(f"{split}-{index:05d}", zlib.crc32(f"{base}/{split}/{index}".encode()))
        for index in range(count)
    ]


def _read_camvid(root: Path, split: str) -> tuple[ClassSet, list[_FileEntry]]:
    if (root / f"{split}annot").is_dir():
        return CAMVID, _paired(root / split, root / f"{split}annot")
    return CAMVID, _paired(*_images_and_labels(root, split))


def _read_folder(root: Path, split: str) -> tuple[ClassSet, list[_FileEntry]]:
    return _folder_classes(root / "classes.txt"), _paired(*_images_and_labels(root, split))


def _read_images(root: Path, split: str) -> tuple[ClassSet, list[_FileEntry]]:
    paths = _images_below(root)
    stems = Counter(path.with_suffix("") for path in paths)
    entries = []
    for path in paths:
        stem = path.with_suffix("")
        entries.append(_FileEntry((stem if stems[stem] == 1 else path).relative_to(root).as_posix(), path))
    return CAMVID, entries


def _read_cityscapes(root: Path, split: str) -> tuple[ClassSet, list[_FileEntry]]:
    images = root / "leftImg8bit" / split
    if not images.is_dir():
        raise DataError(f"{root} has no leftImg8bit/{split}; give the folder that holds leftImg8bit and gtFine")
    entries = []
    for image in _images_below(images):
        name = image.relative_to(images).with_suffix("").as_posix().removesuffix("_leftImg8bit")
        stem = root / "gtFine" / split / f"{name}_gtFine"
        label, full_ids = Path(f"{stem}_labelTrainIds.png"), False
        if not label.is_file():
            label, full_ids = Path(f"{stem}_labelIds.png"), True
        if not label.is_file():
            raise DataError(f"{image} has no label {stem}_labelTrainIds.png or _labelIds.png; unpack gtFine beside it")
        entries.append(_FileEntry(name, image, label, full_ids))
    return CITYSCAPES, entries


def _training_ids() -> Mask:
    table = np.full(256, CITYSCAPES.ignore_index, np.uint8)
    table[list(_CITYSCAPES_IDS)] = np.arange(len(_CITYSCAPES_IDS))
    return table


def _images_and_labels(root: Path, split: str) -> tuple[Path, Path]:
    for base in (root / split, root):
        if (base / "images").is_dir():
            return base / "images", base / "labels"
    others = sorted(path.parent.name for path in root.glob("*/images"))
    there = f" (there is {', '.join(others)})" if others else ""
    raise DataError(f"{root} has neither {split}/images nor images{there}; check the folder and the split")


def _paired(images: Path, labels: Path) -> list[_FileEntry]:
    if not labels.is_dir():
        raise DataError(f"{labels} is missing; put one label NAME.png there for each image, or use images:{images}")
    entries = []
    for image in _images_below(images):
        name = image.relative_to(images).with_suffix("").as_posix()
        label = labels / f"{name}.png"
        if not label.is_file():
            raise DataError(f"{image} has no label {label}; add it, or take the image out")
        entries.append(_FileEntry(name, image, label))
    return entries


def _images_below(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder that exists; check the path and the split")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise DataError(f"{folder} has no images in it; it needs files ending in {', '.join(IMAGE_SUFFIXES)}")
    return found


def _folder_classes(path: Path) -> ClassSet:
    return class_set_from_file(path) if path.is_file() else CAMVID


_READERS: dict[str, Callable[[Path, str], tuple[ClassSet, list[_FileEntry]]]] = {
    "camvid": _read_camvid,
    "cityscapes": _read_cityscapes,
    "folder": _read_folder,
    "images": _read_images,
}
