"""What stretch, letterbox and crop cost in accuracy where frames have another shape than the engine.

Labelled frames are cut to wider and taller shapes about their middle, and given to an engine in each of the three ways.
All labelled pixels of a frame count: what a crop does not see is wrong. Beside it stands what counts only the pixels
that a crop sees.

python benchmarks/fit.py --data camvid:DIR
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import Rows, argument_parser, build, data_without_folder, save, say
from _weights import shipped_weights

from edgefsa.console import table
from edgefsa.data.readers import Dataset, Sample, open_dataset
from edgefsa.media.fit import FITS, Box, geometry
from edgefsa.media.frames import Mask
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import ConfusionMatrix

# Name and width / height; None leaves frames as they are.
SHAPES: dict[str, float | None] = {"as they are": None, "16:9": 16 / 9, "21:9": 21 / 9, "1:1": 1.0, "9:16": 9 / 16}


def middle_of(size_hw: tuple[int, int], ratio: float | None) -> Box:
    """Return the largest middle part of a frame that is `ratio` times as wide as it is high."""
    if ratio is None:
        return Box(0, 0, *size_hw)
    return geometry("crop", size_hw, (900, round(900 * ratio))).seen


def seen_label(label: Mask, engine_hw: tuple[int, int], ignore_index: int) -> Mask:
    """Return `label` with all that a crop leaves out ignored."""
    seen = geometry("crop", (label.shape[0], label.shape[1]), engine_hw).seen.slices
    kept = np.full_like(label, ignore_index)
    kept[seen] = label[seen]
    return kept


def measure(segmenter: Segmenter, dataset: Dataset, ratio: float | None) -> dict[str, Any]:
    """Return mIoU and pixel accuracy over all pixels, and mIoU over those that a crop sees."""
    classes = dataset.class_set
    everything, seen = (ConfusionMatrix(classes.num_classes, classes.ignore_index) for _ in range(2))
    for sample in dataset:
        frame, label = _cut(sample, ratio)
        mask = segmenter.segment(frame).mask
        everything.update(mask, label)
        seen.update(mask, seen_label(label, segmenter.session.size_hw, classes.ignore_index))
    return {"miou": everything.miou, "pixel_accuracy": everything.pixel_accuracy, "miou_seen": seen.miou}


def _cut(sample: Sample, ratio: float | None) -> tuple[np.ndarray, Mask]:
    if sample.label is None:
        raise SystemExit(f"{sample.name} has no label; give labelled data")
    rows, columns = middle_of((sample.frame.shape[0], sample.frame.shape[1]), ratio).slices
    return np.ascontiguousarray(sample.frame[rows, columns]), np.ascontiguousarray(sample.label[rows, columns])


def run(models: list[str], dataset: Dataset, precision: str, target: str, size_hw: tuple[int, int]) -> Rows:
    """Build each model once a fit and measure it on all shapes."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in models:
            for fit in FITS:
                engine = build(model, precision, target, Path(scratch) / fit, size_hw, fit=fit)
                with Segmenter(engine) as segmenter:
                    for name, ratio in SHAPES.items():
                        found = measure(segmenter, dataset, ratio)
                        say(f"{model} {fit} {name}: {100 * found['miou']:.2f}")
                        rows.append({"model": model, "fit": fit, "shape": name, **found})
    return rows


def lines(rows: Rows) -> list[list[str]]:
    """Return the cells of the table: a row for each model and shape, mIoU of all pixels (and of those a crop sees)."""
    cells = []
    for model, shape in dict.fromkeys((row["model"], row["shape"]) for row in rows):
        found = {row["fit"]: row for row in rows if (row["model"], row["shape"]) == (model, shape)}
        figures = [f"{100 * found[fit]['miou']:.2f}" for fit in FITS]
        figures += [f"{100 * found[fit]['miou_seen']:.2f}" for fit in FITS]
        cells.append([model, shape, *figures])
    return cells


HEADER = ["model", "frames", *FITS, *(f"{fit}, seen by a crop" for fit in FITS)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__, sized=True)
    parser.add_argument("models", nargs="*", default=["fsanet-edge", "spanet-edge"])
    parser.add_argument("--data", default="synthetic", help="labelled frames")
    parser.add_argument("--limit", type=int, help="only so many frames")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--target", default="openvino")
    arguments = parser.parse_args(argv)
    dataset = open_dataset(arguments.data, split="val", limit=arguments.limit)
    rows = run(arguments.models, dataset, arguments.precision, arguments.target, arguments.size)
    data = data_without_folder(arguments.data)
    facts = {"data": data, "frames": len(dataset), "target": arguments.target, "precision": arguments.precision}
    facts["weights"] = shipped_weights()
    family = data.partition(":")[0]
    save(f"fit-{family}", f"python benchmarks/fit.py --data {data}", rows, arguments.results, **facts)
    print(table(HEADER, lines(rows)))


if __name__ == "__main__":
    main()
