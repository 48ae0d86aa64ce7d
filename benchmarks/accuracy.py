"""What each precision costs in accuracy: mIoU of every engine of the shipped model on labelled frames.

By default on the synthetic scenes; `--data camvid:DIR` measures on CamVid's val split, as in the README.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from _common import ACCURACY_HEADER, ENGINES, accuracy_cells, build, save

from edgefsa.console import table
from edgefsa.data.readers import open_dataset
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="fsanet-edge")
    parser.add_argument("--data", default="synthetic")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, split="val")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for target, precision in ENGINES:
            with Segmenter(build(arguments.model, precision, target, Path(scratch))) as segmenter:
                report = evaluate(segmenter, dataset).as_dict()
            rows.append({"model": arguments.model, "target": target, "precision": precision, **report})
    print(table(ACCURACY_HEADER, accuracy_cells(rows)))
    family = arguments.data.partition(":")[0]
    directory = f"{family}:DIR" if ":" in arguments.data else family
    save(f"accuracy-{family}", f"python benchmarks/accuracy.py --data {directory}", rows)


if __name__ == "__main__":
    main()
