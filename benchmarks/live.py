"""The live pipeline against its bounds: throughput, latency behind a camera, viewers, recording.

python benchmarks/live.py                   # all of it, some three minutes
python benchmarks/live.py throughput record # parts of it; the others keep what was measured before

- throughput: frames that lie decoded, into nothing, beside `edgefsa bench` with as many runs in flight (95 % or more);
- camera: 30 frames a second and one viewer: no frame dropped, and camera to mask within 1.5 times (engine + interval);
- overload: a camera three times as fast as the engine, with one and with two runs in flight;
- viewers: none, one, and ten of which one reads nothing: frames a second of the engine (95 % or more with ten);
- record: 720p, overlay and H.264, beside each stage alone (at the rate of the slowest).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from _common import Rows, argument_parser, build, load, save, say
from _live import MemorySource, Null

from edgefsa.data.synthetic import render_clip, render_scene
from edgefsa.media.frames import Frame
from edgefsa.segment import OverlayStyle, PipelineReport, Segmenter, Sink, VideoSink, run_pipeline
from edgefsa.verify.latency import bench_engines, measure

MODEL, TARGET, PRECISION = "fsanet-edge", "openvino", "int8"
SIZE_HW, HD_HW = (360, 480), (720, 1280)
ROUNDS = 5
CAMERA_FPS = 30.0
VIEWERS = 10


def frames_of(size_hw: tuple[int, int], count: int = 8) -> list[Frame]:
    """Render some streets."""
    return [render_scene(index, size_hw)[0] for index in range(count)]


def throughput(engine: Path, seconds: float) -> dict[str, Any]:
    """Compare the pipeline over files with the bench, taking turns; the share is the median of the rounds' own."""
    frames = frames_of(SIZE_HW)
    pipeline, bench = [], []
    for _ in range(ROUNDS):
        row = bench_engines([engine], rounds=200, warmup=5, frame=frames[0], in_flight=2)[0]
        bench.append(row["throughput"]["fps"])
        with Segmenter(engine) as segmenter:
            count = round(seconds / ROUNDS * bench[-1])
            pipeline.append(run_pipeline(MemorySource(frames, count), segmenter, [Null()], in_flight=2).fps)
    share = statistics.median(ours / theirs for ours, theirs in zip(pipeline, bench, strict=True))
    return {
        "pipeline_fps": round(statistics.median(pipeline), 1),
        "bench_fps": round(statistics.median(bench), 1),
        "share": round(share, 3),
        "wanted": 0.95,
        "holds": share >= 0.95,
    }


def camera(engine: Path, seconds: float) -> dict[str, Any]:
    """Run behind a camera of 30 frames a second with one viewer."""
    with serving() as (sink, url), viewers_of(url, 1) as crowd:
        report = _live(engine, [sink], CAMERA_FPS, seconds, ready=crowd.ready)
    times = report.statistics.stages
    bound_ms = 1.5 * (times["engine"].median + 1000 / CAMERA_FPS)
    p95_ms = times["camera_to_mask"].p95
    return {
        "engine_ms": round(times["engine"].median, 2),
        "camera_to_mask_ms": round(times["camera_to_mask"].median, 2),
        "camera_to_mask_p95_ms": round(p95_ms, 2),
        "dropped": report.statistics.dropped,
        "frames": report.statistics.frames,
        "bound_ms": round(bound_ms, 2),
        "holds": p95_ms <= bound_ms and report.statistics.dropped == 0,
    }


