"""The part of a report that trtexec's profile makes: the slowest layers, and all others together."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from edgefsa.engines.tensorrt.layer_times import LayerTime
from edgefsa.verify.report import EngineFacts, Report
from edgefsa.verify.report_figures import layer_times_svg
from edgefsa.verify.report_tables import MOST_LAYERS, layer_time_table
from tests.unit.verify.reports import facts, report

TIMES = [0.4, 0.3, 0.2, *[0.1 / 14] * 14]
SVG = "{http://www.w3.org/2000/svg}"


def profiled() -> EngineFacts:
    """An engine of 17 layers, the first of which takes 40 % of a millisecond."""
    kinds = ["int8", "f16", "f32", *["unknown"] * 14]
    layers = [
        LayerTime(f"layer <{index}>" + " + fused" * (5 * index), "convolution", precision, time_ms, time_ms)
        for index, (precision, time_ms) in enumerate(zip(kinds, TIMES, strict=True))
    ]
    return dataclasses.replace(facts("street-tensorrt-int8", "int8", 3.0, None), layer_times=tuple(layers))


@pytest.fixture
def page() -> Report:
    return report(facts("street-openvino-int8", "int8", 6.0, None), profiled())


def test_the_table_has_the_slowest_and_the_sum_of_the_others() -> None:
    table = layer_time_table(profiled())
    assert [row[0] for row in table.rows][:1] == ["layer <0>"] and table.rows[0][2:] == ("int8", "0.4000", "40.0")
    assert len(table.rows) == MOST_LAYERS + 1
    assert table.rows[-1] == ("5 more layers", "-", "-", "0.0357", "3.6")
    assert sum(float(row[4]) for row in table.rows) == pytest.approx(100, abs=0.5)


def test_bars_are_as_long_as_the_shares() -> None:
    root = ElementTree.fromstring(layer_times_svg(profiled(), "times"))
    widths = []
    for row in (1, 2, 4, 13):
        group = next(item for item in root.iter(f"{SVG}g") if str(item.get("id", "")).endswith(f"times-{row}"))
        across = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", group[0].get("d", ""))]
        widths.append(max(across) - min(across))
    shares = [TIMES[0], TIMES[1], TIMES[3], 5 * TIMES[3]]
    assert [width / widths[0] for width in widths] == pytest.approx([share / TIMES[0] for share in shares], abs=0.01)


def test_pages_have_the_section_where_there_is_a_profile(page: Report) -> None:
    html, markdown = page.html(), page.markdown()
    assert html.count(">Where the time goes<") == 2 and "layer &lt;0&gt;" in html
    assert "## Where the time goes" in markdown and "| 5 more layers |" in markdown
    assert page.as_dict()["engines"][1]["layer_times"][0]["share"] == 0.4
    without = report(facts("street-openvino-int8", "int8", 6.0, None))
    assert "Where the time goes" not in without.html() + without.markdown()
