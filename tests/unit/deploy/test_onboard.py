"""The script that runs on the board, run as it is there: a file alone, by a Python without edgefsa."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefsa.deploy.ssh import SCRIPT, SCRIPT_NAME

Task = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "board").mkdir()
    shutil.copy(SCRIPT, tmp_path / "board" / SCRIPT_NAME)
    return tmp_path / "board"


@pytest.fixture
def task(root: Path) -> Task:
    """Run a task; return its result, or "failed: " and the reason."""

    def call(name: str, *arguments: str, given: bytes = b"") -> Any:
        command = [sys.executable, "-S", "-s", str(root / SCRIPT_NAME), name, *arguments]  # the standard library alone
        done = subprocess.run(command, input=given, capture_output=True)
        answer = json.loads(done.stdout)
        assert done.returncode == ("failed" in answer) and done.stdout.count(b"\n") == 1, done.stderr
        return answer["ok"] if "ok" in answer else f"failed: {answer['failed']}"

    return call


def release(root: Path, name: str, age: int = 0) -> Path:
    """Make a release that has an engine."""
    folder = root / "releases" / name
    (folder / "engines" / "e").mkdir(parents=True)
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def test_it_needs_no_more_than_an_old_python_to_say_so() -> None:
    """Nothing newer than Python 3.8 in its syntax: JetPack 5's Python has to be able to say that it is too old."""
    import ast

    ast.parse(SCRIPT.read_text(), feature_version=(3, 8))


def test_a_file_arrives_whole_or_not_at_all(root: Path, task: Task) -> None:
    data = os.urandom(3 << 20)
    digest = hashlib.sha256(data).hexdigest()
    assert "did not arrive whole" in task("receive", "r", digest, given=data[:-1])
    assert list((root / "releases" / "r").iterdir()) == []
    assert task("facts", "r", digest)["has_bundle"] is False
    assert task("receive", "r", digest, given=data) == str(root / "releases" / "r" / "bundle.edgefsa")
    assert (root / "releases" / "r" / "bundle.edgefsa").read_bytes() == data
    assert task("facts", "r", digest)["has_bundle"] is True and task("facts", "r", "0" * 64)["has_bundle"] is False


def test_a_step_is_done_once_and_again_where_it_is_another_one(root: Path, task: Task) -> None:
    release(root, "r")
    count = ("run", "releases/r", "count", sys.executable, "-c", "print('x', file=open('count', 'a')); print('done')")
    first = task(*count)
    assert (first["output"], first["before"]) == ("done\n", False)
    second = task(*count)
    assert (second["output"], second["before"], second["seconds"]) == ("done\n", True, first["seconds"])
    assert task(*count, "other")["before"] is False
    (root / "releases" / "r" / "done" / "count.json").write_text('{"what": [')  # a power cut
    assert task(*count)["before"] is False
    assert (root / "releases" / "r" / "count").read_text() == "x\n" * 3
    assert task("again", *count[1:])["output"] == "done\n"
    assert (root / "releases" / "r" / "count").read_text() == "x\n" * 4


def test_a_command_that_fails_leaves_no_mark_and_says_why(root: Path, task: Task) -> None:
    release(root, "r")
    code = "import sys; print('note: a', file=sys.stderr); print('error: the\\treason', file=sys.stderr); print('b'); "
    text = task("run", "releases/r", "fails", sys.executable, "-c", code + "sys.exit(3)")
    assert text == "failed: exit status 3: error: the reason"
    assert not (root / "releases" / "r" / "done" / "fails.json").exists()
    assert task("run", "releases/r", "gone", "no-such-program") == "failed: no-such-program is not there"
    assert task("run", "releases/r", "mute", sys.executable, "-c", "raise SystemExit(4)") == (
        "failed: exit status 4: it printed nothing"
    )