def overload(engine: Path, seconds: float) -> dict[str, Any]:
    """Run behind a camera that is three times as fast as the engine, with one run in flight and with two, in turns."""
    row = bench_engines([engine], rounds=20, warmup=5, frame=frames_of(SIZE_HW, 1)[0])[0]
    rate = 3 * row["engine_fps"]
    found: dict[int, list[PipelineReport]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for depth, reports in found.items():
            reports.append(_live(engine, [Null()], rate, seconds / ROUNDS / 2, in_flight=depth))
    return {
        f"in_flight_{depth}": {
            "camera_to_mask_ms": round(
                statistics.median(report.statistics.stages["camera_to_mask"].median for report in reports), 2
            ),
            "fps": round(statistics.median(report.fps for report in reports), 1),
        }
        for depth, reports in found.items()
    }


def viewers(engine: Path, seconds: float) -> Rows:
    """Run over files, as fast as the engine goes, watched by nobody, by one, and by ten of which one reads nothing."""
    crowds = {"nobody": (0, 0), "one": (1, 0), f"{VIEWERS}, one of them silent": (VIEWERS, 1)}
    found: dict[str, list[float]] = {name: [] for name in crowds}
    shown: dict[str, list[float]] = {name: [] for name in crowds}
    for _ in range(ROUNDS):
        for name, (count, silent) in crowds.items():
            share_s = seconds / ROUNDS / len(crowds)
            with serving() as (sink, url), viewers_of(url, count, silent) as crowd:
                report = _live(engine, [sink], None, share_s, ready=crowd.ready)
            found[name].append(report.fps)
            shown[name] += [number / share_s for number in crowd.pictures]
    baseline = found["nobody"]
    rows = []
    for name, fps in found.items():
        share = statistics.median(watched / alone for watched, alone in zip(fps, baseline, strict=True))
        pictures_a_second = round(statistics.median(shown[name]), 1) if shown[name] else None
        rows.append(
            {
                "viewers": name,
                "fps": round(statistics.median(fps), 1),
                "share": round(share, 3),
                "pictures_a_second": pictures_a_second,
                "holds": share >= 0.95,
            }
        )
    return rows


def record(engine: Path, seconds: float) -> dict[str, Any]:
    """Run 720p frames with overlay and H.264 recording, beside the stages alone."""
    frames = [frame for frame, _ in render_clip(1, 16, HD_HW, fps=30)]
    frames += frames[-2:0:-1]  # forth and back, for an encoder gains from what stays the same
    stages = _stages_alone(engine, frames)
    fps, cpu_ms = [], []
    for _ in range(ROUNDS):
        count = round(seconds / ROUNDS * 1000 / max(stages.values()))
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            segmenter = stack.enter_context(Segmenter(engine))
            sink = stack.enter_context(VideoSink(folder / "clip.mp4", 30.0))
            begun_s = time.process_time()
            fps.append(run_pipeline(MemorySource(frames, count), segmenter, [sink]).fps)
            cpu_ms.append(1000 * (time.process_time() - begun_s) / count)
    ms = 1000 / statistics.median(fps)
    return {
        **{f"{name}_ms": round(time_ms, 2) for name, time_ms in stages.items()},
        "together_ms": round(ms, 2),
        "in_series_ms": round(sum(stages.values()), 2),
        "slowest_ms": round(max(stages.values()), 2),
        "share_of_slowest": round(max(stages.values()) / ms, 3),
        # What a frame takes of all cores together: where they are busy all the time nothing is in another's way.
        "cpu_ms": round(statistics.median(cpu_ms), 2),
        "cores_busy": round(statistics.median(cpu_ms) / ms, 2),
    }


def _stages_alone(engine: Path, frames: Sequence[Frame]) -> dict[str, float]:
    """Return the median time of drawing, of encoding and of the engine with its resizing, each alone, taking turns."""
    from edgefsa.media.recording import VideoWriter

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        segmenter = stack.enter_context(Segmenter(engine))
        results = [segmenter.segment(frame) for frame in frames]
        drawn = [result.overlay(frame, OverlayStyle()) for frame, result in zip(frames, results, strict=True)]
        writer = VideoWriter(folder / "alone.mp4", 30.0)
        stack.callback(writer.abandon)
        turn = iter(range(10**9))
        contestants: dict[str, Callable[[], object]] = {
            "overlay": lambda: results[0].overlay(frames[0], OverlayStyle()),
            "h264": lambda: writer.write(drawn[(index := next(turn)) % len(drawn)], index / 30),
            "engine": lambda: segmenter.segment(frames[0]),
        }
        return {name: times.median for name, times in measure(contestants, rounds=60, warmup=10).items()}


def _live(
    engine: Path,
    sinks: Sequence[Sink],
    rate: float | None,
    seconds: float,
    *,
    in_flight: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> PipelineReport:
    with Segmenter(engine) as segmenter:
        source = MemorySource(frames_of(SIZE_HW), 10**9, rate, seconds=seconds, ready=ready)
        return run_pipeline(source, segmenter, sinks, in_flight=in_flight)


@contextlib.contextmanager
def serving() -> Iterator[tuple[Sink, str]]:
    from edgefsa.serve import ServeSink

    with ServeSink(port=0) as sink:
        yield sink, f"http://127.0.0.1:{sink.port}"


class Crowd:
    """Viewers in a process of their own; `pictures` gets the number that each reader saw, at the end."""

    def __init__(self, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pictures: list[int] = []
        self._process = process

    def ready(self) -> None:
        """Wait until all are connected, which they are soon after the server answers."""
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.readline()

    def leave(self) -> None:
        """Send them away, and read what they saw."""
        if self._process is not None:
            output, _ = self._process.communicate()
            self.pictures += json.loads(output.splitlines()[-1])


@contextlib.contextmanager
def viewers_of(url: str, count: int, silent: int = 0) -> Iterator[Crowd]:
    """Start viewers, of whom the last `silent` read nothing, for as long as the context lasts."""
    if count == 0:
        yield Crowd()
        return
    program = Path(__file__).with_name("_viewers.py")
    process = subprocess.Popen(
        # They stand for machines of their own: what they do themselves is not the engine's cost.
        ["nice", "-n", "19", sys.executable, str(program), url, str(count), str(silent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    crowd = Crowd(process)
    try:
        yield crowd
    finally:
        crowd.leave()


HEADER = ["what", "measured", "wanted"]
_STAGES_ALONE = {"overlay": "overlay_ms", "H.264": "h264_ms", "engine": "engine_ms"}


def lines(parts: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the README's table."""
    cells = []
    if part := parts.get("throughput"):
        share = f"{part['pipeline_fps']:.0f} frames a second, {part['share']:.2f} of `bench --in-flight 2`"
        cells.append(["decoded frames into nothing", share, f"{part['wanted']:.2f} or more"])
    if part := parts.get("camera"):
        times = f"median {part['camera_to_mask_ms']:.1f} ms, p95 {part['camera_to_mask_p95_ms']:.1f} ms"
        found = f"{times}, {part['dropped']} of {part['frames']} dropped"
        cells.append(["camera to mask at 30 a second, one viewer", found, f"p95 {part['bound_ms']:.1f} ms, 0 dropped"])
    for row in parts.get("viewers", []):
        if row["viewers"] != "nobody":
            found = f"{row['fps']:.0f} frames a second, {row['share']:.2f} of those without"
            cells.append([f"the engine with viewers: {row['viewers']}", found, "0.95 or more"])
    if part := parts.get("record"):
        stages = [f"{label} {part[key]:.1f}" for label, key in _STAGES_ALONE.items()]
        busy = f"{part['cores_busy']:.1f} cores busy"
        found = f"{part['together_ms']:.1f} ms a frame, {busy} ({', '.join(stages)} alone)"
        cells.append(["720p with overlay and H.264 recording", found, f"{part['slowest_ms']:.1f} ms, the slowest"])
    if part := parts.get("overload"):
        words = [
            f"{run['camera_to_mask_ms']:.1f} ms at {run['fps']:.0f} a second with {depth} in flight"
            for depth, run in (("one", part["in_flight_1"]), ("two", part["in_flight_2"]))
        ]
        cells.append(["camera to mask, camera three times too fast", ", ".join(words), "-"])
    return cells


PARTS: dict[str, Callable[[Path, float], Any]] = {
    "throughput": throughput,
    "camera": camera,
    "overload": overload,
    "viewers": viewers,
    "record": record,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each part runs, about")
    chosen = parser.parse_args(arguments)
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: there are the parts {', '.join(PARTS)}")
    earlier = (load("live-cpu", chosen.results) or {}).get("rows", {})
    with tempfile.TemporaryDirectory() as scratch:
        engine = build(MODEL, PRECISION, TARGET, Path(scratch))
        for part in chosen.parts:
            say(f"{part} ...")
            found = PARTS[part](engine, chosen.seconds)
            earlier[part] = found
            for row in found if isinstance(found, list) else [found]:
                print(part, ", ".join(f"{name} {value}" for name, value in row.items()))
    facts = {"engine": f"{MODEL} {TARGET} {PRECISION}", "size_hw": SIZE_HW, "seconds": chosen.seconds}
    save("live-cpu", "python benchmarks/live.py", earlier, chosen.results, **facts)


if __name__ == "__main__":
    main()
