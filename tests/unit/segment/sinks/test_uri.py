"""Sinks by their URI: the right one, or one line that says what to write."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgefsa.errors import InputError
from edgefsa.segment import FolderSink, JsonLinesSink, MaskSink, NullSink, OverlayStyle, Sink, VideoSink, open_sink
from edgefsa.segment.sinks.uri import SINKS

STYLE = OverlayStyle(alpha=0.25)


@pytest.mark.parametrize(
    ("spec", "kind", "facts"),
    [
        ("video:drive.mp4", VideoSink, {"path": Path("drive.mp4"), "style": STYLE}),
        ("out/drive.MKV", VideoSink, {"path": Path("out/drive.MKV"), "style": STYLE}),
        ("masks:out/masks", MaskSink, {"folder": Path("out/masks")}),
        ("pictures:out", FolderSink, {"folder": Path("out"), "style": STYLE}),
        ("json:a.jsonl", JsonLinesSink, {"path": Path("a.jsonl")}),
        ("json:-", JsonLinesSink, {"path": None}),
        ("null", NullSink, {}),
    ],
)
def test_each_uri_opens_its_sink(spec: str, kind: type[Sink], facts: dict[str, Any]) -> None:
    sink = open_sink(spec, style=STYLE)
    assert type(sink) is kind
    assert {name: getattr(sink, name) for name in facts} == facts


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "an empty text is no sink; give window, serve"),
        ("screen", "screen is no sink; give window, serve"),
        ("out/masks", "out/masks is no sink"),
        ("video:", "video:: the path is missing; write video:drive.mp4"),
        ("masks", "masks: the path is missing; write masks:out"),
        ("json", "json: the path is missing"),
        ("video:drive.gif", r"drive\.gif: cannot write that video format; use \.mp4"),
        ("null:x", "null takes no 'x'; write null alone"),
        ("window:1", "window takes no '1'"),
        ("serve:http", "'http' is no port; write serve or serve:8080"),
        ("serve:70000", "'70000' is no port"),
    ],
)
def test_what_is_no_sink_is_said_in_one_line(spec: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        open_sink(spec)
    assert "\n" not in str(caught.value)


def test_every_kind_that_messages_name_is_known() -> None:
    for spec in SINKS.replace(" or ", ", ").split(", "):
        kind = spec.partition("[")[0].partition(":")[0]
        with pytest.raises(InputError) as caught:
            open_sink(f"{kind}:" if kind in ("video", "pictures", "masks", "json") else f"{kind}:?")
        assert "is no sink" not in str(caught.value)


@pytest.mark.parametrize(("spec", "port"), [("serve", 8080), ("serve:9000", 9000), ("serve:0", 0)])
def test_serve_is_the_live_view_with_its_port(monkeypatch: pytest.MonkeyPatch, spec: str, port: int) -> None:
    asked: list[dict[str, Any]] = []
    module: Any = ModuleType("edgefsa.serve")
    module.DEFAULT_PORT = 8080
    module.ServeSink = lambda **options: asked.append(options)
    monkeypatch.setitem(sys.modules, "edgefsa.serve", module)
    open_sink(spec, style=STYLE, output="clips")
    assert asked == [{"port": port, "recordings": Path("clips"), "style": STYLE}]
