"""benchmarks/on_gpu.sh: without a GPU as it is, and its steps with programs that stand for those that need one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
STEPS = ("1-tests", "2-jit", "3-aot", "4-plugins", "5-sanitizer", "6-benchmark", "7-networks")


@pytest.fixture
def session(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("_gpu_session")


@pytest.fixture
def make(program: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., Any]:
    """Return a part that runs a line of Python."""

    def part(code: str, **values: Any) -> Any:
        given = {"name": "part", "seconds": 20, "figures": tmp_path / "figures.json", "needs": [], **values}
        return program("_gpu_steps").Part(command=[sys.executable, "-c", code], **given)

    return part


@pytest.mark.parametrize("required", [False, True])
def test_without_a_gpu_every_step_is_skipped_or_fails_and_says_why(
    session: ModuleType, required: bool, tmp_path: Path
) -> None:
    if session.why_no_gpu() is None:
        pytest.skip("needs a machine without a GPU")
    variables = {**os.environ, "PYTHON": sys.executable, "EDGEFSA_REQUIRE_GPU": "1" if required else "0"}
    done = subprocess.run([BENCHMARKS / "on_gpu.sh", tmp_path], env=variables, capture_output=True, text=True)
    status = "failed" if required else "skipped"
    assert done.returncode == (1 if required else 0), done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"logs.txt", *(f"{step}.json" for step in STEPS)}
    for step in STEPS:
        record = json.loads((tmp_path / f"{step}.json").read_text())
        assert record["status"] == status and record["parts"]
        for part in record["parts"]:
            assert part["status"] == status and "NVIDIA driver" in part["reason"]
    shown = [line.split() for line in done.stdout.splitlines()]
    assert [line[2] for line in shown if line[:1] in (["1"], ["2"])] == ["sm_90", "75-virtual", "87-virtual"]


def test_the_steps_fit_the_session_and_name_what_is_there(program: Callable[[str], ModuleType], tmp_path: Path) -> None:
    steps = program("_gpu_steps").Steps(tmp_path / "files", tmp_path).listed()
    assert [f"{number}-{step}" for number, step in enumerate(steps, 1)] == list(STEPS)
    parts = [part for step in steps.values() for part in step]
    assert sum(part.seconds for part in parts) == program("_gpu_session").SESSION_SECONDS
    named = program("_gpu_files")
    carried = {named.PLUGINS, named.DRIVER, named.AOT, *named.KERNELS.values()}
    assert {path.name for part in parts for path in part.needs} == carried
    for part in parts:
        for word in part.command:
            if word.endswith(".py"):
                assert (ROOT / word).is_file(), word


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("print('all is well')", "passed", ""),
        ("print('3 targets are missed'); raise SystemExit(1)", "passed", "some aims are missed"),
        ("print('WRONG: a kernel'); raise SystemExit(3)", "failed", "WRONG: a kernel"),
        ("raise SystemExit(4)", "failed", "exit status 4"),
        ("print('error: ncu is not here'); raise SystemExit(2)", "skipped", "error: ncu is not here"),
        ("print('Error: Device not supported'); raise SystemExit(9)", "skipped", "refused by this machine"),
    ],
)
def test_an_exit_status_is_judged(
    session: ModuleType, make: Callable[..., Any], tmp_path: Path, code: str, status: str, reason: str
) -> None:
    part = make(code, notes={1: "some aims are missed"}, unusable=(2,))
    result = session.run_part(part, 20, tmp_path / "log")
    assert result["status"] == status and result["reason"].startswith(reason)


def test_a_part_that_hangs_is_stopped_with_what_it_started_and_keeps_its_figures(
    session: ModuleType, make: Callable[..., Any], tmp_path: Path
) -> None:
    figures, pid = tmp_path / "figures.json", tmp_path / "pid"
    hangs = f"echo '{{\"rows\": [1]}}' > {figures}; sleep 600 & echo $! > {pid}; wait"
    part = type(make(""))("part", 2, ["/bin/sh", "-c", hangs], figures, [])
    result = session.run_part(part, 2, tmp_path / "log")
    assert (result["status"], result["figures"]) == ("timed out", {"rows": [1]})
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_was_not_carried_fails_and_a_program_that_is_missing_is_skipped(
    session: ModuleType, make: Callable[..., Any], tmp_path: Path
) -> None:
    result = session.run_part(make("", needs=[tmp_path / "kernels.so"]), 5, tmp_path / "log")
    assert result == {"status": "failed", "reason": f"{tmp_path}/kernels.so is not here; `make gpu-files` builds it"}
    steps = make("")
    missing = type(steps)("part", 5, ["/nowhere/compute-sanitizer"], tmp_path / "x", [])
    assert session.run_part(missing, 5, tmp_path / "log")["reason"] == "compute-sanitizer is not here"


SUITE = """<testsuites><testsuite tests="2" failures="{failures}" errors="0" skipped="{skipped}">
<testcase classname="tests.gpu" name="one">{inside}</testcase>
<testcase classname="tests.gpu" name="two">{inside}</testcase>
</testsuite></testsuites>"""


def test_tests_that_were_all_left_out_are_skipped(
    session: ModuleType, make: Callable[..., Any], tmp_path: Path
) -> None:
    figures = tmp_path / "figures.xml"

    def result(**values: object) -> Mapping[str, Any]:
        text = SUITE.format(**values)
        code = f"import pathlib; pathlib.Path({str(figures)!r}).write_text({text!r})"
        return session.run_part(make(code, figures=figures), 20, tmp_path / "log")

    skipped = result(failures=0, skipped=2, inside='<skipped message="needs a GPU"/>')
    assert (skipped["status"], skipped["reason"]) == ("skipped", "needs a GPU")
    passed = result(failures=0, skipped=0, inside="")
    assert passed["status"] == "passed" and passed["figures"]["tests"] == 2
    failed = result(failures=2, skipped=0, inside='<failure message="no"/>')
    assert failed["figures"]["failed"] == ["tests.gpu::one", "tests.gpu::two"]


def test_a_session_goes_on_after_a_failure_until_its_time_is_up(
    session: ModuleType, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def takes_two_minutes(part: Any, seconds: float, log: Path) -> dict[str, Any]:
        now[0] += min(120, seconds)
        return {"status": "failed" if part.name == "bad" else "passed", "reason": "", "limit": seconds}

    monkeypatch.setattr(session, "why_no_gpu", lambda: None)
    monkeypatch.setattr(session, "run_part", takes_two_minutes)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setenv("SESSION_SECONDS", "300")
    steps = {
        "first": [make("", name="bad", seconds=150), make("", seconds=150)],
        "second": [make("", name="short", seconds=150), make("", name="late")],
    }
    done = session.run_session(steps, tmp_path, tmp_path)
    assert [item["status"] for item in done] == ["failed", "passed", "passed", "skipped"]
    assert [item.get("limit") for item in done] == [150, 150, 60, None]
    assert done[3]["reason"] == "the session's time is up"
    assert json.loads((tmp_path / "1-first.json").read_text())["status"] == "failed"
    assert json.loads((tmp_path / "2-second.json").read_text())["status"] == "passed"
    assert "== 2 second: late\nit was not run" in (tmp_path / "logs.txt").read_text()
