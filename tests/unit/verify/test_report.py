"""The same facts as JSON, Markdown and HTML."""

from __future__ import annotations

import dataclasses
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

from edgefsa.machine.telemetry import Energy, Window
from edgefsa.verify.accuracy import AccuracyReport
from edgefsa.verify.figures import COLOURS
from edgefsa.verify.report import EngineFacts, Report, report_on_engines
from edgefsa.verify.report_page import accuracy_latency_svg, latency_svg
from tests.unit.segment.fakes import FakeSession
from tests.unit.verify.test_accuracy import fake_dataset


def facts(name: str, precision: str, median_ms: float, miou: float | None, weights: str = "trained") -> EngineFacts:
    stats = {"min": median_ms - 1, "median": median_ms, "p95": median_ms + 1, "p99": median_ms + 2}
    per_class: dict[str, float | None] = {"sky": miou, "car & van": 0.4, "fence": None}
    accuracy = None if miou is None else AccuracyReport(miou, 0.9, per_class, 101)
    layers = {"int8": 20, "f32": 3}
    fps = 1000 / stats["median"]
    shares = (0.915 if precision == "int8" else 0.0, 0.0)
    size, evidence = (360, 480), "engine"
    return EngineFacts(
        name, "openvino", precision, size, weights, layers, evidence, *shares, stats, stats, fps, accuracy
    )


def report(*engines: EngineFacts) -> Report:
    machine = {
        "cpu": "A <fast> CPU",
        "cores_usable": 2,
        "os": "Linux",
        "packages": {"numpy": "2.0"},
        "cpu_features": ["avx2"],
    }
    return Report("Engines", "2026-01-02", "camvid (val)", machine, engines)


TWO = (facts("net-fp32", "fp32", 40.0, 0.612), facts("net-int8", "int8", 10.0, 0.6075, "random"))


def test_the_table_compares_with_the_first_engine() -> None:
    rows = report(*TWO).table()
    assert rows[0] == ["net-fp32", "fp32", "0.0", "61.20", "+0.00", "90.00", "40.00", "40.00", "41.00", "25.0"]
    assert rows[1] == ["net-int8", "int8", "91.5", "60.75", "-0.45", "90.00", "10.00", "10.00", "11.00", "100.0"]
    assert all(len(row) == len(Report.table_head) for row in rows)


def test_markdown_has_every_fact() -> None:
    text = report(*TWO).markdown()
    assert "| net-int8 | int8 | 91.5 | 60.75 | -0.45 |" in text
    assert "| car & van | 40.0 | 40.0 |" in text
    assert "| fence | - | - |" in text
    assert "- net-int8: 20 int8, 3 f32: read from the engine's own layer list" in text
    assert "101 frames of camvid (val)" in text
    assert "Of random weights, so that only the times mean something: net-int8." in text
    assert "A <fast> CPU, 2 cores, no VNNI and no AMX" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, "a table's rows are of one length"


def test_conditions_and_energy_stand_with_the_figures() -> None:
    energy = Energy(0.0123, 400, 10.0, 9.5, 5.0, 4.6, "VDD_IN", True)
    conditions = Window(4.0, 8, 9.0, 36.0, 61.0, 1510.0, 918.0, 2900.0, 0.97, None, True, "VDD_IN", "tegrastats")
    found = dataclasses.replace(report(dataclasses.replace(TWO[0], energy=energy), TWO[1]), conditions=conditions)
    for text in (found.markdown(), found.html()):
        assert "Meanwhile 9.00 W (VDD_IN), at most 61 °C, CPU at 1510 MHz, GPU at 918 MHz" in text
        assert "Energy of net-fp32: 12.3 mJ a frame above idle: 9.50 W over 10.0 s and 400 frames" in text
        assert text.count("THROTTLED") == 2 and "Energy of net-int8" not in text
    assert json.loads(json.dumps(found.as_dict()))["engines"][0]["energy"]["frames"] == 400
    assert "Meanwhile" not in report(*TWO).markdown() and "Energy" not in report(*TWO).markdown()


