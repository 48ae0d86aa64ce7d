"""The same facts as JSON, Markdown and HTML."""

from __future__ import annotations

import base64
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

import cv2
import numpy as np
import pytest

from edgefsa.machine.telemetry import Energy, Window
from edgefsa.segment.run import Saturation
from edgefsa.verify import report_measure
from edgefsa.verify.accuracy import AccuracyReport
from edgefsa.verify.baseline import measured_of
from edgefsa.verify.bootstrap import interval, resampled_miou
from edgefsa.verify.footprint import Footprint
from edgefsa.verify.gate import Limits, judged
from edgefsa.verify.latency import LatencyStats
from edgefsa.verify.peers import Peer
from edgefsa.verify.report import EngineFacts, LayerRun, Report
from edgefsa.verify.report_figures import accuracy_latency_svg, distribution_svg, front, layers_svg, stages_svg
from edgefsa.verify.report_measure import layer_runs, report_on_engines
from edgefsa.verify.report_page import shown_frames
from edgefsa.verify.report_tables import (
    accuracy_table,
    confusions,
    largest_confusions,
    notes,
    saturation_table,
    summary_table,
)
from tests.unit.segment.fakes import FakeSession
from tests.unit.verify.reports import details, facts, report
from tests.unit.verify.test_accuracy import fake_dataset

TWO = (facts("net-fp32", "fp32", 40.0, 0.612), facts("net-int8", "int8", 10.0, 0.6075, "random"))
PEERS = (Peer("PIDNet <S>", 80.1, 8.0, "test split"), Peer("ENet", 51.3, 90.0))


def test_the_table_compares_with_the_first_engine() -> None:
    found = report(*TWO)
    first, second = summary_table(found).rows
    assert first == ("net-fp32", "fp32", "61.20", "+0.00", "40.00", "25.0", "140", "0.0")
    assert second[:3] == ("net-int8", "int8", "60.75") and second[4:] == ("10.00", "100.0", "140", "91.5")
    low, high = found.intervals[1].change or (0, 0)
    assert second[3] == f"-0.45 ({100 * low:+.2f} to {100 * high:+.2f})"
    assert all(len(row) == len(summary_table(found).head) for row in summary_table(found).rows)


def test_intervals_are_those_of_the_frames_and_changes_are_paired() -> None:
    engines = tuple(
        dataclasses.replace(engine, details=details(miou, seed=seed))
        for engine, miou, seed in zip((*TWO, TWO[1]), (0.6, 0.5, 0.6), (1, 2, 1), strict=True)
    )
    found = report(*engines)
    drawn = [resampled_miou(engine.details.hits, engine.details.unions) for engine in engines if engine.details]
    assert [intervals.miou for intervals in found.intervals] == [interval(values) for values in drawn]
    changes = [intervals.change for intervals in found.intervals]
    assert changes == [None, interval(drawn[1] - drawn[0]), (0.0, 0.0)]
    verdicts = [row[3] for row in accuracy_table(found).rows]
    assert verdicts == ["-", "worse", "within noise"]
    other = dataclasses.replace(engines[1], details=details(frames=11))
    assert report(engines[0], other).intervals[1].change is None, "other frames are no pairs"


def test_markdown_has_every_fact() -> None:
    text = report(*TWO, peers=PEERS).markdown()
    assert "| net-int8 | int8 | 60.75 | -0.45 (" in text
    assert "| car & van | 40.0 | 40.0 |" in text
    assert "| fence | - | - |" in text
    assert "| sky | car & van | 10.0 | 66.7 |" in text, "100 of 1,000 pixels, and of 150 wrong ones"
    assert "| net-int8 | 20 int8, 3 f32: read from the engine's own layer list |" in text
    assert "| net-fp32 | 1 | 40.00 | 4.00 | 28.00 | 8.00 | 40.00 | 41.00 | 42.00 | 25.0 | 37.5 (2) |" in text
    assert "| net-fp32 | 3.11 | 0.0 | 0.0 | 12.0 | 140 | 0.31 | 22 |" in text
    assert r"| a | PIDNet \<S\> | test split | 80.10 | 8.00 |" in text
    assert "12 frames of camvid (val)" in text
    assert "Of random weights, so that only the times mean something: net-int8." in text
    assert r"A \<fast\> CPU, 2 cores, no VNNI and no AMX" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, "a table's rows are of one length"


