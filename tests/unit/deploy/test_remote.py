"""Deployments over a real sshd, into a fresh home and a fresh venv: killed in its steps, with a full disk, and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefsa.deploy.bundle import write_bundle
from edgefsa.deploy.ssh import Board
from edgefsa.engines import open_engine
from tests.unit.deploy.sshd import LoopbackBoard, start_board, why_no_board
from tests.unit.deploy.test_verification import with_other_truth

STEPS = ("connect", "copy", "venv", "install", "unpack", "doctor", "engine", "check", "bench", "switch", "prune")
# One of each kind: unpack and bench are commands run once as the engine is, doctor one that is run again as the check.
INTERRUPTED = ("connect", "copy", "venv", "install", "engine", "check", "switch")
NOT_REPEATED = ("copy", "venv", "install", "unpack", "engine", "bench")
# A folder with a space and a quote, which a shell must not see.
FOLDER = "my 'board'"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackBoard]:
    reason = why_no_board()
    if reason is not None:
        pytest.skip(reason)
    started = start_board(tmp_path_factory.mktemp("board"))
    yield started
    started.process.terminate()
    started.process.wait()


@pytest.fixture(scope="module")
def second_bundle(tiny_engine: Path, tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A bundle of the same engine and yet another one: it is signed."""
    return write_bundle(tiny_engine, tmp_path_factory.mktemp("second") / "second.edgefsa", sign_with=keys / "ann").path


def command(board: LoopbackBoard, *arguments: object, folder: object = FOLDER) -> list[str]:
    base = [sys.executable, "-m", "edgefsa.cli", "deploy", "--ssh-config", board.ssh_config, "--directory", folder]
    return [str(word) for word in (*base, *arguments)]


def settings(tmp_path: Path, *more: object) -> tuple[object, ...]:
    extra = ("--extra", "onnxruntime,onnx", "--pip-option=--no-index", "--target", "onnxruntime")
    return (*extra, "--bench-seconds", "0.1", "-o", tmp_path / "report", "--json", *more)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)


def error_of(words: list[str]) -> str:
    """The one line of a deployment that failed."""
    done = run(words)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


def kill_in(words: list[str], step: str, *, connection_too: bool) -> list[str]:
    """Kill a deployment a moment after it began a step, with its ssh or without; return the lines that it printed."""
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.strip())
        if line.startswith(f"{step}: "):
            time.sleep(0.1)
            (os.killpg if connection_too else os.kill)(process.pid, signal.SIGKILL)
            break
    process.wait()
    return lines


