"""What a network camera sees, in numbers: a line a second, until Ctrl-C.

python demos/rtsp.py engines/fsanet-edge-openvino-int8-360x480 rtsp://user:password@camera/stream
python demos/rtsp.py ENGINE rtsp://camera/stream --seconds 60
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from edgefsa import console
from edgefsa.segment import CallbackSink, SegmentedFrame, Segmenter, open_source, run_pipeline


def watch(engine: Path, address: str, seconds: float | None) -> None:
    """Print the shares of the largest classes; a stream that is lost is opened again, and that is said."""
    next_s = time.monotonic()

    def print_shares(frame: SegmentedFrame) -> None:
        nonlocal next_s
        if time.monotonic() < next_s:
            return
        next_s = time.monotonic() + 1.0
        largest = sorted(frame.segmentation.shares.items(), key=lambda item: -item[1])[:4]
        shares = ", ".join(f"{name} {share:.0%}" for name, share in largest)
        print(f"{time.strftime('%H:%M:%S')}  {frame.camera_to_mask_ms:5.1f} ms  {shares}", flush=True)

    sink = CallbackSink(print_shares, every_frame=False)
    with open_source(address) as source, Segmenter(engine) as segmenter:
        report = run_pipeline(source, segmenter, [sink], duration_s=seconds, on_note=console.message)
    figures = report.statistics
    print(f"{figures.frames} frames, {report.fps:.1f} fps, {figures.dropped} dropped, {figures.reconnects} reconnects")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, help="an engine directory made by `edgefsa build`")
    parser.add_argument("address", help="rtsp://..., http://..., or anything else that is a source")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    arguments = parser.parse_args()
    console.run(lambda: watch(arguments.engine, arguments.address, arguments.seconds))


if __name__ == "__main__":
    main()
