"""Sinks by their URI, as `--sink` takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgefsa.errors import InputError
from edgefsa.media.recording import VIDEO_SUFFIXES
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.sinks.base import Sink
from edgefsa.segment.sinks.null import NullSink
from edgefsa.segment.sinks.pictures import FolderSink, MaskSink
from edgefsa.segment.sinks.records import JsonLinesSink
from edgefsa.segment.sinks.video import VideoSink

SINKS = "window, serve[:PORT], video:FILE.mp4, pictures:DIR, masks:DIR, json:FILE.jsonl, json:- or null"


def open_sink(spec: str, *, style: OverlayStyle | None = None, output: str | Path = ".") -> Sink:
    """Return the sink of a URI (see SINKS; a path that is named like a video is one); enter it by `with`.

    `style` is how masks are drawn; `output` the folder for what is asked for while the run goes on (snapshots,
    recordings). Raises InputError for a malformed `spec`, and where this machine has no such sink.
    """
    kind, _, argument = spec.partition(":")
    if kind not in _MAKERS and Path(spec).suffix.lower() in VIDEO_SUFFIXES:
        kind, argument = "video", spec
    if kind not in _MAKERS:
        raise InputError(f"{spec or 'an empty text'} is no sink; give {SINKS}")
    if kind in _NAMES_A_PATH and not argument:
        raise InputError(f"{spec}: the path is missing; write {_NAMES_A_PATH[kind]}, for example")
    if kind in ("window", "null") and argument:
        raise InputError(f"{spec}: {kind} takes no {argument!r}; write {kind} alone")
    return _MAKERS[kind](argument, style or OverlayStyle(), Path(output))


def _window(argument: str, style: OverlayStyle, output: Path) -> Sink:
    from edgefsa.segment.sinks.window import WindowSink

    return WindowSink(style, snapshots=output)


def _serve(argument: str, style: OverlayStyle, output: Path) -> Sink:
    if argument and not (argument.isascii() and argument.isdecimal() and int(argument) < 65536):
        raise InputError(f"serve:{argument}: {argument!r} is no port; write serve or serve:8080, for example")
    from edgefsa.serve import DEFAULT_PORT, ServeSink

    return ServeSink(port=int(argument or DEFAULT_PORT), recordings=output, style=style)


_NAMES_A_PATH = {
    "video": "video:drive.mp4",
    "pictures": "pictures:out",
    "masks": "masks:out",
    "json": "json:frames.jsonl",
}
_MAKERS: dict[str, Callable[[str, OverlayStyle, Path], Sink]] = {
    "window": _window,
    "serve": _serve,
    "video": lambda path, style, _: VideoSink(path, style=style),
    "pictures": lambda path, style, _: FolderSink(path, style),
    "masks": lambda path, *_: MaskSink(path),
    "json": lambda path, *_: JsonLinesSink(path),
    "null": lambda *_: NullSink(),
}
