"""One small data set written to disk in the forms that people have it in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from edgefsa.data.convention import FILE_NAME
from tests.unit.segment.fakes import NAMES

SIZE_HW = (48, 64)
UNLABELLED = 255
COLOURS = {0: (128, 64, 128), 1: (0, 0, 192), 2: (64, 0, 128), 3: (10, 20, 30), UNLABELLED: (0, 0, 0)}

Picture = tuple[str, np.ndarray, np.ndarray]
Writer = Callable[[Path, list[Picture]], None]


def pictures(count: int = 3) -> list[Picture]:
    """Names, frames and labels: the blue of a block tells its class, a tenth of the blocks has another one."""
    rng = np.random.default_rng(7)
    found = []
    for index in range(count):
        true = rng.integers(0, len(NAMES), (6, 8))
        label = np.where(rng.random(true.shape) < 0.1, (true + 1) % len(NAMES), true).astype(np.uint8)
        blocks = np.ones((SIZE_HW[0] // 6, SIZE_HW[1] // 8), np.uint8)
        frame = np.full((*SIZE_HW, 3), 90, np.uint8)
        frame[..., 0] = np.kron(true * 64 + 32, blocks)
        whole = np.kron(label, blocks)
        whole[:2] = UNLABELLED
        found.append((f"frame{index}", frame, whole))
    return found


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def say(root: Path, *lines: str) -> None:
    """Write dataset.toml."""
    root.mkdir(parents=True, exist_ok=True)
    (root / FILE_NAME).write_text("\n".join(lines) + "\n")


def name_classes(root: Path, names: tuple[str, ...] = NAMES) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(names) + "\n")


def in_folders(images: str, labels: str, label_ending: str = "", image_ending: str = "") -> Writer:
    """Write frames and labels into two folders, with endings of their names."""

    def writer(root: Path, found: list[Picture]) -> None:
        name_classes(root)
        for name, frame, label in found:
            write(root / images / f"{name}{image_ending}.png", frame)
            write(root / labels / f"{name}{label_ending}.png", label)

    return writer


plain = in_folders("val/images", "val/labels")


def with_values(values: Callable[[np.ndarray], np.ndarray], *lines: str) -> Writer:
    """Write labels with other values, and a dataset.toml that says so."""

    def writer(root: Path, found: list[Picture]) -> None:
        plain(root, [(name, frame, values(label)) for name, frame, label in found])
        say(root, *lines)

    return writer


def in_colour(label: np.ndarray) -> np.ndarray:
    """Paint a label [H, W] in COLOURS, BGR as OpenCV writes it."""
    painted = np.zeros((*label.shape, 3), np.uint8)
    for value, colour in COLOURS.items():
        painted[label == value] = colour[::-1]
    return painted


def label_colors_txt(root: Path, found: list[Picture]) -> None:
    """CamVid's own form: `R G B<tab>Name`, labels NAME_L.png in colours."""
    rows = [(COLOURS[index], name.title()) for index, name in enumerate(NAMES)] + [((0, 0, 0), "Void")]
    root.mkdir()
    (root / "label_colors.txt").write_text("".join(f"{r} {g} {b}\t\t{name}\r\n" for (r, g, b), name in rows))
    for name, frame, label in found:
        write(root / "701_StillsRaw_full" / f"{name}.png", frame)
        write(root / "LabeledApproved_full" / f"{name}_L.png", in_colour(label))


def class_dict_csv(root: Path, found: list[Picture]) -> None:
    """The form of collections with class_dict.csv: val/ and val_labels/, rows in another order, joined by a map."""
    root.mkdir()
    rows = [("Void", COLOURS[UNLABELLED]), *((NAMES[index], COLOURS[index]) for index in (3, 1)), ("night", COLOURS[0])]
    rows.append((NAMES[2], COLOURS[2]))
    (root / "class_dict.csv").write_text("name,r,g,b\n" + "".join(f"{n},{r},{g},{b}\n" for n, (r, g, b) in rows))
    name_classes(root)
    say(root, "[map]", 'Night = "dark"')
    for name, frame, label in found:
        write(root / "val" / f"{name}.png", frame)
        write(root / "val_labels" / f"{name}_L.png", in_colour(label))


