"""Where frames come from: pictures, videos, cameras, streams, or a rendered street."""

from __future__ import annotations

from edgefsa.segment.sources.base import Failure, FrameSource, SourceFrame
from edgefsa.segment.sources.cameras import CameraSource
from edgefsa.segment.sources.live import LiveSource, Patience
from edgefsa.segment.sources.options import SourceOptions
from edgefsa.segment.sources.streams import StreamSource
from edgefsa.segment.sources.uri import open_source

__all__ = [
    "CameraSource",
    "Failure",
    "FrameSource",
    "LiveSource",
    "Patience",
    "SourceFrame",
    "SourceOptions",
    "StreamSource",
    "open_source",
]
