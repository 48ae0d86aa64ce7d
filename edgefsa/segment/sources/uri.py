"""From what a user writes to the source that it means."""

from __future__ import annotations

import glob
import re
from dataclasses import replace
from pathlib import Path

from edgefsa.errors import InputError, SourceError
from edgefsa.media.address import redacted
from edgefsa.media.camera import CameraRequest
from edgefsa.media.gstreamer import csi_pipeline, require_gstreamer, with_sink
from edgefsa.media.pictures import is_picture
from edgefsa.segment.sources.base import FrameSource
from edgefsa.segment.sources.cameras import CameraSource
from edgefsa.segment.sources.files import ImageSource, VideoSource, images_of_folder, images_of_glob
from edgefsa.segment.sources.options import SourceOptions
from edgefsa.segment.sources.playback import played
from edgefsa.segment.sources.streams import SCHEMES, StreamSource
from edgefsa.segment.sources.synthetic import SyntheticSource

_KINDS = "an image, a folder, a pattern, a video, camera:0, rtsp://..., http://... or synthetic"
_FILES_ONLY = ("loop", "rate", "orientation", "bits")
_CAMERAS_ONLY = ("camera_size_hw", "camera_fps", "camera_format")


def open_source(spec: str | Path, options: SourceOptions | None = None) -> FrameSource:
    """Open what `spec` names.

    An image file, a folder of images, a pattern ("frames/*.png"), a video file, `synthetic[:SEED]`; a camera as `0`,
    `camera:0` or `/dev/video0`, as `csi://0` (Jetson) or by `gst:PIPELINE` (GStreamer); a stream as `rtsp://`,
    `rtsps://`, `http://` or `https://`. A video file behind http(s) is played as a file.

    Raises SourceError where it is missing, empty or unreadable, InputError for a malformed or empty `spec` and for
    options that mean nothing for it. No message holds the credentials of an address.
    """
    text, options = str(spec).strip(), options or SourceOptions()
    if not text:
        raise InputError(f"the source is empty; give {_KINDS}")
    kind, _, argument = text.partition(":")
    if kind.lower() in SCHEMES and argument.startswith("//"):
        return played(_of_network(text, options), options)
    if kind in ("csi", "gst"):
        return _of_gstreamer(text, kind, argument, options)
    if kind == "camera" or text.isdecimal() or text.startswith("/dev/"):
        return played(_of_camera(text, kind, argument, options), options)
    options.refuse_for(redacted(text), *_CAMERAS_ONLY)
    if kind == "synthetic":
        return played(SyntheticSource(_whole_number(text, argument or "0", "synthetic:0")), options)
    return played(_of_files(str(spec), options), options)


def _of_camera(text: str, kind: str, argument: str, options: SourceOptions) -> FrameSource:
    options.refuse_for(text, *_FILES_ONLY)
    request = CameraRequest(options.camera_size_hw, options.camera_fps, options.camera_format)
    numbered = re.fullmatch(r"/dev/video(\d+)", text)
    if numbered is None and text.startswith("/dev/"):
        return CameraSource(text, Path(text).name, text, request)
    digits = numbered[1] if numbered else argument if kind == "camera" else text
    number = _whole_number(text, digits, "camera:0")
    return CameraSource(number, f"camera{number}", f"camera {number}", request)


def _of_gstreamer(text: str, kind: str, argument: str, options: SourceOptions) -> FrameSource:
    shown = redacted(text)
    options.refuse_for(shown, *_FILES_ONLY, "camera_format")
    if kind == "csi":
        number = _whole_number(text, argument.removeprefix("//"), "csi://0")
        pipeline, name = csi_pipeline(number, options.camera_size_hw, options.camera_fps, options.flip), f"csi{number}"
        options = replace(options, flip=None)  # done by the pipeline
        request = CameraRequest(options.camera_size_hw, options.camera_fps)
    else:
        options.refuse_for(shown, *_CAMERAS_ONLY)
        if not argument.strip():
            raise InputError(f"{text} names no pipeline; write gst:videotestsrc, for example")
        pipeline, name, request = with_sink(argument), "gst", CameraRequest()
    require_gstreamer(shown)
    return played(CameraSource(pipeline, name, shown, request, pipeline=True), options)


def _of_network(address: str, options: SourceOptions) -> FrameSource:
    options.refuse_for(redacted(address), *_CAMERAS_ONLY, "orientation", "bits")
    source = StreamSource(address)
    if source.duration_s is not None and address.lower().startswith("http"):
        source.close()
        return VideoSource(address)
    try:
        options.refuse_for(source.label, "loop", "rate")
    except InputError:
        source.close()
        raise
    return source


def _of_files(spec: str, options: SourceOptions) -> FrameSource:
    path = Path(spec)
    if path.is_dir():
        name, paths = path.resolve().name, images_of_folder(path)
    elif not path.exists() and glob.has_magic(spec):
        name, paths = path.resolve().parent.name, images_of_glob(spec)
    elif not path.exists():
        raise SourceError(f"{redacted(spec)} does not exist; give {_KINDS}")
    elif is_picture(path):
        name, paths = path.stem, [path]
    else:
        return VideoSource(path)
    return ImageSource(paths, name, orientation=options.orientation, bits=options.bits)


def _whole_number(spec: str, text: str, example: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise InputError(f"{spec}: {text!r} is no whole number; write {example}, for example")
    return int(text)
