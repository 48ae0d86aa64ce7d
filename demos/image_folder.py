"""Class indices of every picture in a folder, and a table of what is on them.

python demos/image_folder.py engines/fsanet-edge-openvino-int8-360x480 pictures/ -o masks/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgefsa import console
from edgefsa.segment import CallbackSink, MaskSink, SegmentedFrame, Segmenter, open_source, run_pipeline


def segment(engine: Path, pictures: str, output: Path) -> None:
    """Write a mask for each picture (a PNG of class indices), and print the largest classes of each."""
    rows = []

    def note_shares(frame: SegmentedFrame) -> None:
        largest = sorted(frame.segmentation.shares.items(), key=lambda item: -item[1])[:3]
        rows.append([frame.source.name, ", ".join(f"{name} {share:.0%}" for name, share in largest)])

    with open_source(pictures) as source, Segmenter(engine) as segmenter, MaskSink(output) as masks:
        report = run_pipeline(source, segmenter, [masks, CallbackSink(note_shares)])
    print(console.table(["picture", "mostly"], rows))
    for failure in report.failures:
        console.message(f"left out: {failure.reason}")
    print(f"{len(masks.outputs)} masks in {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, help="an engine directory made by `edgefsa build`")
    parser.add_argument("pictures", help="a folder, a picture, or a pattern like 'frames/*.png'")
    parser.add_argument("-o", "--output", type=Path, default=Path("masks"), help="the folder of the masks")
    arguments = parser.parse_args()
    console.run(lambda: segment(arguments.engine, arguments.pictures, arguments.output))


if __name__ == "__main__":
    main()
