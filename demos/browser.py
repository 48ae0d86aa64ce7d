"""Live masks in a browser: http://127.0.0.1:8080 until Ctrl-C.

python demos/browser.py engines/fsanet-edge-openvino-int8-360x480    # a drive through a synthetic street
python demos/browser.py engines/* --source 0                         # a webcam; the page switches among engines
python demos/browser.py ENGINE --source rtsp://camera/stream --host 0.0.0.0    # prints a link with a token
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from edgefsa import console
from edgefsa.segment import Segmenter, open_source, run_pipeline
from edgefsa.segment.sources import SourceOptions
from edgefsa.serve import DEFAULT_PORT, ServeSink


def serve(engines: list[Path], source_spec: str, host: str, port: int) -> None:
    """Serve the page while the source plays; files play again and again, at 30 frames a second."""
    live = SourceOptions(loop=True, rate=30.0)
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(ServeSink(host, port, recordings="recordings"))
        source = stack.enter_context(open_source(source_spec, live))
        segmenters = {engine.name: stack.enter_context(Segmenter(engine)) for engine in engines}
        run_pipeline(source, segmenters, [sink], on_note=console.message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", type=Path, nargs="+", help="engine directories; the first one runs")
    parser.add_argument("--source", default="synthetic:7", help="0, rtsp://..., a video, a folder, synthetic[:SEED]")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    arguments = parser.parse_args()
    console.run(lambda: serve(arguments.engines, arguments.source, arguments.host, arguments.port))


if __name__ == "__main__":
    main()
