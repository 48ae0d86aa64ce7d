"""The only timer of edgefsa.

What is compared takes turns: every round runs each contestant once, each round starting with another one, so a
machine that slows down or a neighbour that wakes up costs all of them alike. Times are wall-clock.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefsa.data.scenes import kept_scene
from edgefsa.errors import InputError
from edgefsa.machine.telemetry import Telemetry
from edgefsa.media.fit import fit_frame, fit_of
from edgefsa.media.frames import Frame
from edgefsa.segment import SegmentationTimes, Segmenter
from edgefsa.verify.energy import energy_of, idle_window

CAMERA_SIZE_HW = (480, 640)
RUNS_PER_BURST = 32
# A burst is as long as so many runs, and so many rounds of runs are spared for it.
_ROUNDS_PER_BURST = 20
_YARDSTICK = "yardstick"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LatencyStats:
    """Times of `count` runs, in milliseconds; p95 and p99 are percentiles, interpolated linearly."""

    min: float
    median: float
    p95: float
    p99: float
    mean: float
    count: int

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> LatencyStats:
        """Summarise times in milliseconds; InputError where there are none."""
        if not len(times_ms):
            raise InputError("no times were measured; measure at least one round")
        low, median, p95, p99 = (float(value) for value in np.percentile(times_ms, [0, 50, 95, 99]))
        return cls(low, median, p95, p99, float(np.mean(times_ms)), len(times_ms))


def measure(
    callables: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 100,
    warmup: int = 10,
    seconds: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, LatencyStats]:
    """Time each callable once a round, after `warmup` rounds that do not count.

    With `seconds` there are more rounds than `rounds` where those take less time than that.
    Each round has another order, the same at every call: who ran before (and left its data in the caches) varies.
    """
    times = times_of(callables, rounds=rounds, warmup=warmup, seconds=seconds, progress=progress)
    return {name: LatencyStats.of(times_ms) for name, times_ms in times.items()}


def times_of(
    callables: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 0,
    seconds: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    """Time as `measure` does; return the milliseconds of each round, those of a round at the same index."""
    if rounds < 1 or warmup < 0:
        raise InputError(f"{rounds} rounds after {warmup} for warm-up cannot be measured; give at least 1 and 0")
    names = list(callables)
    times_ms: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    until_ns = 0.0
    for index in itertools.count():
        if index == warmup:
            until_ns = time.perf_counter_ns() + 1e9 * seconds
        if index >= warmup + rounds and time.perf_counter_ns() >= until_ns:
            break
        for name in order.sample(names, len(names)):
            run = callables[name]
            start_ns = time.perf_counter_ns()
            run()
            elapsed_ns = time.perf_counter_ns() - start_ns
            if index >= warmup:
                times_ms[name].append(elapsed_ns / 1e6)
        if progress is not None:
            progress(min(index + 1, warmup + rounds), warmup + rounds)
    return times_ms


def bench_engines(
    paths: Sequence[str | Path],
    *,
    rounds: int = 100,
    warmup: int = 10,
    seconds: float = 0.0,
    frame: Frame | None = None,
    threads: int | None = None,
    in_flight: int = 1,
    keep_times: bool = False,
    layers: bool = False,
    progress: Progress | None = None,
    telemetry: Telemetry | None = None,
) -> list[dict[str, Any]]:
    """Open all engines and measure them in turns; one row each, in the order of `paths`; `seconds` as in `measure`.

    `latency_ms` is one run of the engine on a batch that lies ready at its size; `frame_to_mask_ms` is
    `Segmenter.segment_batch` on `batch` times `frame` (uint8 [H, W, 3] BGR; by default a rendered street of
    480 x 640), with the resizing of frames and masks. Each is LatencyStats as a dict, in milliseconds for the whole
    batch. `stages_ms` are the medians of what the latter is made of: {"prepare", "copy", "engine", "mask"}.
    `engine_fps` and `fps` are frames a second at the medians of the two: 1000 `batch` / median.

    With `in_flight` above 1 `throughput` has {"in_flight", "fps"}: frames a second with so many runs under way at once,
    median of bursts of RUNS_PER_BURST runs, one for twenty rounds, after them; else it is None.

    With `telemetry` (entered), `conditions` is the Window of the timed rounds as a dict, the same for all. Where it
    measures power, `energy` is the Energy of a frame from camera to mask as a dict: each engine then runs alone for a
    while after the rounds, and the idle baseline is taken before them. Else the two are None.

    With `layers` a row has `layers_ms`, {layer: median}, of `rounds` runs that the runtime watched after all others;
    TargetError where one of the runtimes cannot. `notes` are the sessions'.

    With `keep_times` a row has the milliseconds of every round: `times_ms`, {"engine", "frame_to_mask", "yardstick"}.
    The yardstick is a fixed piece of work on all cores, by which rounds of another day can be compared.
    """
    if not paths:
        raise InputError("no engine was given; give one or more engine directories")
    if in_flight < 1:
        raise InputError(f"{in_flight} runs in flight cannot be measured; give 1 or more")
    frame = _camera_frame() if frame is None else frame
    with contextlib.ExitStack() as stack:
        segmenters = [stack.enter_context(Segmenter(path, threads=threads)) for path in paths]
        stages: list[list[SegmentationTimes]] = [[] for _ in segmenters]
        contestants: dict[str, Callable[[], object]] = {_YARDSTICK: yardstick()} if keep_times else {}
        for index, segmenter in enumerate(segmenters):
            contestants[f"engine {index}"] = _engine_run(segmenter, frame)
            contestants[f"frame {index}"] = _frame_to_mask(segmenter, frame, stages[index])
        idle = idle_window(telemetry)
        begun = time.monotonic()
        times = times_of(contestants, rounds=rounds, warmup=warmup, seconds=seconds, progress=progress)
        conditions = telemetry.window(begun).as_dict() if telemetry is not None else None
        throughputs = _throughputs(segmenters, frame, in_flight, -(-rounds // _ROUNDS_PER_BURST), progress)
        rows = []
        for index, (path, segmenter) in enumerate(zip(paths, segmenters, strict=True)):
            engine_ms, frame_ms = times[f"engine {index}"], times[f"frame {index}"]
            row = _row(path, segmenter, LatencyStats.of(engine_ms), LatencyStats.of(frame_ms))
            row |= {"stages_ms": _stages_ms(stages[index][warmup:]), "throughput": throughputs[index]}
            row |= {"notes": list(segmenter.session.notes)}
            if layers:
                row["layers_ms"] = _layers_ms(segmenter, frame, rounds)
            if keep_times:
                row["times_ms"] = {"engine": engine_ms, "frame_to_mask": frame_ms, _YARDSTICK: times[_YARDSTICK]}
            energy = energy_of(_frame_to_mask(segmenter, frame, []), segmenter.batch, telemetry, idle)
            rows.append({**row, "conditions": conditions, "energy": energy.as_dict() if energy else None})
        return rows


def yardstick() -> Callable[[], object]:
    """Return a fixed piece of work of some milliseconds, on all cores: how fast this machine is at the moment."""
    picture = np.random.default_rng(0).integers(0, 256, (*CAMERA_SIZE_HW, 3), np.uint8)
    return lambda: cv2.GaussianBlur(picture, (0, 0), 5.0)


def _row(path: str | Path, segmenter: Segmenter, engine: LatencyStats, frame_to_mask: LatencyStats) -> dict[str, Any]:
    manifest = segmenter.session.manifest
    return {
        "engine": str(path),
        "target": manifest.target,
        "precision": manifest.precision,
        "batch": segmenter.batch,
        "latency_ms": asdict(engine),
        "frame_to_mask_ms": asdict(frame_to_mask),
        "fps": 1000.0 * segmenter.batch / frame_to_mask.median,
        "engine_fps": 1000.0 * segmenter.batch / engine.median,
    }


def _engine_run(segmenter: Segmenter, frame: Frame) -> Callable[[], object]:
    session, prepared = segmenter.session, _prepared(segmenter, frame)
    return lambda: session.run(prepared)


def _prepared(segmenter: Segmenter, frame: Frame) -> Frame:
    fitted = fit_frame(frame, segmenter.session.size_hw, fit_of(segmenter.model))
    return np.ascontiguousarray(np.stack([fitted] * segmenter.batch))


def _burst(segmenter: Segmenter, frame: Frame, in_flight: int) -> Callable[[], object]:
    """Return RUNS_PER_BURST runs of the engine on frames that lie ready, `in_flight` of them at once."""
    session = segmenter.session
    prepared = _prepared(segmenter, frame)

    def run() -> None:
        under_way = deque(session.submit(prepared) for _ in range(in_flight))
        for _ in range(RUNS_PER_BURST - in_flight):
            session.collect(under_way.popleft())
            under_way.append(session.submit(prepared))
        while under_way:
            session.collect(under_way.popleft())

    return run


def _throughputs(
    segmenters: Sequence[Segmenter], frame: Frame, in_flight: int, bursts: int, progress: Progress | None
) -> list[dict[str, Any] | None]:
    if in_flight == 1:
        return [None] * len(segmenters)
    contestants = {str(index): _burst(segmenter, frame, in_flight) for index, segmenter in enumerate(segmenters)}
    stats = measure(contestants, rounds=bursts, warmup=1, progress=progress)
    runs = max(RUNS_PER_BURST, in_flight)
    return [
        {"in_flight": in_flight, "fps": 1000.0 * segmenter.batch * runs / stats[str(index)].median}
        for index, segmenter in enumerate(segmenters)
    ]


def _frame_to_mask(segmenter: Segmenter, frame: Frame, stages: list[SegmentationTimes]) -> Callable[[], object]:
    """Return a run from frames to masks, which adds its stages' times to `stages`."""
    frames = [frame] * segmenter.batch
    return lambda: stages.append(segmenter.segment_batch(frames)[0].times)


def _stages_ms(times: Sequence[SegmentationTimes]) -> dict[str, float]:
    names = ("prepare", "copy", "engine", "mask")
    return {name: float(np.median([getattr(each, f"{name}_ms") for each in times])) for name in names}


def _layers_ms(segmenter: Segmenter, frame: Frame, rounds: int) -> dict[str, float]:
    times = segmenter.session.layer_times_ms(_prepared(segmenter, frame), rounds)
    return {name: float(np.median(times_ms)) for name, times_ms in times.items()}


def _camera_frame() -> Frame:
    return kept_scene(0, CAMERA_SIZE_HW)[0]
