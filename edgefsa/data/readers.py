"""Data sets as lazily read sequences of frames and labels."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

from edgefsa.artifacts import sha256_of_file
from edgefsa.data.classes import CAMVID, ClassSet
from edgefsa.data.convention import FILE_NAME, Convention, open_convention
from edgefsa.data.kinds import KINDS, Files
from edgefsa.data.sample_store import SampleStore
from edgefsa.data.scenes import kept_scene
from edgefsa.errors import DataError, InputError, SourceError, UnreadableError
from edgefsa.media.frames import Frame, Mask
from edgefsa.media.pictures import Picture, read_picture, value_bits

SYNTHETIC_COUNTS = {"train": 400, "val": 32, "test": 32}
SYNTHETIC_SIZE_HW = (360, 480)

# Frames of a data set come from one camera: so many of them show whether they have 16 bits, and how many are used.
_FILES_FOR_BITS = 32
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sample:
    """One frame, uint8 [H, W, 3] BGR, with its label, uint8 [H, W] of class indices, or None.

    `orientation` is the EXIF code (1 to 8) by which the frame was turned upright; `label_hw` the size in pixels that
    the label is stored in, where it comes from a file.
    """

    name: str
    frame: Frame
    label: Mask | None
    orientation: int = 1
    label_hw: tuple[int, int] | None = None


class _Entry(Protocol):
    @property
    def name(self) -> str: ...

    def identity(self) -> str: ...

    def frame(self) -> Frame: ...

    def read(self, class_set: ClassSet) -> Sample: ...


@dataclass(frozen=True)
class _FileEntry:
    files: Files
    convention: Convention

    @property
    def name(self) -> str:
        return self.files.name

    def identity(self) -> str:
        try:
            hashes = [sha256_of_file(path) for path in (self.files.image, self.files.label) if path is not None]
        except OSError as error:
            raise DataError(
                f"cannot read {error.filename}: {(error.strerror or '').lower()}; check the path"
            ) from error
        return " ".join([f"{self.name}{self.files.image.suffix}", *hashes])

    def frame(self) -> Frame:
        return self._picture().frame

    def read(self, class_set: ClassSet) -> Sample:
        picture, files = self._picture(), self.files
        frame, orientation = picture.frame, picture.orientation
        if files.label is None or files.reader is None:
            return Sample(self.name, frame, None, orientation)
        label, label_hw = files.reader.read(files.label, (frame.shape[0], frame.shape[1]), orientation)
        return Sample(self.name, frame, label, orientation, label_hw)

    def _picture(self) -> Picture:
        path, bits = self.files.image, self.convention.bits
        try:
            return read_picture(path, bits=bits)
        except SourceError as error:
            if bits is not None and (needed := _bits_needed(path)) > bits:
                remedy = self.convention.remedy(f"bits = {needed}")
                raise DataError(f"{path} holds values of more than {bits} bits; {remedy}") from error
            raise UnreadableError(str(error)) from error


def _bits_needed(path: Path) -> int:
    """Return how many bits a value a file uses; 0 where it cannot be read at all."""
    try:
        return read_picture(path).bits
    except SourceError:
        return 0


@dataclass(frozen=True)
class _SyntheticEntry:
    name: str
    seed: int

    def identity(self) -> str:
        from edgefsa.data.synthetic import GENERATOR_VERSION

        return f"{self.name} {self.seed} {SYNTHETIC_SIZE_HW} {GENERATOR_VERSION}"

    def frame(self) -> Frame:
        return self.read(CAMVID).frame

    def read(self, class_set: ClassSet) -> Sample:
        frame, label = kept_scene(self.seed, SYNTHETIC_SIZE_HW)
        return Sample(self.name, frame, label)


class Dataset(Sequence[Sample]):
    """A split of a data set; a sample is read (or rendered) when it is asked for.

    `data[i]` is a Sample; it raises UnreadableError where a file is damaged and DataError where one does not follow
    the data set's convention. `data[a:b]` is a Dataset. `name` is the spec that it was opened with, `notes` says what
    was guessed on the way, `has_splits` whether other splits have other frames.
    """

    def __init__(
        self,
        name: str,
        split: str,
        class_set: ClassSet,
        entries: Sequence[_Entry],
        *,
        convention: Convention | None = None,
        notes: tuple[str, ...] = (),
        has_splits: bool = True,
        store: SampleStore | None = None,
    ) -> None:
        self.name = name
        self.split = split
        self.class_set = class_set
        self.convention = convention or Convention(Path(FILE_NAME))
        self.notes = notes
        self.has_splits = has_splits
        self._entries = tuple(entries)
        self._store = store

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        if isinstance(index, slice):
            return self._with(entries=self._entries[index])
        entry = self._entries[index]
        if self._store is None:
            return entry.read(self.class_set)
        return self._store.sample(entry, lambda: entry.read(self.class_set))

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, split={self.split!r}, {len(self)} samples)"

    def _with(self, **changes: Any) -> Dataset:
        facts: dict[str, Any] = {
            "class_set": self.class_set,
            "entries": self._entries,
            "convention": self.convention,
            "notes": self.notes,
            "has_splits": self.has_splits,
            "store": self._store,
        }
        return Dataset(self.name, self.split, **(facts | changes))

    def spelt_as(self, class_set: ClassSet) -> Dataset:
        """Return the data set with the same classes under the names of `class_set`."""
        return self._with(class_set=class_set)

    def kept_in(self, store: SampleStore) -> Dataset:
        """Return the data set with its samples kept in `store` once they were read, as far as it has room."""
        return self._with(store=store)

    def frame(self, index: int) -> Frame:
        """Return the frame of a sample, uint8 [H, W, 3] BGR, without reading its label; UnreadableError if damaged."""
        return self._entries[index].frame()

    @property
    def from_files(self) -> bool:
        """Whether the samples lie in files, which may be damaged."""
        return any(isinstance(entry, _FileEntry) for entry in self._entries)

    @property
    def split_notes(self) -> list[str]:
        """A line where the frames are those of every split, so that they serve training and evaluation alike."""
        if self.has_splits:
            return []
        return [
            f"{self.name} has no folders for its splits: training, calibration and evaluation take the same frames; "
            "put them into train/ and val/ to judge by frames that were not used before"
        ]

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The samples' names, without reading any."""
        return tuple(entry.name for entry in self._entries)

    def shared_with(self, other: Dataset) -> tuple[str, ...]:
        """Return the names of the samples that both have: the same name, and the same contents of its files.

        Raises DataError where a file cannot be read.
        """
        others = {entry.name: entry for entry in other._entries}
        pairs = [(entry, others[entry.name]) for entry in self._entries if entry.name in others]
        return tuple(mine.name for mine, theirs in pairs if mine.identity() == theirs.identity())

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) over classes, convention, and the names and contents of the files used.

        Raises DataError where a file cannot be read.
        """
        settings = self.convention.identity()
        lines = [" ".join(self.class_set.names), *([settings] if settings else [])]
        lines += [entry.identity() for entry in self._entries]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_dataset(spec: str, split: str = "val", limit: int | None = None) -> Dataset:
    """Open a split (train, val, test) of a data set by its spec: `kind:DIR`, or `synthetic[:SEED]`.

    - `camvid:DIR`: CamVid's 11 classes, as indices of the SegNet split or in the colours of its own 32 classes.
    - `cityscapes:DIR`: DIR/leftImg8bit/SPLIT/CITY/ and DIR/gtFine/SPLIT/CITY/ (labelTrainIds, else labelIds).
    - `folder:DIR`: frames and labels in one of the layouts of docs/data.md; DIR/classes.txt (one name a line, each
      once) or a colour table names the classes, CamVid's are taken without.
    - `images:DIR`: every image below DIR, without labels.
    - `synthetic[:SEED]`: 400 train, 32 val or 32 test street scenes, the same for a seed on every machine.

    DIR/dataset.toml says what cannot be seen from the files; a TOML file elsewhere, given in place of DIR, says it too
    and names the folder as `root`. `limit` takes that many samples spread evenly over the files (video frames that
    follow each other look alike); of synthetic scenes it renders exactly that many. Raises DataError or InputError.
    """
    kind, _, place = spec.partition(":")
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} samples leaves no data; give 1 or more")
    if kind == "synthetic":
        return Dataset(spec, split, CAMVID, _synthetic_entries(place, split, limit))
    if kind not in KINDS or not place:
        kinds = ", ".join(f"{name}:DIR" for name in KINDS)
        raise InputError(f"{spec!r} is no data set; give one of {kinds}, synthetic or synthetic:SEED")
    root, convention = open_convention(Path(place).expanduser())
    if not root.is_dir():
        raise DataError(f"{root} is not a folder that exists; check the path in {spec!r}")
    opened = KINDS[kind](root, split, convention)
    convention, notes = _with_bits(convention, [files.image for files in opened.files])
    return Dataset(
        spec,
        split,
        opened.class_set,
        [_FileEntry(files, convention) for files in _spread(opened.files, limit)],
        convention=convention,
        notes=(*opened.notes, *notes),
        has_splits=opened.has_splits,
    )


def name_without_folders(spec: str) -> str:
    """Name a data set in a file that travels: its kind and its own folder's name, not where it lay."""
    kind, colon, place = spec.partition(":")
    return kind + colon + Path(place).name


def _with_bits(convention: Convention, images: list[Path]) -> tuple[Convention, list[str]]:
    """Say how many bits the values of 16-bit frames have, where the convention does not; with a note on the guess."""
    bits = value_bits(_spread(images, _FILES_FOR_BITS)) if convention.bits is None else None
    if bits is None:
        return convention, []
    read_as = f"16-bit frames are read as {bits} bits a value, by the largest value of {_FILES_FOR_BITS} at most"
    return replace(convention, bits=bits), [f"{read_as}; if that is wrong, {convention.remedy('bits = N')}"]


def _spread(items: Sequence[_Item], limit: int | None) -> Sequence[_Item]:
    if limit is None or limit >= len(items):
        return items
    return [items[index * len(items) // limit] for index in range(limit)]


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
