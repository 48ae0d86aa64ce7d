"""The same facts as JSON, Markdown and HTML."""

from __future__ import annotations

import itertools
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from edgefsa.verify.accuracy import AccuracyReport
from edgefsa.verify.report import EngineFacts, Report, report_on_engines
from edgefsa.verify.report_html import accuracy_latency_svg, class_iou_svg
from tests.unit.segment.fakes import FakeSession
from tests.unit.verify.test_accuracy import fake_dataset


def facts(name: str, precision: str, median_ms: float, miou: float | None, weights: str = "trained") -> EngineFacts:
    stats = {"min": median_ms - 1, "median": median_ms, "p95": median_ms + 1, "p99": median_ms + 2}
    per_class: dict[str, float | None] = {"sky": miou, "car & van": 0.4, "fence": None}
    accuracy = None if miou is None else AccuracyReport(miou, 0.9, per_class, 101)
    layers = {"int8": 20, "f32": 3}
    fps = 1000 / stats["median"]
    return EngineFacts(name, "openvino", precision, (360, 480), weights, layers, stats, stats, fps, accuracy)


def report(*engines: EngineFacts) -> Report:
    machine = {"cpu": "A <fast> CPU", "cores_usable": 2, "os": "Linux", "packages": {"numpy": "2.0"}}
    return Report("Engines", "2026-01-02", "camvid (val)", machine, engines)


TWO = (facts("net-fp32", "fp32", 40.0, 0.612), facts("net-int8", "int8", 10.0, 0.6075, "random"))


def test_the_table_compares_with_the_first_engine() -> None:
    rows = report(*TWO).table()
    assert rows[0] == ["net-fp32", "fp32", "61.20", "+0.00", "90.00", "40.00", "40.00", "41.00", "25.0"]
    assert rows[1] == ["net-int8", "int8", "60.75", "-0.45", "90.00", "10.00", "10.00", "11.00", "100.0"]
    assert all(len(row) == len(Report.table_head) for row in rows)


def test_markdown_has_every_fact() -> None:
    text = report(*TWO).markdown()
    assert "| net-int8 | int8 | 60.75 | -0.45 |" in text
    assert "| car & van | 40.0 | 40.0 |" in text
    assert "| fence | - | - |" in text
    assert "- net-int8: 20 int8, 3 f32" in text
    assert "101 frames of camvid (val)" in text
    assert "net-int8: the weights are random" in text
    assert "A <fast> CPU" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, "a table's rows are of one length"


class Page(HTMLParser):
    """Collects texts and checks that tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_is_one_whole_page_that_loads_nothing() -> None:
    html = report(*TWO).html()
    page = Page(html)
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "url(" not in html
    assert page.tags.count("svg") == 2
    text = " ".join(page.texts)
    assert "A <fast> CPU" in text, "text is escaped"
    for cells in report(*TWO).table():
        for cell in cells:
            assert cell in page.texts


def points_of(svg: str) -> list[tuple[float, float]]:
    circles = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    return [(float(circle.get("cx", "")), float(circle.get("cy", ""))) for circle in circles]


def test_scatter_places_fast_left_and_accurate_up() -> None:
    engines = (*TWO, facts("net-x", "fp16", 20.0, 0.7), facts("no-accuracy", "fp16", 20.0, None))
    points = sorted(points_of(accuracy_latency_svg(engines)))
    assert len(points) == 3
    (x_int8, y_int8), (x_fp16, y_fp16), (x_fp32, y_fp32) = points
    assert (x_fp16 - x_int8) * 2 == pytest.approx(x_fp32 - x_fp16, abs=0.3), "10, 20 and 40 ms"
    assert y_fp16 < y_fp32 < y_int8


def test_bars_are_as_long_as_the_iou() -> None:
    svg = ElementTree.fromstring(class_iou_svg(TWO))
    widths = [float(box.get("width", "")) for box in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 6
    assert widths[0] / widths[2] == pytest.approx(0.612 / 0.4, rel=1e-3)
    assert widths[4] == 0.0


def test_labels_of_points_that_coincide_do_not() -> None:
    engines = [facts(f"net-{index}", "int8", 10.0, 0.6) for index in range(4)]
    texts = ElementTree.fromstring(accuracy_latency_svg(engines)).iter("{http://www.w3.org/2000/svg}text")
    heights = sorted(float(text.get("y", "")) for text in texts if (text.text or "").startswith("net-"))
    assert all(low + 12 <= high for low, high in itertools.pairwise(heights))


@pytest.mark.parametrize("engines", [(), (facts("only", "fp32", 5.0, None),), (facts("one", "fp32", 5.0, 0.0),), TWO])
def test_any_number_of_engines_is_written(tmp_path: Path, engines: tuple[EngineFacts, ...]) -> None:
    paths = report(*engines).write(tmp_path / "out")
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    value = json.loads(paths[0].read_text())
    assert [engine["name"] for engine in value["engines"]] == [engine.name for engine in engines]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in paths)


def test_engines_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    session: Any = FakeSession((96, 128))
    session.layer_precisions = lambda: [SimpleNamespace(precision=name) for name in ("int8", "int8", "f32")]
    session.manifest.model["weights"] = {"kind": "random"}
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **_: session
    scenes: Any = ModuleType("edgefsa.data.synthetic")
    scenes.render_scene = lambda seed, size_hw: (fake_dataset(1)[0].frame, None)
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    monkeypatch.setitem(sys.modules, "edgefsa.data.synthetic", scenes)
    told = []
    result = report_on_engines(["engines/net"], fake_dataset(2), rounds=3, progress=lambda *step: told.append(step))
    (engine,) = result.engines
    assert engine.name == "net"
    assert engine.layers == {"int8": 2, "f32": 1}
    assert engine.weights == "random"
    assert engine.accuracy is not None
    assert engine.accuracy.frames == 2
    assert engine.latency_ms["count"] == 3
    assert result.data == "fake (val)"
    assert {step[0] for step in told} == {"latency", "net"}
    assert session.entered == 0
