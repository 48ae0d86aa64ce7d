"""The self-check: what crashes or hangs costs one step, nothing private is written, and on a CPU it runs to the end."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgefsa.deploy import selftest as selftest_module
from edgefsa.deploy.selftest import STEPS, Step, selftest, without_private
from edgefsa.deploy.selftest_steps import STEPS as FUNCTIONS
from edgefsa.errors import InputError, OutputError

# Plays the Python that runs a step: $3 is the step, $4 the folder.
PLAYED = """#!/bin/sh
case $3 in
  passes) echo '{"status": "passed", "reason": null, "result": {"value": 7}}' > "$4/outcomes/$3.json" ;;
  skips) echo '{"status": "skipped", "reason": "no such thing here", "result": {}}' > "$4/outcomes/$3.json" ;;
  crashes) kill -SEGV $$ ;;
  hangs) sleep 60 ;;
  stops) echo "out of memory" >&2; exit 3 ;;
  babbles) echo 'not JSON' > "$4/outcomes/$3.json" ;;
esac
"""


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that do what their names say."""
    program = tmp_path / "python"
    program.write_text(PLAYED)
    program.chmod(0o755)
    monkeypatch.setattr(selftest_module.sys, "executable", str(program))


def steps(*names: str, limit_s: float = 30) -> list[Step]:
    return [Step(name, "", limit_s) for name in names]


def test_every_step_has_its_function() -> None:
    assert [step.name for step in STEPS] == list(FUNCTIONS)


def test_what_crashes_fails_or_is_missing_stops_nothing_else(played: None, tmp_path: Path) -> None:
    said: list[str] = []
    names = ["crashes", "stops", "babbles", "skips", "passes"]
    record = selftest(tmp_path / "out" / "s.json", steps=steps(*names), say=said.append)
    assert json.loads((tmp_path / "out" / "s.json").read_text()) == record
    outcomes = {row["name"]: (row["status"], row["reason"]) for row in record["steps"]}
    assert outcomes == {
        "crashes": ("failed", "it ended by signal 11"),
        "stops": ("failed", "it ended with status 3: out of memory"),
        "babbles": ("failed", "it ended with status 0"),
        "skips": ("skipped", "no such thing here"),
        "passes": ("passed", None),
    }
    assert record["steps"][-1]["result"] == {"value": 7}
    assert (record["passed"], record["failed"], record["skipped"]) == (1, 3, 1)
    assert [line.partition(":")[0] for line in said] == names


def test_what_hangs_is_ended_and_what_has_no_time_left_is_not_begun(played: None, tmp_path: Path) -> None:
    begun = time.monotonic()
    record = selftest(tmp_path / "s.json", minutes=5 / 60, steps=steps("hangs", "passes", limit_s=60))
    assert time.monotonic() - begun < 30
    first, second = record["steps"]
    assert first["status"] == "failed" and first["reason"].startswith("it did not end in ")
    assert second["status"] == "skipped" and "--minutes" in second["reason"]


def test_the_file_holds_what_was_done_before_an_interruption(played: None, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("skips"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        selftest(tmp_path / "s.json", steps=steps("passes", "skips", "passes"), say=interrupt)
    assert [row["name"] for row in json.loads((tmp_path / "s.json").read_text())["steps"]] == ["passes"]


def test_bad_input_is_said_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx does not exist"):
        selftest(tmp_path / "s.json", source=tmp_path / "none.onnx")
    with pytest.raises(InputError, match=r"model\.onnx does not exist"):
        selftest(tmp_path / "s.json", source=tmp_path)
    with pytest.raises(InputError, match="leave no time"):
        selftest(tmp_path / "s.json", minutes=0)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        selftest(tmp_path / "file" / "s.json")
    assert not (tmp_path / "s.json").exists()


def test_nothing_private_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "anns-orin.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    found = without_private(
        {
            "serial": "1420921055981",
            "gpu": {"name": "Orin", "uuid": "GPU-1", "pci_bus_id": "0000:01:00.0"},
            "host_name": "anns-orin",
            "paths": ["/home/ann/venv/bin/python", "/data/ann/x", "/home/annabel/y"],
            "notes": ("cannot open rtsp://admin:secret@10.0.0.9/s?token=1 on anns-orin.example.org", 3, None, True),
            "plan": "the planner and annotations stay",
        }
    )
    assert found == {
        "gpu": {"name": "Orin", "pci_bus_id": "0000:01:00.0"},
        "paths": ["~/venv/bin/python", "/data/***/x", "/home/annabel/y"],
        "notes": ["cannot open rtsp://***@10.0.0.9/s?*** on ***", 3, None, True],
        "plan": "the planner and annotations stay",
    }


def test_on_a_cpu_it_runs_to_the_end(tiny_engine: Path, tmp_path: Path) -> None:
    """As a user calls it, in a process of its own; what only a board has is skipped with the reason."""
    output = tmp_path / "board.json"
    command = [sys.executable, "-m", "edgefsa.cli", "selftest", str(tiny_engine), "-o", str(output), "--minutes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    text = output.read_text()
    record = json.loads(text)
    rows = {row["name"]: row for row in record["steps"]}
    assert list(rows) == [step.name for step in STEPS]
    for name in ("doctor", "telemetry", "model", "build-int8", "build-fp16", "build-fp32", "golden", "bench", "live"):
        assert rows[name]["status"] == "passed", rows[name]
    for row in rows.values():
        assert row["status"] == "passed" or (row["status"] == "skipped" and row["reason"])
    assert len(rows["golden"]["result"]) == len(rows["bench"]["result"]) == 3
    for name, figures in rows["golden"]["result"].items():
        assert figures["agreement"] >= figures["needed"] > 0.9
        times = rows["bench"]["result"][name]["latency_ms"]
        assert 0 < times["min"] <= times["median"] <= times["p95"]
    assert rows["live"]["result"]["frames"] > 0
    assert rows["view"]["status"] == "skipped" or rows["view"]["result"] == {"page": 200, "healthz": 200}
    for private in {socket.gethostname(), str(Path.home()), str(tmp_path)} - {"localhost"}:
        assert private not in text
    assert not [path for path in tmp_path.iterdir() if path != output]
