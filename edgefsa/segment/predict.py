"""Frames of a source into files: what `edgefsa predict` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgefsa.errors import SourceError
from edgefsa.media.address import redacted
from edgefsa.media.recording import VIDEO_SUFFIXES
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.pipeline import Progress, run_pipeline
from edgefsa.segment.segmenter import Segmenter
from edgefsa.segment.sinks import FolderSink, Sink, VideoSink
from edgefsa.segment.sources import FrameSource, SourceOptions, open_source


def predict_source(
    engine: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    style: OverlayStyle | None = None,
    limit: int | None = None,
    options: SourceOptions | None = None,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Segment `source` (see `open_source`) into `output`; return what was done, as plain values.

    Images give NAME_overlay.jpg and NAME_mask.png in the folder `output`; a video, a camera or the synthetic
    street gives the video NAME_overlay.mp4 there, or `output` itself where that is named like a video. `failed` lists
    the files of a folder that could not be read, with the reason of each. `on_note` is called with what a user should
    know, as it happens.
    """
    with (
        open_source(source, options) as frames,
        Segmenter(engine) as segmenter,
        _sink_for(frames, Path(output), style) as sink,
    ):
        report = run_pipeline(frames, segmenter, [sink], limit=limit, progress=progress, on_note=on_note)
    figures = report.statistics
    if figures.frames == 0 and not report.interrupted:
        raise SourceError(f"{redacted(str(source))} gave no frame; nothing was written")
    return {
        "engine": str(engine),
        "source": redacted(str(source)),
        "frames": figures.frames,
        "dropped": figures.dropped,
        "seconds": round(figures.seconds, 3),
        "median_latency_ms": round(figures.stages["camera_to_mask" if frames.live else "frame_to_mask"].median, 3),
        "interrupted": report.interrupted,
        "notes": report.notes,
        "failed": [asdict(failure) for failure in report.failures],
        "outputs": [str(path) for path in sink.outputs],
    }


def _sink_for(source: FrameSource, output: Path, style: OverlayStyle | None) -> Sink:
    if output.suffix.lower() in VIDEO_SUFFIXES and not output.is_dir():
        return VideoSink(output, source.fps, style)
    if source.fps is not None:
        return VideoSink(output / f"{source.name}_overlay.mp4", source.fps, style)
    return FolderSink(output, style)
