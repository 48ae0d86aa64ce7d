"""A long live run with a source that fails over and over: memory, handles and threads must not grow, nothing may hang.

python benchmarks/soak.py                               # ten minutes, fifty failures
python benchmarks/soak.py --minutes 2 --failures 10

A network camera (MJPEG over HTTP, 30 frames a second, in a process of its own) ends, is cut off, stalls, sends garbage
or another size, refuses, stays silent, answers with noise or 404, or hangs up. The run shows its masks to a viewer in
another process. Sampled every second: resident memory, open handles, threads.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _common import argument_parser, save, say
from live import MODEL, PRECISION, TARGET, serving, viewers_of

from edgefsa.segment import PipelineReport, SegmentedFrame, Segmenter, Sink, open_source, run_pipeline

ROOT = Path(__file__).parents[1]
FPS = 30
# The first minute fills caches and pools, and does not count.
SETTLED_S = 60.0
GROWTH_ALLOWED = 0.02
# What a failure may take: to be noticed (20 s of silence at most), waited for and opened again.
LONGEST_GAP_S = 60.0


class Gaps(Sink):
    """Takes the time of each mask; `longest_s` is the longest time without one."""

    name = "gaps"

    def __init__(self) -> None:
        super().__init__()
        self.longest_s, self.last_s = 0.0, 0.0

    def write(self, frame: SegmentedFrame) -> None:
        """Take one frame."""
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - (self.last_s or now_s))
        self.last_s = now_s


class Sampler(threading.Thread):
    """Samples this process every second, by `with`: seconds, resident bytes, open handles, threads."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, int, int]] = []
        self._ended = threading.Event()

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Sample until it is left."""
        begun_s = time.monotonic()
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._ended.wait(1.0):
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
            handles = sum(1 for _ in Path("/proc/self/fd").iterdir())
            self.samples.append((time.monotonic() - begun_s, resident, handles, threading.active_count()))


def faults(count: int) -> list[str]:
    """Return so many failures, of every kind in turn."""
    from tests.servers.mjpeg import FAULTS_AT_ONCE, FAULTS_LATER

    kinds = [*itertools.chain.from_iterable(itertools.zip_longest(FAULTS_LATER, FAULTS_AT_ONCE))]
    return list(itertools.islice(itertools.cycle(kind for kind in kinds if kind), count))


def camera(count: int, seconds: float) -> None:
    """Be the network camera: print its address, and what its connections did once standard input ends."""
    from tests.servers.mjpeg import MjpegServer

    good = round(max(1.0, 0.1 * seconds / max(count, 1)) * FPS)
    with MjpegServer(faults(count), fps=FPS, good=good, lives=4 * good, refuse_s=4.0) as server:
        print(server.address, flush=True)
        sys.stdin.read()
        print(json.dumps(server.seen), flush=True)


@contextlib.contextmanager
def camera_process(count: int, seconds: float) -> Iterator[tuple[str, list[str]]]:
    """Start the camera; yield its address and a list that gets what its connections did at the end."""
    command = [sys.executable, __file__, "--camera", "--failures", str(count), "--minutes", str(seconds / 60)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
    assert process.stdout is not None
    done: list[str] = []
    try:
        yield process.stdout.readline().strip(), done
    finally:
        done += json.loads(process.communicate()[0])


def built_elsewhere(folder: Path) -> Path:
    """Build the engine in another process, whose memory is not in the figures."""
    command = [sys.executable, "-m", "edgefsa.cli", "build", MODEL, "--precision", PRECISION, "--target", TARGET]
    subprocess.run([*command, "-o", str(folder)], stdout=subprocess.DEVNULL, check=True)
    return next(folder.iterdir())


def soak(engine: Path, seconds: float, count: int) -> dict[str, Any]:
    """Run for so long, and sum up."""
    notes: list[str] = []
    gaps = Gaps()
    with contextlib.ExitStack() as stack:
        address, done = stack.enter_context(camera_process(count, seconds))
        segmenter = stack.enter_context(Segmenter(engine))
        source = stack.enter_context(open_source(address))
        sink, url = stack.enter_context(serving())
        stack.enter_context(viewers_of(url, 1))
        sampler = stack.enter_context(Sampler())
        report = run_pipeline(source, segmenter, [sink, gaps], duration_s=seconds, on_note=notes.append)
    failures = [fault for fault in done if fault != "none"]
    return {**_growth(sampler.samples), **_recovery(report, gaps, failures, notes)}


def _growth(samples: Sequence[tuple[float, int, int, int]]) -> dict[str, Any]:
    """Compare the last tenth of the run with what came after the first minute (or half, of a short run).

    Memory by the medians of the first tenth and the last; handles and threads, of which a lost connection has less, by
    the most in the first third and in the last tenth.
    """
    end_s = samples[-1][0]
    settled = [sample for sample in samples if sample[0] >= min(SETTLED_S, end_s / 2)]
    part = max(len(settled) // 10, 3)
    first, last = (statistics.median(sample[1] for sample in group) for group in (settled[:part], settled[-part:]))
    third = settled[: max(len(settled) // 3, part)]
    handles, threads = (
        [max(sample[index] for sample in group) for group in (third, settled[-part:])] for index in (2, 3)
    )
    growth = last / first - 1
    return {
        "seconds": round(end_s),
        "rss_mb": [round(first / 1e6, 1), round(last / 1e6, 1)],
        "rss_growth": round(growth, 4),
        "handles": handles,
        "threads": threads,
        "steady": growth <= GROWTH_ALLOWED and handles[1] <= handles[0] and threads[1] <= threads[0],
    }


def _recovery(report: PipelineReport, gaps: Gaps, failures: list[str], notes: list[str]) -> dict[str, Any]:
    said = sum("lost" in note or "could not be decoded" in note or "changed from" in note for note in notes)
    longest_s = max(gaps.longest_s, time.monotonic() - gaps.last_s)
    return {
        "failures": len(failures),
        "kinds": len(set(failures)),
        "said": said,
        "reconnects": report.statistics.reconnects,
        "frames": report.statistics.frames,
        "dropped": report.statistics.dropped,
        "longest_gap_s": round(longest_s, 1),
        "recovered": said >= len(failures) and longest_s <= LONGEST_GAP_S,
        "notes": notes,
    }


HEADER = ["a long run", "measured", "wanted"]


def lines(found: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the README's table."""
    first, last = found["rss_mb"]
    minutes = f"{found['seconds'] / 60:.0f} minutes at {FPS} frames a second, one viewer"
    counts = "{} to {} handles, {} to {} threads".format(*found["handles"], *found["threads"])
    memory = f"{first:.1f} to {last:.1f} MB resident, {counts}"
    gap = f"at most {found['longest_gap_s']:.1f} s without a mask"
    recovery = f"{found['said']} notes, {found['reconnects']} reconnects, {gap}"
    return [
        [minutes, memory, f"{100 * GROWTH_ALLOWED:.0f} % more at most, no growth"],
        [f"{found['failures']} failures of {found['kinds']} kinds", recovery, "each said, none hangs"],
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it runs")
    parser.add_argument("--failures", type=int, default=50, help="how often the source fails")
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    seconds = 60 * chosen.minutes
    if chosen.camera:
        camera(chosen.failures, seconds)
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        engine = built_elsewhere(Path(scratch))
        say(f"{chosen.minutes:g} minutes ...")
        found = soak(engine, seconds, chosen.failures)
    print("\n".join(f"{name}: {value}" for name, value in found.items() if name != "notes"))

    save("soak-cpu", "python benchmarks/soak.py", found, chosen.results, engine=f"{MODEL} {TARGET} {PRECISION}")
    if not (found["steady"] and found["recovered"]):
        sys.exit("it grows, or did not recover; see the figures above")


if __name__ == "__main__":
    main()
