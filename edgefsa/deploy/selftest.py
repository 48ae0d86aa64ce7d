"""The self-check of a machine: every step in a process of its own, its outcome in one JSON file without private data.

A step that crashes, hangs or fails costs that step alone. The file is written after each of them.
"""

from __future__ import annotations

import datetime
import getpass
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import edgefsa
from edgefsa.artifacts import check_writable, write_json
from edgefsa.engines.names import RANGES_NAME, SOURCE_NAME
from edgefsa.errors import InputError
from edgefsa.media.address import HIDDEN, redacted

FORMAT = 1
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# How long a check is meant to be; in a shorter one every step is held to less.
MINUTES = 10.0
# Below this a step is not begun.
_LEAST_S = 3.0
_REASON_LENGTH = 400
_PRIVATE_KEYS = re.compile(r"serial|uuid|mac_address|host_?name|user_?name", re.IGNORECASE)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A step: its name, what it shows, and the most seconds that it may take of MINUTES."""

    name: str
    shows: str
    limit_s: float


@dataclass(frozen=True)
class Outcome:
    """What became of a step: passed, failed or skipped, why (unless it passed), how long it took, what it found."""

    name: str
    status: str
    reason: str | None = None
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


STEPS = (
    Step("doctor", "what the machine is and can do", 60),
    Step("telemetry", "what can be measured of power, temperature and clocks", 30),
    Step("power-modes", "which power modes there are, and which one is set", 20),
    Step("model", "the ONNX file that everything is built from", 120),
    Step("plugins", "the plugin library is built for this GPU", 420),
    Step("build-int8", "an INT8 engine, proved", 420),
    Step("build-fp16", "an FP16 engine, proved", 420),
    Step("build-fp32", "an FP32 engine, proved", 420),
    Step("golden", "each engine gives what its converted graph defines", 60),
    Step("plugins-compared", "engines with plugins against one without, in masks and in time", 420),
    Step("bench", "latency and energy of the engines, in turns", 180),
    Step("camera", "each camera gives frames", 60),
    Step("live", "camera to mask for a while, with what the machine did meanwhile", 90),
    Step("view", "the live view answers a browser", 60),
)


def selftest(
    output: str | Path,
    *,
    source: str | Path | None = None,
    minutes: float = MINUTES,
    steps: Sequence[Step] = STEPS,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Run the steps within `minutes` and write their outcomes to `output`; return what was written.

    `source` is an ONNX file of `edgefsa export`, or a folder that holds one (an engine, an unpacked bundle); without
    it fsanet-edge is exported where torch is installed. Raises InputError for a source that is neither, or minutes
    that leave no time, OutputError where `output` cannot be written.
    """
    if not minutes > 0:
        raise InputError(f"{minutes} minutes leave no time for a check; give more than 0")
    check_writable(output)
    begun, outcomes = time.monotonic(), []
    folder = Path(tempfile.mkdtemp(prefix="edgefsa-selftest-"))
    try:
        _lay_out(folder, source)
        for step in steps:
            left_s = 60 * minutes - (time.monotonic() - begun)
            limit_s = max(_LEAST_S, step.limit_s * min(1.0, minutes / MINUTES))
            outcome = _outcome_of(step, folder, min(limit_s, left_s))
            outcomes.append(outcome)
            say(f"{step.name}: {outcome.status}")
            record = _record(outcomes, minutes, time.monotonic() - begun)
            write_json(output, record)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return record


def _record(outcomes: Sequence[Outcome], minutes: float, seconds: float) -> dict[str, Any]:
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in (PASSED, FAILED, SKIPPED)}
    record = {
        "format": FORMAT,
        "edgefsa": edgefsa.__version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "minutes": minutes,
        "seconds": round(seconds, 1),
        **counts,
        "steps": [asdict(outcome) for outcome in outcomes],
    }
    cleaned: dict[str, Any] = without_private(record)
    return cleaned


def _lay_out(folder: Path, source: str | Path | None) -> None:
    """Put the source where the steps look for it."""
    (folder / "outcomes").mkdir()
    if source is None:
        return
    path = Path(source)
    onnx = path / SOURCE_NAME if path.is_dir() else path
    if not onnx.is_file():
        raise InputError(f"{onnx} does not exist; name an ONNX file of `edgefsa export`, or an engine that holds one")
    shutil.copyfile(onnx, folder / SOURCE_NAME)
    if path.is_dir() and (path / RANGES_NAME).is_file():
        shutil.copyfile(path / RANGES_NAME, folder / RANGES_NAME)


def _outcome_of(step: Step, folder: Path, seconds: float) -> Outcome:
    """Run a step in a process of its own, for at most so many seconds."""
    if seconds < _LEAST_S:
        return Outcome(step.name, SKIPPED, "no time was left for it; give more --minutes")
    begun = time.monotonic()
    command = [sys.executable, "-m", "edgefsa.deploy.selftest_steps", step.name, str(folder), f"{seconds:.1f}"]
    log = folder / f"{step.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Outcome(step.name, FAILED, f"it did not end in {seconds:.0f} s", time.monotonic() - begun)
        finally:
            _end(process)
    taken = round(time.monotonic() - begun, 2)
    try:
        found = json.loads((folder / "outcomes" / f"{step.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        died = f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"
        return Outcome(step.name, FAILED, ": ".join([died, *last])[:_REASON_LENGTH], taken)
    return Outcome(step.name, found["status"], found["reason"], taken, found["result"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step that still runs, also when this program is stopped."""
    if process.poll() is None:
        process.kill()
        process.wait()


def without_private(value: Any) -> Any:
    """Return plain values without what would name a person or a machine.

    Left out are fields that are named for serial numbers and the like; hidden in texts are the machine's name, the
    user's, and the credentials of addresses.
    """
    if isinstance(value, Mapping):
        return {name: without_private(item) for name, item in value.items() if not _PRIVATE_KEYS.search(str(name))}
    if isinstance(value, (list, tuple)):
        return [without_private(item) for item in value]
    if not isinstance(value, str):
        return value
    text = redacted(value)
    for pattern, replacement in _private_texts():
        text = pattern.sub(replacement, text)
    return text


def _private_texts() -> list[tuple[re.Pattern[str], str]]:
    found = [(re.compile(re.escape(str(Path.home())) + r"(?=/|\b)"), "~")] if Path.home() != Path("/") else []
    names = {socket.gethostname(), socket.gethostname().partition(".")[0], _user()} - {"", "root", "localhost"}
    for name in sorted(names, key=len, reverse=True):  # a whole name before the part of it
        found.append((re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])"), HIDDEN))
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return ""
