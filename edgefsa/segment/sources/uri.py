"""From what a user writes to the source that it means."""

from __future__ import annotations

import glob
from pathlib import Path

from edgefsa.errors import InputError, SourceError
from edgefsa.media.pictures import is_picture
from edgefsa.segment.sources.base import FrameSource
from edgefsa.segment.sources.cameras import CameraSource
from edgefsa.segment.sources.files import ImageSource, VideoSource, images_of_folder, images_of_glob
from edgefsa.segment.sources.options import SourceOptions
from edgefsa.segment.sources.playback import played
from edgefsa.segment.sources.synthetic import SyntheticSource

_KINDS = "an image, a folder, a pattern, a video, camera:0 or synthetic"


def open_source(spec: str | Path, options: SourceOptions | None = None) -> FrameSource:
    """Open an image file, a folder of images or a pattern, a video file, `camera:N`, or `synthetic[:SEED]`.

    Raises SourceError where it is missing, empty or unreadable, InputError for a malformed or empty `spec` and for
    options that mean nothing for it.
    """
    options = options or SourceOptions()
    return played(_opened(str(spec), options), options)


def _opened(spec: str, options: SourceOptions) -> FrameSource:
    if not spec.strip():
        raise InputError(f"the source is empty; give {_KINDS}")
    kind, _, argument = spec.partition(":")
    if kind == "camera":
        options.refuse_for(spec, "loop", "rate", "orientation", "bits")
        return CameraSource(_whole_number(spec, argument))
    options.refuse_for(spec, "camera_size_hw", "camera_fps", "camera_format")
    if kind == "synthetic":
        return SyntheticSource(_whole_number(spec, argument or "0"))
    return _of_files(spec, options)


def _of_files(spec: str, options: SourceOptions) -> FrameSource:
    path = Path(spec)
    if path.is_dir():
        name, paths = path.resolve().name, images_of_folder(path)
    elif not path.exists() and glob.has_magic(spec):
        name, paths = path.resolve().parent.name, images_of_glob(spec)
    elif not path.exists():
        raise SourceError(f"{path} does not exist; give {_KINDS}")
    elif is_picture(path):
        name, paths = path.stem, [path]
    else:
        return VideoSource(path)
    return ImageSource(paths, name, orientation=options.orientation, bits=options.bits)


def _whole_number(spec: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        kind = spec.partition(":")[0]
        raise InputError(f"{spec}: {text!r} is no whole number; write {kind}:0, for example")
    return int(text)
