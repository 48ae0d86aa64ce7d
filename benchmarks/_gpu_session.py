"""The steps of `on_gpu.sh`, each with its own time and its own result file. Needs Python's standard library alone.

A step has parts, and a part is a command with the seconds that it may take. RESULTS/N-STEP.json holds for each part its
status, the reason, the seconds it took, its figures and the end of its log:

    passed     all is right; a benchmark's missed aims are said in the reason
    skipped    the machine lacks a GPU, a program or a counter, or the session's time is up
    failed     a test failed, a kernel is wrong, or a carried file is missing
    timed out  it was stopped at its limit; what it had written by then is in the figures

The status is 1 where a part failed or timed out, else 0. With EDGEFSA_REQUIRE_GPU=1 what is skipped for lack of a GPU
fails. SESSION_SECONDS (480) bounds all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _gpu_steps import Part, Steps

ROOT = Path(__file__).resolve().parents[1]
PASSED, SKIPPED, FAILED, TIMED_OUT = "passed", "skipped", "failed", "timed out"
REQUIRE_GPU, SECONDS = "EDGEFSA_REQUIRE_GPU", "SESSION_SECONDS"
SESSION_SECONDS = 480
LEAST_SECONDS = 5  # with less left a part is not begun
LOG_CHARACTERS = 4000
# What compute-sanitizer and ncu say where the machine does not let them work.
REFUSALS = ("Device not supported", "Failed to initialize", "ERR_NVGPUCTRPERM")


def why_no_gpu() -> str | None:
    """Return why CUDA has no GPU here; None where it has."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver here (libcuda.so.1)"
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver sees no GPU here"
    return None


def run_part(part: Part, seconds: float, log: Path) -> dict[str, Any]:
    """Run one part for at most so many seconds; return its result."""
    program = Path(part.command[0])
    if not program.exists():
        return {"status": SKIPPED, "reason": f"{program.name} is not here"}
    missing = [str(path) for path in part.needs if not path.exists()]
    if missing:
        return {"status": FAILED, "reason": f"{missing[0]} is not here; `make gpu-files` builds it"}
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        variables = {**os.environ, **part.environment}
        process = subprocess.Popen(
            part.command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            kill_group(process)
    text, figures = log.read_text(encoding="utf-8", errors="replace"), figures_of(part.figures)
    result = judge(part, status, text, figures)
    took = {"seconds": round(time.monotonic() - start, 1), "limit": round(seconds, 1)}
    return {**result, **took, "figures": figures, "log": text[-LOG_CHARACTERS:]}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End what a part has left running, itself too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judge(part: Part, status: int | None, text: str, figures: Any) -> dict[str, str]:
    """Return what a part's exit status (None: stopped at its limit) and output mean, as status and reason."""
    if status is None:
        return {"status": TIMED_OUT, "reason": "it was stopped at its limit"}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    refusal = next((line for line in lines if any(said in line for said in REFUSALS)), None)
    if status != 0 and refusal is not None:
        return {"status": SKIPPED, "reason": f"refused by this machine: {refusal}"}
    last = lines[-1] if lines else f"exit status {status}"
    if status in part.unusable:
        return {"status": SKIPPED, "reason": last}
    if status != 0 and status not in part.notes:
        return {"status": FAILED, "reason": last}
    if part.figures.suffix == ".xml" and figures and figures["tests"] == figures["skipped"]:
        return {"status": SKIPPED, "reason": figures["reason"]}
    return {"status": PASSED, "reason": part.notes.get(status, "")}


def figures_of(path: Path) -> Any:
    """Read what a part wrote: its JSON, or the counts of a JUnit XML; None where it wrote nothing whole."""
    try:
        if path.suffix != ".xml":
            return json.loads(path.read_text(encoding="utf-8"))
        suite = next(ET.parse(path).iter("testsuite"))
    except (OSError, ValueError, ET.ParseError, StopIteration):
        return None
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    reasons = [item.get("message", "") for item in suite.iter("skipped")]
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    return {**counts, "failed": names, "reason": reasons[0] if reasons else ""}


def overall(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return a step's status: the worst of its parts'."""
    found = {part["status"] for part in parts}
    return next(status for status in (FAILED, TIMED_OUT, PASSED, SKIPPED) if status in found)


def write(path: Path, value: Any) -> None:
    """Write a JSON so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def run_session(steps: Mapping[str, Sequence[Part]], results: Path, scratch: Path) -> list[dict[str, Any]]:
    """Run all parts and return their results, in order. A step's file is written after each of its parts."""
    deadline = time.monotonic() + float(os.environ.get(SECONDS, SESSION_SECONDS))
    no_gpu = why_no_gpu()
    done: list[dict[str, Any]] = []
    for number, (step, parts) in enumerate(steps.items(), 1):
        found: list[dict[str, Any]] = []
        for part in parts:
            left, log = deadline - time.monotonic(), scratch / f"{part.name}.log"
            if no_gpu is not None:
                is_required = os.environ.get(REQUIRE_GPU) == "1"
                result: dict[str, Any] = {"status": FAILED if is_required else SKIPPED, "reason": no_gpu}
            elif left < LEAST_SECONDS:
                result = {"status": SKIPPED, "reason": "the session's time is up"}
            else:
                print(f"== {number} {step}: {part.name}", flush=True)
                result = run_part(part, min(part.seconds, left), log)
            found.append({"part": part.name, "command": list(part.command), **result})
            write(results / f"{number}-{step}.json", {"step": step, "status": overall(found), "parts": found})
            append_log(results / "logs.txt", f"{number} {step}: {part.name}", log)
        done += [{"step": f"{number} {step}", **item} for item in found]
    return done


def append_log(logs: Path, title: str, log: Path) -> None:
    """Put a part's log behind those of the parts before."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else "it was not run\n"
    with logs.open("a", encoding="utf-8") as output:
        output.write(f"== {title}\n{text}\n")


def table(done: Sequence[Mapping[str, Any]]) -> str:
    """Lay the session out for people."""
    rows = [("step", "part", "status", "seconds", "reason")]
    for item in done:
        seconds = str(item.get("seconds", "-"))
        rows.append((item["step"], item["part"], item["status"], seconds, item["reason"][:80]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)] + [0]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=ROOT / "build" / "on_gpu_results")
    parser.add_argument("files", nargs="?", type=Path, default=ROOT / "build" / "on_gpu")
    options = parser.parse_args(arguments)
    results, files = options.results.resolve(), options.files.resolve()
    scratch = results / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    (results / "logs.txt").unlink(missing_ok=True)
    done = run_session(Steps(files, scratch).listed(), results, scratch)
    shutil.rmtree(scratch)
    print(f"\n{table(done)}\n\nresults: {results}")
    return 1 if any(item["status"] in (FAILED, TIMED_OUT) for item in done) else 0


if __name__ == "__main__":
    raise SystemExit(main())
