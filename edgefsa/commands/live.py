"""The commands that run an engine live: run and serve."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import (
    JsonFlag,
    OverlayFlags,
    SourceFlags,
    duration_from_text,
    name_failed,
    warn_of,
)
from edgefsa.errors import EngineError, InputError, OutputError

if TYPE_CHECKING:
    from edgefsa.machine.telemetry import Telemetry
    from edgefsa.segment import FrameSource, OverlayStyle, PipelineReport, Sink

LiveEngines = Annotated[
    list[Path],
    typer.Argument(metavar="ENGINE...", help="Engine directories; the first one runs, the others can be switched to."),
]
LiveSource = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="SOURCE",
        envvar="EDGEFSA_SOURCE",
        help="0 or camera:0, csi://0, gst:PIPELINE, rtsp:, http:, a video, a folder, a pattern or synthetic:SEED.",
    ),
]
RUN = "Run"


@dataclass(frozen=True)
class RunFlags:
    """How long and how a run goes."""

    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after so many masks.", rich_help_panel=RUN)
    ] = None
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after so long: 30s, 10m, 1h.", rich_help_panel=RUN)
    ] = None
    in_flight: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Runs of the engine under way at once: 2 for files, 1 live.", rich_help_panel=RUN
        ),
    ] = None
    canary: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run every Nth frame through the engine's ONNX graph too, at low priority, and compare the masks.",
            rich_help_panel=RUN,
        ),
    ] = None
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads of a run; else all.", rich_help_panel=RUN)
    ] = None


@grouped
def run(
    engines: LiveEngines,
    source: LiveSource,
    flags: RunFlags,
    playback: SourceFlags,
    overlay: OverlayFlags,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SINK",
            help="window, serve[:PORT], video:FILE.mp4, pictures:DIR, masks:DIR, json:FILE.jsonl, json:- or null; "
            "repeatable. By default a window where there is a screen, else serve.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder of snapshots and recordings.")
    ] = Path(),
    json: JsonFlag = False,
) -> int:
    """Run an engine live on a camera, a stream or files: masks to a window, a browser, a video, files.

    Ends at the end of the source, on Ctrl-C or on q in the window. A file is played at its own rate where it is only
    looked at.

    Example: edgefsa run engines/fsanet-edge-openvino-int8-360x480 --source 0
    """
    from edgefsa.segment import open_sink

    style = overlay.style()
    sinks = [open_sink(spec, style=style, output=output) for spec in sink] if sink else [_default_sink(style, output)]
    return _run(engines, source, sinks, flags, playback, as_json=json)


@grouped
def serve(
    engines: LiveEngines,
    source: LiveSource,
    flags: RunFlags,
    playback: SourceFlags,
    overlay: OverlayFlags,
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="The port; 0 takes a free one.")] = 8080,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; any but 127.0.0.1 asks for a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="EDGEFSA_TOKEN",
            show_envvar=True,
            help="What a browser must know; made and printed once where it is needed and not given.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that a reverse proxy is reached by; asks for a token. Repeatable."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder of recordings.")] = Path(
        "recordings"
    ),
    json: JsonFlag = False,
) -> int:
    """Show an engine at work in a browser: live masks, figures, recordings, and engines to switch among.

    Example: edgefsa serve engines/* --source synthetic:7 --loop
    """
    from edgefsa.serve import ServeSink

    style, names = overlay.style(), allow_host or ()
    sink = ServeSink(host=host, port=port, token=token, recordings=output, allow_hosts=names, style=style)
    return _run(engines, source, [sink], flags, playback, as_json=json)


def _run(
    engines: Sequence[Path],
    source: str,
    sinks: Sequence[Sink],
    flags: RunFlags,
    playback: SourceFlags,
    *,
    as_json: bool,
) -> int:
    """Open everything, run the pipeline, print what came of it; return the exit status."""
    from edgefsa.machine.telemetry import open_telemetry
    from edgefsa.segment import open_source
    from edgefsa.segment.summary import run_summary

    named = _by_name(engines)
    duration_s = duration_from_text(flags.duration)
    with contextlib.ExitStack() as stack:
        frames = _played(stack.enter_context(open_source(source, playback.options())), sinks)
        telemetry = stack.enter_context(open_telemetry())
        begun_s = time.monotonic()
        report = _report(named, frames, sinks, flags, duration_s, telemetry)
        conditions = telemetry.window(begun_s)
    result = {
        "engine": str(engines[0]),
        "source": frames.name,
        **run_summary(report),
        "conditions": conditions.as_dict(),
        "outputs": [str(path) for sink in sinks for path in sink.outputs],
    }
    console.emit(result, as_json=as_json, text=_in_words({**result, "conditions": conditions.in_words()}))
    return name_failed([failure.reason for failure in report.failures])


def _report(
    engines: Mapping[str, Path],
    source: FrameSource,
    sinks: Sequence[Sink],
    flags: RunFlags,
    duration_s: float | None,
    telemetry: Telemetry,
) -> PipelineReport:
    """Open engines and sinks, and run the pipeline over an open source."""
    from edgefsa.engines.names import SOURCE_NAME
    from edgefsa.segment import Segmenter, run_pipeline
    from edgefsa.segment.sinks.manager import ManagerSink
    from edgefsa.verify.canary import Canary

    with contextlib.ExitStack() as stack:
        segmenters = {
            name: stack.enter_context(Segmenter(path, threads=flags.threads)) for name, path in engines.items()
        }
        entered = [stack.enter_context(sink) for sink in sinks]
        if os.environ.get("NOTIFY_SOCKET"):  # systemd started it, and waits to hear how it goes
            entered.append(stack.enter_context(ManagerSink()))
        if flags.canary is not None:
            for path in engines.values():
                if not (path / SOURCE_NAME).is_file():
                    raise EngineError(f"{path.name} has no ONNX file for a canary; adopt its plan with --onnx FILE")
            entered.append(Canary(flags.canary, engines))
        warn_of(*engines.values())
        return run_pipeline(
            source,
            segmenters,
            entered,
            limit=flags.limit,
            duration_s=duration_s,
            in_flight=flags.in_flight,
            progress=stack.enter_context(console.progress("frames")),
            on_note=lambda note: console.message(f"note: {note}"),
            telemetry=telemetry,
        )


def _played(source: FrameSource, sinks: Sequence[Sink]) -> FrameSource:
    """Return a file that is only looked at as a source at its own rate, any other source as it is."""
    from edgefsa.segment.sources import SourceOptions
    from edgefsa.segment.sources.playback import played

    if source.live or not source.fps or any(sink.every_frame for sink in sinks):
        return source
    return played(source, SourceOptions(rate=source.fps))


def _by_name(engines: Sequence[Path]) -> dict[str, Path]:
    """Name engines by their directories; InputError where two have the same name."""
    named = {path.resolve().name: path for path in engines}
    if len(named) < len(engines):
        raise InputError(f"of {len(engines)} engines two have the same directory name; give each once")
    return named


def _default_sink(style: OverlayStyle, output: Path) -> Sink:
    from edgefsa.segment import open_sink

    try:
        return open_sink("window", style=style, output=output)
    except OutputError as error:
        console.message(f"note: no window, a browser instead: {error}")
        return open_sink("serve", style=style, output=output)


def _saturated(canary: dict[str, Any] | None) -> str:
    """Say which tensor's values leave the range that it was calibrated for, where the last frames did."""
    most = (canary or {}).get("saturation")
    if not most or not most["drifted"]:
        return ""
    return f"{100 * most['share']:.2g} % of {most['tensor']}, {most['reach']:.2g} times as far; see the note above"


def _in_words(result: dict[str, Any]) -> str:
    times = {"camera to mask": result["camera_to_mask_ms"], **result["stages"]}
    rows = [
        [name.replace("_", " "), *(f"{time[key]:.2f}" for key in ("median", "p95", "p99"))]
        for name, time in times.items()
        if time is not None
    ]
    canary = result["canary"]
    facts = {
        "source": result["source"],
        "frames": f"{result['frames']} in {result['seconds']:.1f} s, {result['fps']:.1f} a second",
        "dropped": f"{result['dropped']} that came while the engine was busy" if result["dropped"] else "",
        "reconnects": result["reconnects"] or "",
        "canary": ""
        if canary is None
        else f"{100 * canary['mean']:.2f} % of the pixels agree with the ONNX graph on "
        f"{canary['frames']} frames, at least {100 * canary['lowest']:.2f} %",
        "beyond the ranges": _saturated(canary),
        "machine": result["conditions"],
        "memory": "" if result["max_rss_mb"] is None else f"at most {result['max_rss_mb']:.0f} MB",
        "outputs": result["outputs"],
    }
    return console.table(["stage", "median ms", "p95", "p99"], rows) + "\n\n" + console.facts(facts)