def test_what_was_found_of_the_data_stands_once_in_every_form() -> None:
    accuracy = AccuracyReport(0.5, 0.9, {"sky": 0.5}, 12, notes=("these weights were trained on <x>'s split val",))
    found = report(*(dataclasses.replace(engine, accuracy=accuracy) for engine in TWO))
    assert found.markdown().count(r"- These weights were trained on \<x\>'s split val.") == 1
    assert found.html().count("These weights were trained on &lt;x&gt;&#39;s split val.") == 1


def test_conditions_and_energy_stand_with_the_figures() -> None:
    energy = Energy(0.0123, 400, 10.0, 9.5, 5.0, 4.6, "VDD_IN", True)
    conditions = Window(4.0, 8, 9.0, 36.0, 61.0, 1510.0, 918.0, 2900.0, 0.97, None, True, "VDD_IN", "tegrastats")
    found = report(dataclasses.replace(TWO[0], energy=energy), TWO[1], conditions=conditions)
    for text in (found.markdown(), found.html()):
        assert "Meanwhile 9.00 W (VDD_IN), at most 61 °C, CPU at 1510 MHz, GPU at 918 MHz" in text
        assert "Energy of net-fp32: 12.3 mJ a frame above idle: 9.50 W over 10.0 s and 400 frames" in text
        assert text.count("THROTTLED") == 2 and "Energy of net-int8" not in text
    assert "mJ a frame, above idle |" in found.markdown() and "| 22 | 12.3 |" in found.markdown()
    assert "| 22 | - |" in found.markdown(), "the other engine's was not measured"
    assert json.loads(json.dumps(found.as_dict()))["engines"][0]["energy"]["frames"] == 400
    assert "Meanwhile" not in report(*TWO).markdown() and "mJ" not in report(*TWO).markdown()


def test_tensors_beyond_their_ranges_stand_in_every_form() -> None:
    beyond = Saturation("stem/Relu", "stem..layer1", 0.031, 0.0001, 1.42, "night<1>", 0.08, drifted=True)
    within = Saturation("Resize", "refine", 0.0, 0.0002, 0.0, "night<1>", 0.0, drifted=False)
    found = report(TWO[0], dataclasses.replace(TWO[1], saturation=(beyond, within)))
    assert saturation_table(found).rows == (
        ("net-int8", "beyond", "stem/Relu", "stem..layer1", "night<1>", "3.100", "0.010", "1.42", "8.000"),
        ("net-int8", "within", "Resize", "refine", "-", "0.000", "0.020", "-", "0.000"),
    )
    assert "## Calibrated ranges" in found.markdown() and "night\\<1\\>" in found.markdown()
    assert found.as_dict()["engines"][1]["saturation"][0]["tensor"] == "stem/Relu"
    html = found.html()
    assert 'href="#ranges"' in html and "night&lt;1&gt;" in html and "3.100" in html
    assert "ranges" not in Page(report(*TWO).html()).ids, "no section where nothing was looked at"


def test_copies_are_a_stage_where_there_are_any() -> None:
    assert "| copy ms |" not in report(*TWO).markdown() and "copies" not in stages_svg(TWO)
    on_gpu = dataclasses.replace(TWO[0], stages_ms={**TWO[0].stages_ms, "copy": 1.25})
    found = report(on_gpu, TWO[1])
    assert "| copy ms |" in found.markdown() and "| 4.00 | 1.25 | 28.00 | 8.00 |" in found.markdown()
    assert set(drawn(stages_svg(found.engines), "copy")) == {1, 2}


def test_json_has_the_figures_and_repeats_them() -> None:
    found = report(*TWO, peers=PEERS, measured_s={"latency": 12.345})
    value = json.loads(json.dumps(found.as_dict()))
    first = value["engines"][0]
    assert value["format"] == 1 and value["measured_s"] == {"latency": 12.35}
    assert first["accuracy"]["miou"] == 0.612 and first["boundary_iou"] == {
        "mean": 0.375,
        "per_class": [0.5, 0.25, None],
    }
    assert TWO[0].details is not None
    assert first["frames"]["hits"] == TWO[0].details.hits.tolist()
    assert first["confusion"] == [[900, 100, 0], [50, 450, 0], [0, 0, 0]]
    assert first["footprint"] == {"peak_rss_mib": 140.4, "open_s": 0.31, "first_run_ms": 22.0}
    assert first["worst_frames"] == [{"name": "frame-3", "miou": 0.31}] and "details" not in first
    assert first["layer_map"][0] == {"precision": "f32", "multiplies": True, "count": 20}
    assert value["peers"][1] == {"name": "ENet", "miou_percent": 51.3, "frame_to_mask_ms": 90.0, "note": ""}


