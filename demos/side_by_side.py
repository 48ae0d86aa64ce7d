"""Draw frames beside their masks in one picture, as in the README.

python demos/side_by_side.py ENGINE synthetic:107 synthetic:70 -o street.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgefsa import console
from edgefsa.media.fit import fit_frame, fit_of
from edgefsa.media.pictures import write_image
from edgefsa.segment import Segmenter, open_source


def draw(engine: Path, sources: list[str], output: Path) -> None:
    """Take the first frame of each source, segment it, and write a row of frame and overlay for each."""
    rows = []
    with Segmenter(engine) as segmenter:
        for name in sources:
            with open_source(name) as source:
                frame = fit_frame(next(iter(source)).frame, segmenter.session.size_hw, fit_of(segmenter.model))
            rows.append(np.hstack([frame, segmenter.segment(frame).overlay(frame)]))
    print(write_image(output, np.vstack(rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, help="an engine directory made by `edgefsa build`")
    parser.add_argument("sources", nargs="+", help="images, videos or synthetic[:SEED]")
    parser.add_argument("-o", "--output", type=Path, default=Path("side-by-side.jpg"))
    arguments = parser.parse_args()
    console.run(lambda: draw(arguments.engine, arguments.sources, arguments.output))


if __name__ == "__main__":
    main()
