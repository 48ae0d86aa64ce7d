"""Frames to masks: the Segmenter, frame sources, sinks, overlays, and the pipeline that joins them."""

from __future__ import annotations

from edgefsa.segment.overlay import OverlayStyle, draw_overlay
from edgefsa.segment.pipeline import PipelineReport, run_pipeline
from edgefsa.segment.predict import predict_source
from edgefsa.segment.run import EngineFacts, Run, SegmentedFrame
from edgefsa.segment.segmentation import Segmentation, SegmentationTimes
from edgefsa.segment.segmenter import Segmenter
from edgefsa.segment.sinks import (
    CallbackSink,
    FolderSink,
    JsonLinesSink,
    MaskSink,
    NullSink,
    Recorder,
    Sink,
    VideoSink,
    WindowSink,
    open_sink,
)
from edgefsa.segment.sources import FrameSource, SourceFrame, SourceOptions, open_source

__all__ = [
    "CallbackSink",
    "EngineFacts",
    "FolderSink",
    "FrameSource",
    "JsonLinesSink",
    "MaskSink",
    "NullSink",
    "OverlayStyle",
    "PipelineReport",
    "Recorder",
    "Run",
    "Segmentation",
    "SegmentationTimes",
    "SegmentedFrame",
    "Segmenter",
    "Sink",
    "SourceFrame",
    "SourceOptions",
    "VideoSink",
    "WindowSink",
    "draw_overlay",
    "open_sink",
    "open_source",
    "predict_source",
    "run_pipeline",
]
