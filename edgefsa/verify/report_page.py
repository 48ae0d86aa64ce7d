"""The HTML form of a report: one page from a template, drawings and pictures inside. Needs jinja2 and matplotlib."""

from __future__ import annotations

import base64
import importlib.resources
from dataclasses import dataclass

import cv2
import jinja2
from markupsafe import Markup

from edgefsa.media.frames import Frame
from edgefsa.verify import report_figures as figures
from edgefsa.verify import report_tables as tables
from edgefsa.verify.figures import colour
from edgefsa.verify.frame_details import WorstFrame
from edgefsa.verify.report import Report

TEMPLATE_NAME = "report.html.j2"
# A confusion matrix of more classes is no longer read; the largest confusions are listed in any case.
_MOST_CLASSES = 30
# Further engines on the same frame are folded away.
_MOST_OPEN = 5
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class ShownFrame:
    """A frame that is among the worst of some engines: `worst` has each of these by its place in the report."""

    name: str
    frame: Frame
    truth: Frame
    worst: tuple[tuple[int, WorstFrame], ...]


def html_page(report: Report) -> str:
    """Render a report as one HTML page; nothing in it is loaded from elsewhere, and names in it are no markup."""
    source = importlib.resources.files(__package__).joinpath(TEMPLATE_NAME).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    measured = any(engine.accuracy for engine in report.engines)
    page: str = environment.from_string(source).render(
        report=report,
        tables=tables,
        drawings={name: Markup(svg) for name, svg in _drawings(report, measured).items()},
        measured=measured,
        watched=any(engine.saturation for engine in report.engines),
        timed=_timed_layers(report),
        detailed=[number for number, engine in enumerate(report.engines) if engine.details is not None],
        frames=shown_frames(report),
        palette=_palette(report),
        most_open=_MOST_OPEN,
        matrices=measured and len(tables.class_table(report).rows) <= _MOST_CLASSES,
        colour=colour,
        photo=_jpeg,
        drawn=_png,
    )
    return page + "\n"


def _drawings(report: Report, measured: bool) -> dict[str, str]:
    engines = report.engines
    if not engines:
        return {}
    found = {
        "stages": figures.stages_svg(engines),
        "distribution": figures.distribution_svg(engines),
        "layers": figures.layers_svg(engines),
    }
    if measured:
        found["tradeoff"] = figures.accuracy_latency_svg(engines, report.peers)
        found["interval"] = figures.interval_svg(report)
    return found


def _timed_layers(report: Report) -> list[tuple[int, Markup]]:
    """Return the places of the engines that trtexec profiled, each with the drawing of its slowest layers."""
    return [
        (number, Markup(figures.layer_times_svg(engine, f"layer-times-{number + 1}")))
        for number, engine in enumerate(report.engines)
        if any(layer.time_ms for layer in engine.layer_times)
    ]


def _palette(report: Report) -> list[tuple[str, tuple[int, int, int]]]:
    details = next((engine.details for engine in report.engines if engine.details is not None), None)
    return [] if details is None else list(zip(details.classes.names, details.classes.palette_rgb, strict=True))


def shown_frames(report: Report) -> list[ShownFrame]:
    """Return the worst frames of all engines, each frame once, those of the most engines first."""
    by_name: dict[str, list[tuple[int, WorstFrame]]] = {}
    for number, engine in enumerate(report.engines):
        for worst in engine.details.worst if engine.details is not None else ():
            by_name.setdefault(worst.name, []).append((number, worst))
    shown = [ShownFrame(name, of[0][1].frame, of[0][1].truth, tuple(of)) for name, of in by_name.items()]
    return sorted(shown, key=lambda frame: -len(frame.worst))


def _jpeg(picture: Frame) -> str:
    return _data_url("jpeg", cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes())


def _png(picture: Frame) -> str:
    return _data_url("png", cv2.imencode(".png", picture)[1].tobytes())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