def palette_in_colour(root: Path, found: list[Picture]) -> None:
    """Palette files whose indices mean nothing (an editor chose them): their colours count."""
    label_colors_txt(root, found)
    say(root, 'form = "colours"')
    for path in (root / "LabeledApproved_full").iterdir():
        picture = Image.open(path).convert("RGB")
        picture.quantize(len(COLOURS), dither=Image.Dither.NONE).save(path)
        assert Image.open(path).mode == "P" and Image.open(path).convert("RGB").tobytes() == picture.tobytes()


def voc(root: Path, found: list[Picture]) -> None:
    """Pascal VOC: all splits in one folder, the split in a list."""
    in_folders("JPEGImages", "SegmentationClass")(root, found)
    write(root / "JPEGImages" / "unlabelled.png", found[0][1])
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("".join(f"{name}\n" for name, _, _ in found))


def with_junk(root: Path, found: list[Picture]) -> None:
    """What archives and file managers leave beside the pictures."""
    plain(root, found)
    for folder in (root / "val/images", root / "val/labels"):
        for name in ("._frame0.png", ".DS_Store", "Thumbs.db", "__MACOSX/._frame1.png", "__MACOSX/frame1.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"\x00\x05\x16\x07")


def half_size_labels(root: Path, found: list[Picture]) -> None:
    """Labels of half the size: every second row and column, which whole blocks survive."""
    plain(root, [(name, frame, label[::2, ::2]) for name, frame, label in found])


def elsewhere(root: Path, found: list[Picture]) -> None:
    """Folders that no layout knows, named in dataset.toml, in one folder with endings."""
    say(root, 'images = "shots/{split}"', 'labels = "shots/{split}"', 'label_suffix = "-truth"', "[splits]")
    with (root / FILE_NAME).open("a") as file:
        file.write('val = "held-out"\n')
    in_folders("shots/held-out", "shots/held-out", "-truth")(root, found)


CONVENTIONS: dict[str, Writer] = {
    "flat": in_folders("images", "labels"),
    "masks": in_folders("val/images", "val/masks", "_mask"),
    "validation": in_folders("validation/images", "validation/labels"),
    "upper case": in_folders("Val/Images", "Val/Labels"),
    "ade20k": in_folders("images/validation", "annotations/validation"),
    "mmseg": in_folders("img_dir/val", "ann_dir/val"),
    "cityscapes": in_folders("leftImg8bit/val", "gtFine/val", "_gtFine_labelTrainIds", "_leftImg8bit"),
    "segnet": in_folders("val", "valannot"),
    "gt": in_folders("val/images", "val/labels", "_gt"),
    "training ids": in_folders("val/images", "val/labels", "_labelTrainIds"),
    "L": in_folders("val/images", "val/labels", "_L"),
    "satellite": in_folders("val/image", "val/mask", "_mask", "_sat"),
    "own endings": elsewhere,
    "voc": voc,
    "junk": with_junk,
    "half size": half_size_labels,
    "zero is no class": with_values(lambda label: (label + 1).astype(np.uint8), 'zero = "unlabelled"'),
    "own values": with_values(
        lambda label: np.where(label == UNLABELLED, 7, label * 80).astype(np.uint8),
        "values = [0, 80, 160, 240]",
        "unlabelled = [7]",
    ),
    "rest": with_values(
        lambda label: np.where(label == UNLABELLED, 99, label + 10).astype(np.uint8),
        "values = [10, 11, 12, 13]",
        'unlabelled = "rest"',
    ),
    "three equal channels": with_values(lambda label: cv2.merge([label] * 3), 'form = "indices"'),
    "label_colors.txt": label_colors_txt,
    "class_dict.csv": class_dict_csv,
    "palette": palette_in_colour,
}
