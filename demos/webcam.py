"""Masks over a webcam, in a window.

python demos/webcam.py engines/fsanet-edge-openvino-int8-360x480
python demos/webcam.py ENGINE --camera /dev/video2 --sink video:out.mp4     # or pictures:DIR, masks:DIR, serve, ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgefsa import console
from edgefsa.segment import Segmenter, open_sink, open_source, run_pipeline


def show(engine: Path, camera: str, sink_spec: str) -> None:
    """Segment what the camera sees until q is pressed in the window, or Ctrl-C in the terminal."""
    with open_sink(sink_spec) as sink, open_source(camera) as source, Segmenter(engine) as segmenter:
        report = run_pipeline(source, segmenter, [sink], on_note=console.message)
    figures = report.statistics
    print(f"{figures.frames} frames, {report.fps:.1f} fps, {figures.dropped} dropped")
    if source.live:
        print(f"camera to mask: {figures.stages['camera_to_mask'].median:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, help="an engine directory made by `edgefsa build`")
    parser.add_argument(
        "--camera", default="0", help="a number, /dev/videoN, csi://0 or anything else that is a source"
    )
    parser.add_argument("--sink", default="window", help="where masks go; without a screen: serve")
    arguments = parser.parse_args()
    console.run(lambda: show(arguments.engine, arguments.camera, arguments.sink))


if __name__ == "__main__":
    main()
