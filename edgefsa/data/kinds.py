"""The kinds of data sets on disk: which files each has, which classes, and how its labels are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgefsa.data.classes import CAMVID, CITYSCAPES, ClassSet, class_set_from_file, class_set_from_names
from edgefsa.data.colours import CAMVID_MAP, TABLE_NAMES, ColourTable, known_colours, read_colour_table, target_of
from edgefsa.data.convention import REST, Convention
from edgefsa.data.labels import LabelReader, is_coloured
from edgefsa.data.layouts import find_place
from edgefsa.data.pairing import paired, pictures_below
from edgefsa.errors import DataError

# Cityscapes' full label ids, in the order of its training ids; every other id is no class.
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@dataclass(frozen=True)
class Files:
    """A frame's file, and its label's with the reader that knows what the label's values mean."""

    name: str
    image: Path
    label: Path | None = None
    reader: LabelReader | None = None


@dataclass(frozen=True)
class Opened:
    """A split: its classes and files, what was guessed, and whether other splits have other frames."""

    class_set: ClassSet
    files: list[Files]
    notes: tuple[str, ...] = ()
    has_splits: bool = True


def open_camvid(root: Path, split: str, convention: Convention) -> Opened:
    """Open CamVid: indices of the SegNet split, or colours of CamVid's own 32 classes, which are joined into its 11."""
    mapped = {**CAMVID_MAP, **convention.map}
    return _labelled(root, split, replace(convention, map=mapped), CAMVID, _table(root, convention), [])


def open_folder(root: Path, split: str, convention: Convention) -> Opened:
    """Open frames and labels in any known layout; the classes are those of `_folder_classes`."""
    table = _table(root, convention)
    class_set, notes = _folder_classes(root, convention, table)
    return _labelled(root, split, convention, class_set, table, notes)


def open_images(root: Path, _split: str, _convention: Convention) -> Opened:
    """Open every picture below a folder, without labels."""
    paths = pictures_below(root)
    uses = Counter(path.with_suffix("") for path in paths)
    names = [stem if uses[stem := path.with_suffix("")] == 1 else path for path in paths]
    files = [Files(name.relative_to(root).as_posix(), path) for name, path in zip(names, paths, strict=True)]
    return Opened(CAMVID, files)


def open_cityscapes(root: Path, split: str, convention: Convention) -> Opened:
    """Open leftImg8bit/ and gtFine/: labels of training ids, else of the full ids, which are mapped to them."""
    images = root / "leftImg8bit" / split
    if not images.is_dir():
        raise DataError(f"{root} has no leftImg8bit/{split}; give the folder that holds leftImg8bit and gtFine")
    by_training_id = LabelReader(CITYSCAPES, convention)
    by_full_id = LabelReader(CITYSCAPES, replace(convention, values=_CITYSCAPES_IDS, unlabelled=REST, zero="class"))
    files = []
    for image in pictures_below(images):
        name = image.relative_to(images).with_suffix("").as_posix().removesuffix("_leftImg8bit")
        stem = root / "gtFine" / split / f"{name}_gtFine"
        label, reader = Path(f"{stem}_labelTrainIds.png"), by_training_id
        if not label.is_file():
            label, reader = Path(f"{stem}_labelIds.png"), by_full_id
        if not label.is_file():
            raise DataError(f"{image} has no label {stem}_labelTrainIds.png or _labelIds.png; unpack gtFine beside it")
        files.append(Files(name, image, label, reader))
    return Opened(CITYSCAPES, files)


KINDS: dict[str, Callable[[Path, str, Convention], Opened]] = {
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "folder": open_folder,
    "images": open_images,
}


def _labelled(
    root: Path, split: str, convention: Convention, class_set: ClassSet, table: ColourTable | None, notes: list[str]
) -> Opened:
    place, place_notes = find_place(root, split, convention)
    pairs = paired(place, convention)
    colours, rows = known_colours(class_set), tuple[int, ...]()
    if table is not None and not _names_classes(root, convention):
        colours = table.indices(class_set, convention.map)
        rows = tuple(colours[rgb] for rgb in table.colours_rgb)
    elif table is not None and (convention.form == "colours" or is_coloured(pairs[0].label)):
        # Beside labels that do without it a table may name other classes.
        colours = table.indices(class_set, convention.map)
    reader = LabelReader(class_set, convention, tuple(colours.items()), rows)
    files = [Files(pair.name, pair.image, pair.label, reader) for pair in pairs]
    return Opened(class_set, files, (*notes, *place_notes), place.has_splits)


def _table(root: Path, convention: Convention) -> ColourTable | None:
    """Read the colour table that the convention names, or one that lies in the folder under a usual name."""
    if convention.colours is not None:
        return read_colour_table(root / convention.colours)
    found = [root / name for name in TABLE_NAMES if (root / name).is_file()]
    return read_colour_table(found[0]) if found else None


def _names_classes(root: Path, convention: Convention) -> bool:
    return bool(convention.classes) or (root / "classes.txt").is_file()


def _folder_classes(root: Path, convention: Convention, table: ColourTable | None) -> tuple[ClassSet, list[str]]:
    """Return the classes of dataset.toml, of classes.txt, of the colour table, or else CamVid's; with notes."""
    if convention.classes:
        return class_set_from_names(root.name, convention.classes), []
    if (root / "classes.txt").is_file():
        return class_set_from_file(root / "classes.txt"), []
    if table is None:
        return CAMVID, [f"{root} has no classes.txt: its classes are taken to be CamVid's {CAMVID.num_classes}"]
    names, colours = table.classes(convention.map)
    class_set = replace(class_set_from_names(root.name, names), palette_rgb=colours)
    left_out = [name for name in table.names if not target_of(name, convention.map)]
    without = f", {', '.join(left_out)} counts as no class" if left_out else ""
    return class_set, [f"the classes are the {len(names)} of {root / table.source}{without}"]
