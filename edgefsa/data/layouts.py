"""Where the frames and the labels of a split lie: the layouts that data sets come in.

A new layout is one line in LAYOUTS; a folder of another shape says `images` and `labels` in its dataset.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgefsa.data.convention import Convention
from edgefsa.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Folders of frames and labels, and a file that lists the split's names where the folders hold all splits.

    `{split}` stands for the split, under any of its names.
    """

    images: str
    labels: str
    names: str | None = None

    @property
    def has_splits(self) -> bool:
        """Whether the layout keeps the splits apart."""
        return "{split}" in self.images + (self.names or "")


@dataclass(frozen=True)
class Place:
    """A layout that was found: its folders, the names file, and whether it keeps the splits apart."""

    images: Path
    labels: Path
    names: Path | None
    has_splits: bool


_LABEL_FOLDERS = ("labels", "masks", "annotations", "label", "mask", "gt")
LAYOUTS = (
    *(Layout("{split}/images", f"{{split}}/{name}") for name in _LABEL_FOLDERS),
    *(Layout("{split}/image", f"{{split}}/{name}") for name in _LABEL_FOLDERS),
    *(Layout("images/{split}", f"{name}/{{split}}") for name in _LABEL_FOLDERS),  # ADE20K: annotations
    Layout("img_dir/{split}", "ann_dir/{split}"),  # MMSegmentation
    Layout("leftImg8bit/{split}", "gtFine/{split}"),  # Cityscapes
    Layout("{split}", "{split}annot"),  # SegNet's CamVid
    *(Layout("{split}", f"{{split}}_{name}") for name in ("labels", "masks")),
    Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation/{split}.txt"),  # Pascal VOC
    *(Layout("images", name) for name in _LABEL_FOLDERS),
    Layout("JPEGImages", "SegmentationClass"),
    Layout("701_StillsRaw_full", "LabeledApproved_full"),  # CamVid as Cambridge gives it
)

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def find_place(root: Path, split: str, convention: Convention) -> tuple[Place, list[str]]:
    """Return where the split's frames and labels lie below `root`, and notes on what was chosen.

    A layout with the split's own folders goes before one without. Raises DataError where none fits.
    """
    places = list(_places(root, split, convention))
    if not places:
        raise DataError(_nothing_found(root, split, convention))
    chosen = places[0]
    others = [item.labels for item in places if item.images == chosen.images and item.labels != chosen.labels]
    notes = []
    if others and convention.labels is None:
        remedy = convention.remedy('images = "DIR" and labels = "DIR"')
        notes.append(f"labels are taken from {chosen.labels}, not from {others[0]}; to choose, {remedy}")
    return chosen, notes


def _places(root: Path, split: str, convention: Convention) -> Iterator[Place]:
    layouts = LAYOUTS
    if convention.images and convention.labels:
        layouts = (Layout(convention.images, convention.labels, convention.names),)
    names = (convention.splits[split],) if split in convention.splits else SPLIT_NAMES.get(split, (split,))
    for layout in layouts:
        for name in names:
            images, labels = (_below(root, part.format(split=name)) for part in (layout.images, layout.labels))
            listed = None if layout.names is None else _below(root, layout.names.format(split=name))
            if images and labels and images.is_dir() and labels.is_dir() and (layout.names is None or listed):
                yield Place(images, labels, listed, layout.has_splits)


def _below(root: Path, path: str) -> Path | None:
    """Return the path below `root`, whatever the case of its letters, or None where it does not exist."""
    here = root
    for part in Path(path).parts:
        if not (here / part).exists():
            same = [item.name for item in _children(here) if item.name.casefold() == part.casefold()]
            if not same:
                return None
            part = same[0]
        here /= part
    return here


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _nothing_found(root: Path, split: str, convention: Convention) -> str:
    if convention.images:
        return (
            f"{root} has no {convention.images} with {convention.labels} for the split {split!r}; mend images and "
            f"labels in {convention.path}, or name another split"
        )
    for images in (root / split / "images", root / "images"):
        if images.is_dir():
            labels = images.parent / "labels"
            return f"{labels} is missing; put one label NAME.png there for each image, or use images:{images}"
    others = sorted({path.parent.name for path in root.glob("*/images")} - {split})
    there = f" (there is {', '.join(others)})" if others else ""
    remedy = convention.remedy('images = "DIR" and labels = "DIR"')
    return (
        f"{root} has neither {split}/images nor images{there}, nor another layout that is known; check the folder and "
        f"the split, or {remedy}"
    )
