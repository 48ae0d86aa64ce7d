"""The command that times engines: bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.options import EnginePaths, JsonFlag, warn_of
from edgefsa.errors import InputError


def bench(
    engines: EnginePaths,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How often each engine is timed.")] = 100,
    warmup: Annotated[int, typer.Option(min=0, metavar="N", help="Rounds before them that do not count.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Go on for so long, where N rounds take less.")
    ] = 0.0,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads of a run; else all.")] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, metavar="N", help="Above 1 also measures throughput with N runs under way at once.")
    ] = 1,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also time each layer, in runs that are watched (tensorrt, tensorrt-rtx).")
    ] = False,
    power_modes: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="A Jetson's power modes to measure in, as 15W,25W,MAXN; asks before it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Switch power modes without asking.")] = False,
    json: JsonFlag = False,
) -> None:
    """Measure latency, engines in turn: engine time, and frame-to-mask time with resizing and copies.

    With them go the temperature, clocks and load of the machine, and a frame's energy where power can be read.

    Example: edgefsa bench engines/*
    """
    from edgefsa.machine.telemetry import open_telemetry
    from edgefsa.verify.energy import INTERVAL_S
    from edgefsa.verify.latency import bench_engines

    warn_of(*engines)

    def measured() -> list[dict[str, Any]]:
        with console.progress("rounds") as progress, open_telemetry(INTERVAL_S) as telemetry:
            return bench_engines(
                engines,
                rounds=rounds,
                warmup=warmup,
                seconds=seconds,
                threads=threads,
                in_flight=in_flight,
                layers=layers,
                progress=progress,
                telemetry=telemetry,
            )

    results = measured() if power_modes is None else _in_power_modes(power_modes, measured, yes=yes)
    console.emit(results, as_json=json, text=_bench_text(results))


def _in_power_modes(text: str, measured: Callable[[], list[dict[str, Any]]], *, yes: bool) -> list[dict[str, Any]]:
    """Measure in each power mode of a list; the rows say which, in "power_mode"."""
    from edgefsa.machine.gpu_state import jetson_gpu_state
    from edgefsa.machine.nvpmodel import check_may_switch, current_power_mode
    from edgefsa.verify.power_modes import measured_in, modes_from_text

    modes, before, clock = modes_from_text(text), current_power_mode(), jetson_gpu_state() or {}
    names = ", ".join(mode.name for mode in modes)
    question = f"Switch this board to {names} and back to {before.name if before else '?'}, for all that runs on it?"
    if not yes and not console.confirm(question):
        raise InputError("the power mode was left as it is; nothing was measured")
    check_may_switch()
    results = measured_in(modes, lambda mode: [{"power_mode": mode.name, **row} for row in measured()])
    if clock.get("clock_min_mhz") is not None and clock.get("clock_min_mhz") == clock.get("clock_max_mhz"):
        console.message("note: clocks were held before, and nvpmodel let them go; hold them again: sudo jetson_clocks")
    return [row for _, rows in results for row in rows]


def _bench_text(results: list[dict[str, Any]]) -> str:
    """Lay out the rows of bench_engines: times, then under which conditions, then what a frame costs in energy."""
    from edgefsa.machine.telemetry import Energy, Window

    rows, lines = [], []
    for row in results:
        mode = f"{row['power_mode']}: " if "power_mode" in row else ""
        name = mode + Path(row["engine"]).name
        for label, key, rate in (("engine", "latency_ms", "engine_fps"), ("frame to mask", "frame_to_mask_ms", "fps")):
            figures = [f"{row[key][figure]:.2f}" for figure in ("min", "median", "p95", "p99")]
            rows.append([name if key == "latency_ms" else "", label, str(row["batch"]), *figures, f"{row[rate]:.1f}"])
        if row["throughput"] is not None:
            label = f"engine, {row['throughput']['in_flight']} in flight"
            rows.append(["", label, str(row["batch"]), *["-"] * 4, f"{row['throughput']['fps']:.1f}"])
        lines.append(f"{mode}meanwhile {Window(**row['conditions']).in_words() or 'nothing could be read'}")
        lines += [f"{name}: {Energy(**row['energy']).in_words()}"] if row["energy"] else []
        lines += [f"{name}: {note}" for note in row["notes"]]
    if not any(row["energy"] for row in results):
        lines.append("energy: no power can be read here")
    text = console.table(["engine", "time (ms)", "batch", "min", "median", "p95", "p99", "fps"], rows)
    return "\n".join([text, "", *dict.fromkeys(lines), *(_layers_text(row) for row in results if "layers_ms" in row)])


def _layers_text(row: dict[str, Any]) -> str:
    """Lay out the layers of an engine, the slowest first, with their shares of the sum."""
    slowest = sorted(row["layers_ms"].items(), key=lambda item: -item[1])
    whole = sum(row["layers_ms"].values()) or 1.0
    rows = [[name, f"{median:.3f}", f"{100 * median / whole:.1f}"] for name, median in slowest]
    return f"\n{Path(row['engine']).name}, layers\n" + console.table(["layer", "median (ms)", "%"], rows)
