"""Files and directories appear whole or not at all, whatever ends the writer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgefsa.artifacts import (
    atomic_directory,
    atomic_file,
    check_writable,
    sha256_of_bytes,
    sha256_of_file,
    write_json,
)
from edgefsa.errors import OutputError


def names(directory: Path) -> list[str]:
    return sorted(item.name for item in directory.iterdir())


@contextmanager
def open_writer(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in another process until it prints a line; kill it afterwards."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def writer_of_file(path: Path) -> str:
    return (
        "import time; from edgefsa.artifacts import atomic_file\n"
        f"with atomic_file({str(path)!r}) as partial:\n"
        "    partial.write_text('half'); print('ready', flush=True); time.sleep(60)"
    )


def writer_of_directory(path: Path) -> str:
    return (
        "import time; from edgefsa.artifacts import atomic_directory\n"
        f"with atomic_directory({str(path)!r}) as partial:\n"
        "    (partial / 'a').write_text('half'); print('ready', flush=True); time.sleep(60)"
    )


def test_file_appears_whole_with_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.bin"
    with atomic_file(path) as partial:
        assert partial.name == "a.bin"
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert names(path.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_the_writer_fails(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "kept").write_text("old")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a").write_text("old")
    with pytest.raises(error), atomic_file(tmp_path / "kept") as partial:
        partial.write_text("half")
        (partial.parent / "beside").write_text("left by the writer")
        raise error
    with pytest.raises(error), atomic_directory(tmp_path / "dir", overwrite=True) as partial:
        (partial / "a").write_text("half")
        raise error
    assert names(tmp_path) == ["dir", "kept"]
    assert (tmp_path / "kept").read_text() == (tmp_path / "dir" / "a").read_text() == "old"


def test_a_place_that_cannot_be_written_is_told_before_there_is_anything_to_write(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file")
    assert names(tmp_path) == ["new"] and names(tmp_path / "new") == []
    (tmp_path / "new" / "file").write_text("kept")
    check_writable(tmp_path / "new" / "file")
    assert (tmp_path / "new" / "file").read_text() == "kept" and names(tmp_path / "new") == ["file"]
    with pytest.raises(OutputError, match=r"cannot write .*below: .*; give another path"):
        check_writable(tmp_path / "new" / "file" / "below")


def test_directory_replaces_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    with atomic_directory(path) as partial:
        (partial / "a").write_text("1")
    with pytest.raises(OutputError, match="engine exists already"), atomic_directory(path):
        raise AssertionError("must not be entered")
    with atomic_directory(path, overwrite=True) as partial:
        (partial / "b").write_text("2")
        assert (path / "a").exists()
    assert names(path) == ["b"]
    assert names(tmp_path) == ["engine"]


def test_a_directory_that_another_writer_finished_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    with pytest.raises(OutputError, match="engine exists already"), atomic_directory(path) as slow:
        (slow / "a").write_text("slow")
        with atomic_directory(path) as fast:
            (fast / "a").write_text("fast")
    assert (path / "a").read_text() == "fast" and names(tmp_path) == ["engine"]
    with atomic_directory(path, overwrite=True) as slow:
        (slow / "a").write_text("slow")
        with atomic_directory(path, overwrite=True) as fast:
            (fast / "a").write_text("fast")
    assert (path / "a").read_text() == "slow" and names(tmp_path) == ["engine"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_writer_between_the_two_renames(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename, calls = tmp_path / "engine", Path.rename, []
    path.mkdir()
    (path / "a").write_text("old")
    if not overwrite:
        shutil.rmtree(path)

    def meanwhile(self: Path, target: Path) -> Path:
        calls.append(self)
        if target == path and len(calls) <= 2:
            path.mkdir()
            (path / "a").write_text("other")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    if overwrite:
        with atomic_directory(path, overwrite=True) as partial:
            (partial / "a").write_text("ours")
    else:
        with pytest.raises(OutputError, match="exists already"), atomic_directory(path) as partial:
            (partial / "a").write_text("ours")
    assert (path / "a").read_text() == ("ours" if overwrite else "other")
    assert names(tmp_path) == ["engine"]


def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"), atomic_directory(path):
        raise AssertionError("must not be entered")
    with atomic_directory(path, overwrite=True) as partial:
        (partial / "a").write_text("new")
    assert not path.is_symlink() and names(path) == ["a"]


def test_bytes_and_names_are_on_the_disk_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    opened: dict[int, str] = {}
    real_open, real_sync = os.open, os.fsync

    def note_open(path: Any, *rest: Any, **options: Any) -> int:
        handle = real_open(path, *rest, **options)
        opened[handle] = Path(path).name if not str(path).endswith(".partial") else "staging"
        return handle

    def note_sync(handle: int) -> None:
        steps.append(f"sync {opened[handle]}")
        real_sync(handle)

    def note_rename(kind: str) -> Any:
        real = getattr(Path, kind)

        def noted(self: Path, target: Path) -> Any:
            steps.append(f"{kind} {self.name}")
            return real(self, target)

        return noted

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "fsync", note_sync)
    for kind in ("rename", "replace"):
        monkeypatch.setattr(Path, kind, note_rename(kind))
    with atomic_file(tmp_path / "file") as partial:
        partial.write_text("x")
    assert steps == ["sync file", "replace file", f"sync {tmp_path.name}"]
    steps.clear()
    with atomic_directory(tmp_path / "engine") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("x")
    assert sorted(steps[:-2]) == ["sync a", "sync engine", "sync inner"]
    assert steps[-2:] == ["rename engine", f"sync {tmp_path.name}"]


def test_a_disk_that_fails_when_it_is_asked_to_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OutputError, match=r"cannot write .*a: input/output error"), atomic_file(tmp_path / "a") as file:
        file.write_text("x")
    assert names(tmp_path) == []


def test_directory_is_put_back_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    with atomic_directory(path) as partial:
        (partial / "a").write_text("1")
    with pytest.raises(OutputError, match="cannot write"), atomic_directory(path, overwrite=True) as partial:
        partial.rmdir()
    assert (path / "a").read_text() == "1"
    assert names(tmp_path) == ["engine"]


def kill_while_replacing(path: Path) -> None:
    """Overwrite `path` in another process that is killed once the old directory has been moved away."""
    code = (
        "import os, signal; from pathlib import Path; from edgefsa.artifacts import atomic_directory\n"
        "rename, calls = Path.rename, []\n"
        "def killed(self, target):\n"
        "    calls.append(self)\n"
        "    return rename(self, target) if len(calls) == 1 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = killed\n"
        f"with atomic_directory({str(path)!r}, overwrite=True) as partial: (partial / 'a').write_text('new')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(names(path.parent)) == 1


@pytest.mark.parametrize("name", ["engine", "replaced"])
def test_a_directory_survives_a_kill_between_the_two_renames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with atomic_directory(path) as partial:
        (partial / "a").write_text("old")
    kill_while_replacing(path)
    # Without leave to overwrite, the next writer finds the old one where it was.
    with pytest.raises(OutputError, match="exists already"), atomic_directory(path):
        raise AssertionError("must not be entered")
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == [name]
    kill_while_replacing(path)
    with pytest.raises(RuntimeError), atomic_directory(path, overwrite=True):
        raise RuntimeError("this build fails too")
    assert (path / "a").read_text() == "old"
    assert names(tmp_path) == [name]


def test_leftovers_of_a_killed_writer_are_removed_by_the_next(tmp_path: Path) -> None:
    path, other = tmp_path / "engine", tmp_path / "engine-2"
    with open_writer(writer_of_directory(path)), open_writer(writer_of_directory(other)):
        assert len(names(tmp_path)) == 2
    leftovers = names(tmp_path)
    assert len(leftovers) == 2
    with atomic_directory(path) as partial:
        (partial / "a").write_text("whole")
    # The leftover of the other name stays until that name is written.
    assert names(tmp_path) == [next(name for name in leftovers if "engine-2" in name), "engine"]
    assert names(path) == ["a"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    with open_writer(writer_of_file(path)):
        with atomic_file(path) as partial:
            partial.write_text("ours")
        others = [name for name in names(tmp_path) if name != "out.avi"]
        assert len(others) == 1
        assert (tmp_path / others[0] / "out.avi").read_text() == "half"
    with atomic_file(path) as partial:
        partial.write_text("again")
    assert names(tmp_path) == ["out.avi"]


def test_two_writers_of_one_name_in_one_process(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as first, atomic_file(tmp_path / "a") as second:
        first.write_text("1")
        second.write_text("2")
        assert first.exists()
    assert names(tmp_path) == ["a"]


def test_names_with_glob_characters(tmp_path: Path) -> None:
    with open_writer(writer_of_file(tmp_path / "clip[1]*.avi")):
        pass
    with atomic_file(tmp_path / "clip[1]*.avi") as partial:
        partial.write_text("x")
    assert names(tmp_path) == ["clip[1]*.avi"]


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a: no space left.*free space"), atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EFBIG, "free space or choose another place with -o"),
        (errno.EACCES, "get the permission to write there, or give another path with -o"),
        (errno.EROFS, "get the permission to write there, or give another path with -o"),
        (errno.ENAMETOOLONG, "give another path with -o"),
    ],
)
def test_the_remedy_is_that_of_the_error(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(OutputError) as caught, atomic_file(tmp_path / "a") as partial:
        raise OSError(number, "Reason", str(partial))
    assert str(caught.value) == f"cannot write {tmp_path / 'a'}: reason; {remedy}"


def test_a_real_write_beyond_a_limit_is_told(tmp_path: Path) -> None:
    code = (
        "import resource, signal; from edgefsa.artifacts import atomic_file; from edgefsa.errors import OutputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try:\n  with atomic_file({str(tmp_path / 'big')!r}) as partial: partial.write_bytes(bytes(5000))\n"
        "except OutputError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "big: file too large" in told
    assert names(tmp_path) == []


def test_an_error_about_another_file_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="input"), atomic_file(tmp_path / "a"):
        (tmp_path / "input").read_text()
    with pytest.raises(ConnectionError), atomic_directory(tmp_path / "d"):
        raise ConnectionError("the camera went away")
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("")
    with (
        pytest.raises(OutputError, match=r"file.b: \S*file: (not a directory|file exists); give another path with -o"),
        atomic_file(tmp_path / "file" / "b"),
    ):
        pass
    with (
        pytest.raises(OutputError, match="dir: is a directory; give another path with -o"),
        atomic_file(tmp_path / "dir") as partial,
    ):
        partial.write_text("x")
    assert names(tmp_path) == ["dir", "file"]


def test_write_json_is_read_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "name": "Weiß"}
    assert json.loads(write_json(tmp_path / "v.json", value).read_text(encoding="utf-8")) == value


def test_hashes_agree_with_known_values(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example B.1
    assert sha256_of_bytes(b"abc") == sha256_of_file(tmp_path / "abc") == expected