def test_lists_of_numbers_take_a_line_each_and_texts_stay(tmp_path: Path) -> None:
    engine = dataclasses.replace(TWO[0], name="a [ 1,\n 2 ] b")
    text = report(engine).write(tmp_path)[0].read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(report(engine).as_dict()))
    assert len(text.splitlines()) < 250, "100 rounds and 12 frames"


class Page(HTMLParser):
    """Collects texts and tags, and checks that tags are closed and that nothing refers to another file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
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
        assert (values.get("src") or "data:image/").startswith("data:image/")
        assert not any(name.startswith("on") for name in values)
        assert values.get("alt") if "src" in values else True
        for name in ("href", "xlink:href"):
            assert (values.get(name) or "#").startswith("#")
        self.ids += [values["id"] or ""] if "id" in values else []


def gated(*engines: EngineFacts) -> Report:
    """A report against another one, in which the first engine was better and faster."""
    better = dataclasses.replace(engines[0], details=details(0.7), times_ms=engines[1].times_ms)
    before = measured_of(report(better, *engines[1:]).as_dict(), "old/report.json")
    return judged(report(*engines, peers=PEERS), before, Limits(0.5, 0.05))


def test_html_is_one_whole_page_that_loads_nothing() -> None:
    html = gated(*TWO).html()
    page = Page(html)
    assert page.open == []
    assert not {"script", "link", "iframe", "image", "object"} & set(page.tags)
    assert len(re.findall(r"url\(", html)) == len(re.findall(r"url\(#", html)), "only clips within a drawing"
    assert set(re.findall(r"https?://[^\"\s]*", html)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }, "names of XML, which nothing loads"
    assert "@import" not in html and page.tags.count("svg") == 5
    assert len(page.ids) == len(set(page.ids)), "the drawings' ids do not meet"
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    links = re.findall(r'href="#([a-z]+)"', html[html.index("<nav") : html.index("</nav>")])
    assert len(links) == 10 and set(links) <= set(page.ids)


def test_html_can_be_read_aloud() -> None:
    page = Page(gated(*TWO).html())
    headings = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    assert page.tags.count("caption") == page.tags.count("table") == 11
    assert page.html.count('role="img" aria-label="') == page.tags.count("svg")
    assert page.html.count('scope="row"') >= 20 and page.html.count('scope="col"') >= 60
    assert '<html lang="en">' in page.html and page.tags.count("main") == 1


def test_pictures_of_the_worst_frames_are_inside() -> None:
    html = report(*TWO).html()
    found = re.findall(r'src="data:image/(jpeg|png);base64,([A-Za-z0-9+/=]+)"', html)
    assert [kind for kind, _ in found] == ["jpeg", "png", "png", "jpeg", "png", "jpeg"], "frame, truth, two engines"
    for _, data in found:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (12, 16, 3) and abs(int(picture[5, 5, 0]) - 90) < 3


def test_a_frame_is_shown_once_with_all_engines_that_have_it_among_their_worst() -> None:
    other = details()
    renamed = dataclasses.replace(other, worst=(dataclasses.replace(other.worst[0], name="frame-9"),))
    found = shown_frames(report(dataclasses.replace(TWO[0], details=renamed), *TWO))
    assert [(frame.name, [number for number, _ in frame.worst]) for frame in found] == [
        ("frame-3", [1, 2]),
        ("frame-9", [0]),
    ]
    many = report(*[dataclasses.replace(TWO[0], name=f"net-{index}") for index in range(20)])
    assert "15 more engines on this frame" in many.html()


def test_html_has_the_facts_of_the_others() -> None:
    found = gated(*TWO)
    texts = Page(found.html()).texts
    for cells in summary_table(found).rows:
        assert set(cells) <= set(texts)
    assert set(notes(found)) <= set(texts), "and what is in brackets is escaped"
    for name, cells in (("sky", ["61.2", "60.8"]), ("car & van", ["40.0", "40.0"]), ("fence", ["-", "-"])):
        row = texts.index(name)
        assert [text for text in texts[row + 1 : row + 8] if text][:2] == cells
    assert any(text.startswith("20 int8, 3 f32: read from") for text in texts) and "net-int8" in texts
    assert {"PIDNet <S>", "test split", "worse", "kept"} <= set(texts)


def test_what_got_worse_comes_first() -> None:
    found = gated(*TWO)
    assert found.gate is not None
    assert [item.figure for item in found.gate.worse] == ["mIoU %", "frame to mask ms"]
    rows = [line for line in found.markdown().splitlines() if "| mIoU % |" in line or "| frame to mask ms |" in line]
    rows = [row for row in rows if row.startswith("| net")]
    assert [row.split(" | ")[2] for row in rows] == ["worse", "worse", "kept", "kept"]
    assert found.as_dict()["gate"]["comparisons"][0]["verdict"] == "worse"


def test_confusions_are_shares_of_the_true_class() -> None:
    assert confusions(TWO[0]).rows == ((0.9, 0.1, 0.0), (0.1, 0.9, 0.0), (None, None, None))
    assert largest_confusions(TWO[0]).rows == (
        ("sky", "car & van", "10.0", "66.7"),
        ("car & van", "sky", "10.0", "33.3"),
    )


HOSTILE = "</td></svg><script>alert(1)</script> {{ 7 * 7 }} $x^{2 | `a` \\ \"' &amp; é 漢"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    accuracy = AccuracyReport(0.5, 0.9, {HOSTILE: 0.5, "<b>": None}, 1)
    engine = dataclasses.replace(TWO[0], name=HOSTILE, target=HOSTILE, accuracy=accuracy)
    found = dataclasses.replace(report(engine, TWO[1]), title=HOSTILE, peers=(Peer(HOSTILE, 50.0, 5.0, HOSTILE),))
    json_path, markdown_path, html_path = found.write(tmp_path)
    page = Page(html_path.read_text(encoding="utf-8"))
    assert page.open == [] and not {"script", "b"} & set(page.tags)
    assert page.texts.count(HOSTILE) >= 6, "title, heading, engine, class, peer and note"
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


def test_bars_are_as_long_as_the_stages() -> None:
    bars = {**drawn(stages_svg(TWO), "engine"), 3: drawn(stages_svg(TWO), "mask")[1]}
    lengths, fills = {}, {}
    for number, group in bars.items():
        (path,) = group.iter("{http://www.w3.org/2000/svg}path")
        across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.get("d", ""))]
        lengths[number] = max(across) - min(across)
        fills[number] = path.get("style", "")
    assert lengths[1] / lengths[2] == pytest.approx(28.0 / 7.0, rel=1e-3)
    assert lengths[1] / lengths[3] == pytest.approx(28.0 / 8.0, rel=1e-3)
    assert fills[1] == fills[2] != fills[3]


def test_the_spread_is_that_of_the_rounds() -> None:
    svg = distribution_svg(TWO)
    lengths = {}
    for kind in ("spread", "half"):
        for number, group in drawn(svg, kind).items():
            (path,) = group.iter("{http://www.w3.org/2000/svg}path")
            across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path.get("d", ""))]
            lengths[kind, number] = max(across) - min(across)
    for number, engine in enumerate(TWO, start=1):
        marks = np.percentile(engine.times_ms["frame_to_mask"], [5, 25, 75, 95])
        share = lengths["half", number] / lengths["spread", number]
        assert share == pytest.approx((marks[2] - marks[1]) / (marks[3] - marks[0]), rel=1e-3)


def test_the_front_has_what_no_other_beats_in_both() -> None:
    points = [(10.0, 60.0), (20.0, 59.0), (20.0, 70.0), (30.0, 70.0), (15.0, 65.0), (40.0, 71.0)]
    assert front(points) == [(10.0, 60.0), (15.0, 65.0), (20.0, 70.0), (40.0, 71.0)]


def test_peers_are_hollow_points_with_letters() -> None:
    svg = accuracy_latency_svg(TWO, PEERS)
    peers = {group.get("id", "") for group in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")}
    assert {"tradeoff-peer-a", "tradeoff-peer-b", "tradeoff-point-1", "tradeoff-number-b"} <= peers
    x_peer = re.search(r'id="tradeoff-peer-b".*?<use[^>]* x="([\d.]+)"', svg, re.DOTALL)
    assert x_peer is not None and float(x_peer[1]) > max(x for x, _ in places(svg).values()), "90 ms is the slowest"


def test_layers_are_drawn_in_order_with_what_multiplies_tall() -> None:
    svg = layers_svg([TWO[1]])
    boxes = re.findall(r'd="M ([\d.]+) ([\d.]+) \nL ([\d.]+) [\d.]+ \nL [\d.]+ ([\d.]+)[^"]*" [^>]*fill: (#\w+)', svg)
    bars = [box for box in boxes if box[4] in ("#009e73", "#d9762b", "#7a8794")][:3]
    widths = [float(right) - float(left) for left, _, right, _, _ in bars]
    assert [width / sum(widths) for width in widths] == pytest.approx([20 / 23, 2 / 23, 1 / 23], rel=1e-3)
    heights = [abs(float(top) - float(bottom)) for _, top, _, bottom, _ in bars]
    assert heights[0] > 2 * heights[1] and heights[1] == pytest.approx(heights[2])
    assert [box[4] for box in bars] == ["#009e73", "#d9762b", "#7a8794"]


def test_text_and_axes_take_the_colour_of_the_page() -> None:
    for svg in (accuracy_latency_svg(TWO), stages_svg(TWO), distribution_svg(TWO), layers_svg(TWO)):
        texts = list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
        assert texts and all("currentColor" in text.get("style", "") for text in texts)
        assert "#000000" not in svg
        assert ("#ffffff" in svg) == ("distribution-median" in svg), "only marks that lie on bars are white"


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
    assert all(texts.count(f"net-{index}") >= 5 for index in range(20)), "in each table"
    assert all(texts.count(str(number)) >= 11 for number in range(1, 21)), "in all tables and all drawings"


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


def test_layers_that_are_alike_are_joined() -> None:
    layers: Any = [
        SimpleNamespace(precision=precision, multiplies=multiplies)
        for precision, multiplies in [("int8", True), ("int8", True), ("int8", False), ("f32", False), ("int8", True)]
    ]
    assert layer_runs(layers) == (
        LayerRun("int8", True, 2),
        LayerRun("int8", False, 1),
        LayerRun("f32", False, 1),
        LayerRun("int8", True, 1),
    )


def test_engines_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session: Any = FakeSession((96, 128))
    session.layer_precisions = lambda: [
        SimpleNamespace(precision=name, multiplies=True) for name in ("int8", "int8", "f32")
    ]
    session.manifest.model["weights"] = {"kind": "random"}
    session.manifest.proof = {"evidence": "network"}
    session.manifest.int8_macs_share, session.manifest.fp16_macs_share = 0.9, 0.05
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **_: session
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    monkeypatch.setattr(report_measure, "footprint_of", lambda path, threads: Footprint(100.0, 0.5, 20.0))
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "engine.bin").write_bytes(b"12345")
    told = []
    result = report_on_engines(
        [tmp_path / "net"], fake_dataset(2), rounds=3, in_flight=2, progress=lambda *step: told.append(step)
    )
    (engine,) = result.engines
    assert engine.name == "net" and engine.bytes_on_disk == 5 and engine.footprint.peak_rss_mib == 100.0
    assert engine.layers == {"int8": 2, "f32": 1}
    assert engine.weights == "random"
    assert (engine.int8_macs_share, engine.fp16_macs_share) == (0.9, 0.05)
    assert engine.layer_text == "2 int8, 1 f32: taken from the typed network that the builder accepted"
    assert engine.accuracy is not None and engine.details is not None
    assert engine.accuracy.frames == 2 == len(engine.details.names)
    assert engine.latency_ms["count"] == 3 == len(engine.times_ms["frame_to_mask"])
    assert engine.frame_to_mask_ms["median"] == LatencyStats.of(engine.times_ms["frame_to_mask"]).median
    assert engine.throughput is not None and engine.throughput["in_flight"] == 2
    assert result.data is not None and str(result.data) == "fake (val)"
    assert result.data.fingerprint == fake_dataset(2).fingerprint() != fake_dataset(3).fingerprint()
    assert {step[0] for step in told} == {"latency", "memory", "net"}
    assert set(result.measured_s) == {"latency", "memory", "accuracy"}
    runs = 13 * 2 + 2 * 32  # warm-up and rounds of both times, one burst and its warm-up
    assert len(session.runs) == runs + 2, "each frame is evaluated once"
    assert session.entered == 0