def test_a_board_from_its_first_release_to_going_back(
    board: LoopbackBoard, tiny_engine: Path, bundle_file: Path, second_bundle: Path, keys: Path, tmp_path: Path
) -> None:
    """One story, because making a venv and an engine takes seconds."""
    home = board.home / FOLDER
    first = run(command(board, bundle_file, board.host, *settings(tmp_path)))
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["release"]["previous"] is None
    in_use = (home / "current").readlink()

    # Another option of pip makes another venv, which the second release would share with the first else.
    signed = ("--allowed-signers", keys / "allowed", "--pip-option=--no-color")
    words = command(board, second_bundle, board.host, *settings(tmp_path, *signed))
    kill_in_steps(words, home, in_use)
    done = run(words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bundle"]["signed_by"] == "ann@example.org"
    assert all(report["steps"][name]["before"] for name in NOT_REPEATED)
    assert report["release"]["previous"] == in_use.name
    assert (home / "current").readlink().name == report["release"]["current"] != in_use.name
    check_report(report)

    back = run(command(board, "--rollback", board.host))
    assert back.returncode == 0 and "error" not in back.stderr, back.stderr
    assert (home / "current").readlink() == in_use
    assert "there is no release before" in error_of(command(board, "--rollback", board.host))

    bad = write_bundle(with_other_truth(tiny_engine, tmp_path), tmp_path / "bad.edgefsa").path
    text = error_of(command(board, bad, board.host, *settings(tmp_path)))
    assert text.startswith("error: step engine on board: edgefsa verify bundle --target onnxruntime"), text
    assert "exit status 2: error: tiny-onnxruntime-int8-32x48 has the class of the golden frames in" in text
    assert (home / "current").readlink() == in_use, "and its venv was the first one's: no pip has run"


def kill_in_steps(words: list[str], home: Path, in_use: Path) -> None:
    """Interrupt and run again, step by step; what is in use stays so, and what was done is not done again."""
    done: tuple[str, ...] = ()
    for index, step in enumerate(INTERRUPTED):
        lines = kill_in(words, step, connection_too=index % 2 == 0)
        assert lines[-1].startswith(f"{step}: "), lines
        before = {line.partition(":")[0] for line in lines if line.endswith("done before")}
        assert {name for name in done if name in NOT_REPEATED} <= before, (step, lines)
        # This step is cut off: it may come to its end there, or is done again.
        done = STEPS[: STEPS.index(step)]
        if step != "switch":
            assert (home / "current").readlink() == in_use
        with open_engine(home / "current" / "engine"):
            pass


def check_report(report: dict) -> None:
    """What came back is of the board, as JSON and as text, and names the same figures."""
    files = {Path(path).suffix: Path(path) for path in report["files"]}
    assert json.loads(files[".json"].read_text()) == {key: value for key, value in report.items() if key != "files"}
    text = files[".txt"].read_text()
    assert f"{100 * report['check']['agreement']:.2f} % of the pixels agree" in text
    assert f"median {report['bench'][0]['latency_ms']['median']:.2f}" in text
    assert report["bench"][0]["latency_ms"]["count"] >= 100
    assert report["doctor"]["packages"]["torch"] is None, "the board has none"
    assert set(report["steps"]) == set(STEPS)


def wait_until_idle(board: LoopbackBoard, folder: Path) -> None:
    """Wait for what a killed deployment left running: every call there waits for it."""
    with Board(board.host, directory=str(folder), ssh_config=board.ssh_config) as connected:
        connected.call("facts", "none", "")


def test_a_full_disk_is_named_and_gone_on_from(board: LoopbackBoard, bundle_file: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(disk)]
    if shutil.which("mount") is None or run(mount).returncode != 0:
        pytest.skip("needs the right to mount a small disk (root)")
    try:
        words = command(board, bundle_file, board.host, *settings(tmp_path), folder=disk)
        text = error_of(words)
        assert text.startswith("error: step copy on board:") and "no space left on device; free space there" in text
        assert not list(disk.glob("releases/*/bundle.edgefsa*")), "half a bundle is no bundle"
        assert run(["mount", "-o", "remount,size=14m", str(disk)]).returncode == 0
        text = error_of(words)
        assert text.startswith("error: step venv on board: python3 -m venv"), text
        assert "no space left on device" in text.lower()
        assert run(["mount", "-o", "remount,size=200m", str(disk)]).returncode == 0
        lines = kill_in(words, "install", connection_too=False)
        assert "copy: done before" in lines and any(line.startswith("venv: done in") for line in lines)
        wait_until_idle(board, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_host_that_is_an_option_or_is_not_there(board: LoopbackBoard, bundle_file: Path) -> None:
    assert "'-oProxyCommand=id' is no host" in error_of([*command(board), "--", str(bundle_file), "-oProxyCommand=id"])
    assert "cannot reach elsewhere.invalid" in error_of(command(board, bundle_file, "elsewhere.invalid"))


def test_a_demanded_signature_is_checked_before_the_board_is_reached(
    bundle_file: Path, second_bundle: Path, keys: Path, tmp_path: Path
) -> None:
    nowhere = LoopbackBoard(tmp_path, tmp_path / "none", None, "nowhere.invalid")  # type: ignore[arg-type]
    for bundle, signers, said in (
        (bundle_file, "allowed", "is not signed, and --allowed-signers demands it"),
        (second_bundle, "other", "is signed by none of"),
    ):
        words = command(nowhere, bundle, nowhere.host, "--allowed-signers", keys / signers)
        assert said in error_of(words)


def test_arguments_that_do_not_fit(board: LoopbackBoard, bundle_file: Path) -> None:
    assert "give a bundle and a host" in error_of(command(board, board.host))
    assert "give HOST alone" in error_of(command(board, "--rollback", bundle_file, board.host))
    assert "target nothing is unknown" in error_of(command(board, bundle_file, board.host, "--target", "nothing"))
    assert "is no bundle's file" in error_of(command(board, bundle_file.parent, board.host))
