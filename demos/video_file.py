"""Masks over a video file, as a video that any player plays.

python demos/video_file.py engines/fsanet-edge-openvino-int8-360x480 drive.mp4 -o segmented.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgefsa import console
from edgefsa.segment import OverlayStyle, Segmenter, VideoSink, open_source, run_pipeline


def segment(engine: Path, video: str, output: Path, alpha: float) -> None:
    """Segment every frame; each is shown at its own time."""
    with (
        open_source(video) as source,
        Segmenter(engine) as segmenter,
        VideoSink(output, style=OverlayStyle(alpha=alpha)) as sink,
        console.progress("frames") as progress,
    ):
        report = run_pipeline(source, segmenter, [sink], progress=progress)
    frame_ms = report.statistics.stages["frame_to_mask"].median
    print(f"{report.statistics.frames} frames at {report.fps:.1f} fps, {frame_ms:.1f} ms from frame to mask: {output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, help="an engine directory made by `edgefsa build`")
    parser.add_argument("video", help="a video file, or synthetic[:SEED]")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("segmented.mp4"), help=".mp4, .mov, .mkv, .webm, .avi"
    )
    parser.add_argument("--alpha", type=float, default=0.5, help="0 (frame only) to 1 (mask only)")
    arguments = parser.parse_args()
    console.run(lambda: segment(arguments.engine, arguments.video, arguments.output, arguments.alpha))


if __name__ == "__main__":
    main()