def test_switching_back_and_pruning(root: Path, task: Task) -> None:
    for age, name in enumerate(("e", "d", "c", "b", "a")):
        release(root, name, age=1000 * age)
    assert task("before") == "failed: no release is in use there"
    assert task("switch", "a", "engines/e") == {"current": "a", "previous": None}
    assert task("before") == "failed: there is no release before a"
    assert task("switch", "b", "engines/e") == {"current": "b", "previous": "a"}
    assert task("switch", "b", "engines/e") == {"current": "b", "previous": "a"}, "twice is as once"
    assert (root / "current" / "engine").resolve() == root / "releases" / "b" / "engines" / "e"
    assert (root / "current").readlink() == Path("releases/b"), "the folder can be moved as a whole"
    assert sorted(task("prune", "3")) == ["c", "d"], "not the one in use, not the one before, and the newest other"
    assert sorted(path.name for path in (root / "releases").iterdir()) == ["a", "b", "e"]
    assert task("prune", "2") == ["e"] and task("prune", "2") == []
    assert task("before") == {"current": "b", "previous": "a"}
    assert "not c any more" in task("rollback", "c", "a")
    assert task("rollback", "b", "a") == {"current": "a", "previous": None, "left": "b"}
    assert (root / "current").resolve() == root / "releases" / "a"


def test_a_venv_goes_with_the_last_release_that_uses_it(root: Path, task: Task) -> None:
    for age, (name, venv) in enumerate((("c", "new"), ("b", "new"), ("a", "old"))):
        (root / "venvs" / venv / "venv").mkdir(parents=True, exist_ok=True)
        (release(root, name, age=1000 * age) / "venv").symlink_to(f"../../venvs/{venv}/venv")
    task("switch", "a", "engines/e")
    task("switch", "b", "engines/e")
    assert task("prune", "2") == ["c"]
    assert sorted(path.name for path in (root / "venvs").iterdir()) == ["new", "old"]
    task("switch", "a", "engines/e")
    (root / "releases" / "a" / "replaced").write_text("")
    assert task("prune", "1") == ["b"]
    assert [path.name for path in (root / "venvs").iterdir()] == ["old"]


def test_what_a_running_program_was_started_from_stays(root: Path, task: Task) -> None:
    for age, name in enumerate(("c", "b", "a")):
        release(root, name, age=1000 * age)
        (root / "venvs" / name).mkdir(parents=True)
    task("switch", "c", "engines/e")
    arguments = [str(root / "releases" / "a" / "engines" / "e"), str(root / "venvs" / "b" / "venv" / "bin" / "x")]
    with subprocess.Popen([sys.executable, "-c", "input()", *arguments], stdin=subprocess.PIPE) as program:
        assert task("prune", "1") == ["b"]
        assert [path.name for path in (root / "venvs").iterdir()] == ["b"]
        program.communicate(b"\n")
    assert task("prune", "1") == ["a"] and not list((root / "venvs").iterdir())


def test_a_second_deployment_waits_for_the_first(root: Path) -> None:
    command = [sys.executable, str(root / SCRIPT_NAME), "facts", "r", ""]
    with (root / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting for another deployment" in process.stderr.readline()
        assert process.poll() is None
    assert process.communicate()[0].startswith('{"ok"')


def test_pip_may_not_put_a_package_over_the_systems(root: Path, tmp_path: Path) -> None:
    """The system has a module named cv2, which pip does not know of, as on JetPack; pip's own is found in the venv."""
    system, site = tmp_path / "system", root / "releases" / "r" / "venv" / "lib" / "python3.10" / "site-packages"
    (system / "cv2").mkdir(parents=True)
    (system / "cv2" / "__init__.py").write_text("")
    (site / "cv2").mkdir(parents=True)
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import deploy, pathlib; deploy.check_kept(pathlib.Path(sys.argv[3]))"
    )
    command = [sys.executable, "-S", "-c", code, str(root), str(system), str(root / "releases" / "r")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "pip installed cv2 over the system's" in json.loads(done.stdout)["failed"]
    (site / "cv2").rmdir()
    assert subprocess.run(command, capture_output=True, text=True).stdout == ""
