"""Where masks go: files, a window, a browser, a function."""

from __future__ import annotations

from edgefsa.segment.sinks.base import Sink
from edgefsa.segment.sinks.callback import CallbackSink
from edgefsa.segment.sinks.null import NullSink
from edgefsa.segment.sinks.pictures import FolderSink, MaskSink
from edgefsa.segment.sinks.records import JsonLinesSink
from edgefsa.segment.sinks.uri import open_sink
from edgefsa.segment.sinks.video import Recorder, VideoSink
from edgefsa.segment.sinks.window import WindowSink

__all__ = [
    "CallbackSink",
    "FolderSink",
    "JsonLinesSink",
    "MaskSink",
    "NullSink",
    "Recorder",
    "Sink",
    "VideoSink",
    "WindowSink",
    "open_sink",
]