class Page(HTMLParser):
    """Collects texts and tags, and checks that tags are closed and that nothing refers to another file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self._check(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._check(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def _check(self, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert "src" not in values and not any(name.startswith("on") for name in values)
        for name in ("href", "xlink:href"):
            assert (values.get(name) or "#").startswith("#")
        self.ids += [values["id"] or ""] if "id" in values else []


def test_html_is_one_whole_page_that_loads_nothing() -> None:
    html = report(*TWO).html()
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "iframe", "image", "img", "object"} & set(page.tags)
    assert len(re.findall(r"url\(", html)) == len(re.findall(r"url\(#", html)), "only clips within a drawing"
    assert set(re.findall(r"https?://[^\"\s]*", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "names of XML, which nothing loads"
    assert "@import" not in html and page.tags.count("svg") == 2
    assert len(page.ids) == len(set(page.ids)), "the drawings' ids do not meet"
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_html_has_the_facts_of_the_others() -> None:
    found = report(*TWO)
    texts = Page(found.html()).texts
    for cells in found.table():
        assert set(cells) <= set(texts)
    assert set(found.notes()) <= set(texts), "and what is in brackets is escaped"
    for name, cells in (("sky", ["61.2", "60.8"]), ("car & van", ["40.0", "40.0"]), ("fence", ["-", "-"])):
        row = texts.index(name)
        assert [text for text in texts[row + 1 : row + 8] if text][:2] == cells
    assert any(text.startswith("20 int8, 3 f32: read from") for text in texts) and "net-int8" in texts


HOSTILE = "</td></svg><script>alert(1)</script> {{ 7 * 7 }} $x^{2 | `a` \\ \"' &amp; é 漢"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    accuracy = AccuracyReport(0.5, 0.9, {HOSTILE: 0.5, "<b>": None}, 1)
    engine = dataclasses.replace(TWO[0], name=HOSTILE, target=HOSTILE, accuracy=accuracy)
    found = dataclasses.replace(report(engine, TWO[1]), title=HOSTILE, data=HOSTILE)
    json_path, markdown_path, html_path = found.write(tmp_path)
    page = Page(html_path.read_text(encoding="utf-8"))
    assert page.open == [] and not {"script", "b"} & set(page.tags)
    assert page.texts.count(HOSTILE) >= 4, "title, heading, engine and class"
    assert json.loads(json_path.read_text(encoding="utf-8"))["engines"][0]["name"] == HOSTILE
    for block in re.findall(r"(?:^\|.*\n)+", markdown_path.read_text(encoding="utf-8"), re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1, "a name does not end its cell"


def drawn(svg: str, kind: str) -> dict[int, ElementTree.Element]:
    """The groups of a drawing that are numbered, for instance "point-3"."""
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    named = {group.get("id", ""): group for group in groups}
    return {int(name.rpartition("-")[2]): group for name, group in named.items() if f"{kind}-" in name}


def places(svg: str) -> dict[int, tuple[float, float]]:
    """Where the points of the engines stand, by number."""
    found = {}
    for number, group in drawn(svg, "point").items():
        (mark,) = group.iter("{http://www.w3.org/2000/svg}use")
        found[number] = (float(mark.get("x", "")), float(mark.get("y", "")))
    return found


def test_scatter_places_fast_left_and_accurate_up() -> None:
    engines = (*TWO, facts("net-x", "fp16", 20.0, 0.7), facts("no-accuracy", "fp16", 20.0, None))
    points = places(accuracy_latency_svg(engines))
    assert set(points) == {1, 2, 3}
    (x_fp32, y_fp32), (x_int8, y_int8), (x_fp16, y_fp16) = (points[number] for number in (1, 2, 3))
    assert (x_fp16 - x_int8) * 2 == pytest.approx(x_fp32 - x_fp16, abs=0.3), "10, 20 and 40 ms"
    assert y_fp16 < y_fp32 < y_int8


def test_bars_are_as_long_as_the_times() -> None:
    bars = drawn(latency_svg(TWO), "bar")
    lengths, fills = {}, {}
    for number, group in bars.items():
        (path,) = group.iter("{http://www.w3.org/2000/svg}path")
        across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.get("d", ""))]
        lengths[number] = max(across) - min(across)
        fills[number] = path.get("style", "")
    assert lengths[1] / lengths[2] == pytest.approx(40.0 / 10.0, rel=1e-3)
    assert all(COLOURS[number - 1] in fills[number] for number in (1, 2))


def test_text_and_axes_take_the_colour_of_the_page() -> None:
    for svg in (accuracy_latency_svg(TWO), latency_svg(TWO)):
        texts = list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
        assert texts and all("currentColor" in text.get("style", "") for text in texts)
        assert "#000000" not in svg and "#ffffff" not in svg


def test_numbers_of_points_that_coincide_do_not() -> None:
    engines = [facts(f"net-{index}", "int8", 10.0, 0.6) for index in range(8)]
    groups = drawn(accuracy_latency_svg(engines), "number")
    texts = [next(groups[number].iter("{http://www.w3.org/2000/svg}text")) for number in range(1, 9)]
    assert [text.text for text in texts] == [str(number) for number in range(1, 9)]
    for one, other in itertools.combinations(
        [(float(text.get("x", "")), float(text.get("y", ""))) for text in texts], 2
    ):
        assert abs(one[0] - other[0]) >= 10 or abs(one[1] - other[1]) >= 10


def test_twenty_engines_are_told_apart() -> None:
    found = report(*(facts(f"net-{index}", "int8", 10.0 + index, 0.5 + 0.01 * index) for index in range(20)))
    texts = Page(found.html()).texts
    assert all(texts.count(f"net-{index}") == 2 for index in range(20))
    assert all(texts.count(str(number)) >= 4 for number in range(1, 21)), "in both tables and both drawings"


def test_the_gpu_and_its_clocks_are_named() -> None:
    gpu = {"name": "NVIDIA H100", "compute_capability": "9.0", "memory_mb": 81559, "clock_mhz": 1410.0}
    found = report(*TWO)
    found.machine["gpus"] = [{**gpu, "clock_max_mhz": 1980.0, "power_limit_w": 350.0, "power_limit_max_w": 700.0}]
    words = "clock 1410 of 1980 MHz, power limit 350 of 700 W"
    assert words in found.markdown() and words in found.html() and "NVIDIA H100" in found.html()


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
    session.manifest.proof = {"evidence": "network"}
    session.manifest.int8_macs_share, session.manifest.fp16_macs_share = 0.9, 0.05
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
    assert (engine.int8_macs_share, engine.fp16_macs_share) == (0.9, 0.05)
    assert engine.layer_text == "2 int8, 1 f32: taken from the typed network that the builder accepted"
    assert engine.accuracy is not None
    assert engine.accuracy.frames == 2
    assert engine.latency_ms["count"] == 3
    assert result.data == "fake (val)"
    assert {step[0] for step in told} == {"latency", "net"}
    assert session.entered == 0
