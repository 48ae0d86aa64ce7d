"""What each precision costs in accuracy: mIoU of every engine of the shipped models on labelled frames.

By default on the synthetic scenes; `--data camvid:DIR` measures on CamVid's val split, as in the README. `--also
LABEL=ENGINE` adds an engine that lies there already, for instance one from quantisation-aware training: `--also
QAT=engines/fsanet-edge-openvino-int8-360x480`. Rows of models that are not measured again stay, with their origin.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from _common import (
    ACCURACY_HEADER,
    ENGINES,
    Rows,
    accuracy_cells,
    accuracy_of,
    argument_parser,
    build,
    data_without_folder,
    load,
    save,
)
from _markdown import origin

from edgefsa.artifacts import Manifest
from edgefsa.console import run, table
from edgefsa.data.readers import Dataset, open_dataset

MODELS = ("fsanet-edge", "spanet-edge")


def row_of(engine: Path, dataset: Dataset, **label: str) -> dict[str, Any]:
    """Evaluate an engine; its row says which weights it has."""
    manifest = Manifest.read(engine)
    facts = {"model": manifest.model["model"], "target": manifest.target, "precision": manifest.precision}
    return {**facts, **label, "weights": manifest.model["weights"], **accuracy_of(engine, dataset)}


def model_rows(model: str, dataset: Dataset) -> Rows:
    """Build every engine of a model and evaluate it; a row each."""
    with tempfile.TemporaryDirectory() as scratch:
        return [row_of(build(model, precision, target, Path(scratch)), dataset) for target, precision in ENGINES]


def kept_rows(name: str, directory: Path, measured: Rows) -> Rows:
    """Return the stored rows of other models than those just measured, each with the origin of its figures."""
    record = load(name, directory)
    models = {row["model"] for row in measured}
    rows = record["rows"] if record else []
    return [{"origin": origin(record), **row} for row in rows if record and row["model"] not in models]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("models", nargs="*", help=f"by default {' '.join(MODELS)}")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--also", action="append", default=[], metavar="LABEL=ENGINE")
    arguments = parser.parse_args(argv)
    dataset = open_dataset(arguments.data, split="val")
    rows = [row for model in arguments.models or MODELS for row in model_rows(model, dataset)]
    for labelled in arguments.also:
        label, _, engine = labelled.partition("=")
        rows.append(row_of(Path(engine), dataset, label=label))
    print(table(ACCURACY_HEADER, accuracy_cells(rows)))
    family = arguments.data.partition(":")[0]
    command = " ".join(
        ["python benchmarks/accuracy.py", *arguments.models, "--data", data_without_folder(arguments.data)]
    )
    name = f"accuracy-{family}"
    rows = sorted(kept_rows(name, arguments.results, rows) + rows, key=lambda row: str(row["model"]))
    save(name, command, rows, arguments.results)


if __name__ == "__main__":
    run(main)
