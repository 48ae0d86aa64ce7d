"""Which files of a folder are frames, and which label belongs to which frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgefsa.data.convention import Convention
from edgefsa.data.layouts import Place
from edgefsa.errors import DataError
from edgefsa.media.pictures import IMAGE_SUFFIXES

# A label's values must come through as they are, which JPEG and WebP do not promise.
LABEL_FORMATS = (".png", ".bmp", ".tif", ".tiff")
# What archives and file managers leave beside the pictures.
_JUNK = {"__macosx", "@eadir", "thumbs.db"}

# What the names of frames and labels have beyond the name that they share; the first pair that fits every frame serves.
_FRAME_ENDINGS = ("", "_leftImg8bit", "_image", "_img", "_rgb", "_sat")
_LABEL_ENDINGS = (
    "",
    "_gt",
    "_L",
    "_mask",
    "_label",
    "_labels",
    "_labelTrainIds",
    "_gtFine_labelTrainIds",
    "_seg",
    "_segmentation",
    "_labelIds",
    "_gtFine_labelIds",
    "_color",
    "_gtFine_color",
)


@dataclass(frozen=True)
class Pair:
    """A frame's file, its label's, and the name that both share (with the folders below that of the frames)."""

    name: str
    image: Path
    label: Path


def pictures_below(folder: Path, formats: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the picture files below `folder` in order, without hidden ones and what archives leave there.

    Raises DataError where the folder is missing or has none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder that exists; check the path and the split")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in formats and not _is_junk(path.relative_to(folder)) and path.is_file()
    )
    if not found:
        raise DataError(f"{folder} has no images in it; it needs files ending in {', '.join(formats)}")
    return found


def _is_junk(path: Path) -> bool:
    return any(part.startswith(".") or part.casefold() in _JUNK for part in path.parts)


def paired(place: Place, convention: Convention) -> list[Pair]:
    """Return the frames of a place with their labels; DataError names the first frame that has none."""
    labels = {_stem(path, place.labels): path for path in _labels_below(place)}
    images = {path: _stem(path, place.images) for path in pictures_below(place.images)}
    if place.images == place.labels and convention.label_suffix:
        images = {path: stem for path, stem in images.items() if not stem.endswith(convention.label_suffix)}
    if place.names is not None:
        images = _listed(images, place.names)
    frame_ending, label_ending = _endings(list(images.values()), labels, convention)
    pairs = [
        Pair(name, path, labels[label])
        for path, stem in images.items()
        if (label := (name := stem.removesuffix(frame_ending)) + label_ending) in labels
    ]
    if len(pairs) < len(images):
        raise DataError(_without_label(images, pairs, place, convention))
    return pairs


def _labels_below(place: Place) -> list[Path]:
    try:
        return pictures_below(place.labels, LABEL_FORMATS)
    except DataError:
        return []


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _endings(stems: list[str], labels: dict[str, Path], convention: Convention) -> tuple[str, str]:
    """Return the endings of frames and labels that pair the most frames, the plainest first."""
    frame_endings = _FRAME_ENDINGS if convention.image_suffix is None else (convention.image_suffix,)
    label_endings = _LABEL_ENDINGS if convention.label_suffix is None else (convention.label_suffix,)

    def fitting(endings: tuple[str, str]) -> int:
        return sum(stem.removesuffix(endings[0]) + endings[1] in labels for stem in stems)

    return max(itertools.product(frame_endings, label_endings), key=fitting)


def _listed(images: dict[Path, str], names: Path) -> dict[Path, str]:
    """Keep the frames that a file lists, a name a line (its first word, with or without the file's ending)."""
    lines = names.read_text(encoding="utf-8-sig").splitlines()
    wanted = [line.split()[0] for line in lines if line.strip()]
    path_of = {stem: path for path, stem in images.items()} | {Path(path).name: path for path in images}
    missing = [name for name in wanted if name not in path_of]
    if missing or not wanted:
        what = f"lists {missing[0]}, which is not among the images" if missing else "lists no image"
        raise DataError(f"{names} {what}; mend the list")
    return {path_of[name]: images[path_of[name]] for name in wanted}


def _without_label(images: dict[Path, str], pairs: list[Pair], place: Place, convention: Convention) -> str:
    found = {pair.image for pair in pairs}
    missing = [path for path in images if path not in found]
    label = place.labels / f"{images[missing[0]]}.png"
    if label.with_suffix(".jpg").is_file():
        return f"{label.with_suffix('.jpg')} is a label in JPEG, which changes its values; save labels as PNG"
    remedy = convention.remedy('label_suffix = "ENDING"')
    return (
        f"{missing[0]} has no label {label} ({len(missing)} of {len(images)} images have none); add it, take the image "
        f"out, or where labels' names end otherwise, {remedy}"
    )
