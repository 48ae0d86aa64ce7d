"""What `edgefsa deploy` runs on the board: this file, by the board's own Python and its standard library alone.

It is copied to ROOT/deploy.py, and every call is `python3 ROOT/deploy.py TASK ...`. Each prints one line of JSON:
{"ok": ...}, or {"failed": why}. A step that is done leaves a mark, so that it is not done again; a lock keeps two
deployments apart, and one that was cut off is waited for.

    ROOT/releases/ID/   bundle.edgefsa, bundle/, venv, engines/, engine, logs/, done/, replaced
    ROOT/venvs/ID/      venv/, logs/, done/: what releases of the same wheel and extras share
    ROOT/current        a link to the release that is in use
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

ROOT = Path(__file__).resolve().parent
RELEASES, VENVS, CURRENT = ROOT / "releases", ROOT / "venvs", ROOT / "current"
BUNDLE = "bundle.edgefsa"
LITTLE = 1 << 20
# Whose version is the system's, wherever it has one: JetPack's modules are built against each other.
KEPT = ("numpy", "torch", "torchvision", "tensorrt", "opencv-python", "opencv-python-headless", "opencv-contrib-python")
KEPT_MODULES = ("numpy", "torch", "torchvision", "tensorrt", "cv2")


def fail(reason: str) -> NoReturn:
    """Print why the task failed, in one line, and leave."""
    print(json.dumps({"failed": " ".join(reason.split())}), flush=True)
    sys.exit(1)


def facts(release: str, sha256: str) -> dict[str, Any]:
    """Return what the deployment needs to know before it begins."""
    return {
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "system": platform.platform(),
        "root": str(ROOT),
        "free_bytes": shutil.disk_usage(ROOT).free,
        "has_venv": importlib.util.find_spec("ensurepip") is not None,
        "jetson": is_jetson(),
        "nvidia": Path("/dev/nvidiactl").exists(),
        "current": current(),
        "has_bundle": is_file_of(RELEASES / release / BUNDLE, sha256),
    }


def is_jetson() -> bool:
    """Return whether this is a Jetson, by what Jetson Linux says, or the board itself (in a container)."""
    model = Path("/proc/device-tree/model")
    return Path("/etc/nv_tegra_release").is_file() or (model.is_file() and b"Jetson" in model.read_bytes())


def current() -> str | None:
    """Return the release in use, or None."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else None


def is_file_of(path: Path, sha256: str) -> bool:
    """Return whether a file is there and has this hash."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return copy(file) == sha256


def copy(source: BinaryIO | Any, output: BinaryIO | None = None) -> str:
    """Copy what `source` has to `output`, and return its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(1 << 20):
        digest.update(chunk)
        if output is not None:
            output.write(chunk)
    return digest.hexdigest()


def receive(release: str, sha256: str) -> str:
    """Store the bundle that standard input brings."""
    path = RELEASES / release / BUNDLE
    path.parent.mkdir(parents=True, exist_ok=True)
    store(path, sys.stdin.buffer, sha256)
    return str(path)


def store(path: Path, source: BinaryIO | Any, sha256: str) -> None:
    """Write a file that appears whole, with the hash that it must have, or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            found = copy(source, file)
            file.flush()
            os.fsync(file.fileno())
        if found != sha256:
            fail(f"{path.name} did not arrive whole")
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def run(folder: str, step: str, *command: str) -> dict[str, Any]:
    """Run a command in a folder of ROOT, once; return its standard output."""
    return once(ROOT / folder, step, command, lambda: execute(ROOT / folder, step, command))


def again(folder: str, step: str, *command: str) -> dict[str, Any]:
    """Run a command as `run` does, whether it was run before or not."""
    return {"output": execute(ROOT / folder, step, command)}


def once(folder: Path, step: str, what: Sequence[str], work: Callable[[], str]) -> dict[str, Any]:
    """Do `work` unless the mark of `step` says that the very same was done; return {"output", "seconds", "before"}."""
    mark = folder / "done" / (step + ".json")
    with contextlib.suppress(OSError, ValueError):
        done = json.loads(mark.read_text())
        if done["what"] == list(what):
            return {**done, "before": True}
    begun = time.monotonic()
    output = work()
    done = {"what": list(what), "output": output, "seconds": round(time.monotonic() - begun, 3)}
    mark.parent.mkdir(exist_ok=True)
    partial = mark.with_suffix(".partial")
    partial.write_text(json.dumps(done))
    os.sync()  # boards lose their power: what a mark says is on the disk before the mark is
    partial.replace(mark)
    return {**done, "before": False}


def execute(folder: Path, step: str, command: Sequence[str]) -> str:
    """Run a command in a folder, keep what it prints in `logs`, and return its standard output."""
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    output, errors = logs / (step + ".out"), logs / (step + ".err")
    with output.open("wb") as out, errors.open("wb") as err:
        try:
            status = subprocess.call(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except FileNotFoundError:
            fail(f"{command[0]} is not there")
    if status != 0:
        # On a full disk not even the error could be written down.
        full = "; no space left on device, free some there" if shutil.disk_usage(folder).free < LITTLE else ""
        fail(f"exit status {status}: {telling_line(errors, output)}{full}")
    return output.read_text(errors="replace")


def telling_line(*files: Path) -> str:
    """Return the last line that names an error, else the last line."""
    lines = [line.strip() for file in files for line in file.read_text(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    named = [line for line in lines if "No space left" in line or line.lower().startswith("error:")]
    return (named or lines or ["it printed nothing"])[-1][:500]


def install(release: str, venv: str, wheel: str, sha256: str, extras: str, *options: str) -> dict[str, Any]:
    """Install the bundle's wheel into a venv, and nothing in place of the system's packages; let the release use it."""
    folder = VENVS / venv

    def work() -> str:
        with zipfile.ZipFile(RELEASES / release / BUNDLE) as archive, archive.open(wheel) as source:
            store(folder / wheel, source, sha256)
        kept = {name: version for name, version in versions().items() if version}
        constraints = folder / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
        pip = ["venv/bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        execute(folder, "install", [*pip, "-c", constraints.name, *options, f"./{wheel}[{extras}]"])
        check_kept(folder)
        return json.dumps({"kept": kept})

    done = once(folder, "install", [wheel, sha256, extras, *options], work)
    point(RELEASES / release / "venv", f"../../venvs/{venv}/venv")
    return done


def versions() -> dict[str, str | None]:
    """Return the version of each package that is kept, None where the system has none."""
    found: dict[str, str | None] = {}
    for name in KEPT:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def check_kept(folder: Path) -> None:
    """Fail where pip put a package over one that the system has; JetPack's cv2 is none that pip knows of."""
    site = next(iter(folder.glob("venv/lib/python*/site-packages")))
    for module in KEPT_MODULES:
        if (site / module).exists() and importlib.util.find_spec(module) is not None:
            fail(f"pip installed {module} over the system's; give an --extra that does not bring it")


def switch(release: str, engine: str) -> dict[str, Any]:
    """Let `current` lead to a release whose steps are done, in one move; remember which one it replaced."""
    folder, before = RELEASES / release, current()
    point(folder / "engine", engine)
    if before != release:
        (folder / "replaced.partial").write_text(before or "")
        (folder / "replaced.partial").replace(folder / "replaced")
        point(CURRENT, f"releases/{release}")
    return {"current": release, "previous": replaced(release)}


def point(link: Path, place: str) -> None:
    """Make or change a symbolic link in one move."""
    new = link.with_name(link.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(place)
    new.replace(link)


def replaced(release: str) -> str | None:
    """Return which release `release` took the place of, where that is still here."""
    with contextlib.suppress(OSError):
        before = (RELEASES / release / "replaced").read_text().strip()
        if before and (RELEASES / before / "engine").exists():
            return before
    return None


def before() -> dict[str, Any]:
    """Return the release in use, and the one to go back to."""
    here = current()
    if here is None:
        fail("no release is in use there")
    earlier = replaced(here)
    if earlier is None:
        fail(f"there is no release before {here}")
    return {"current": here, "previous": earlier}


def rollback(left: str, earlier: str) -> dict[str, Any]:
    """Let `current` lead to `earlier` again, as `before` has named the two."""
    if current() != left:
        fail(f"the release in use is not {left} any more; run it again")
    point(CURRENT, f"releases/{earlier}")
    return {"current": earlier, "previous": replaced(earlier), "left": left}


def prune(keep: str) -> list[str]:
    """Remove the oldest releases but `keep`, and venvs that no release uses; return the releases that are gone.

    What is in use stays, the release to go back to, and what a running program was started from.
    """
    here = current()
    needed = {here, replaced(here) if here else None}
    newest = sorted(RELEASES.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
    spare = [folder for folder in newest if folder.name not in needed]
    removed = [folder for folder in spare[max(0, int(keep) - len(needed - {None})) :] if not is_running(folder)]
    for folder in removed:
        shutil.rmtree(folder)
    used = {(folder / "venv").resolve().parent for folder in RELEASES.iterdir()}
    for folder in VENVS.iterdir() if VENVS.is_dir() else ():
        if folder not in used and not is_running(folder):
            shutil.rmtree(folder)
    return [folder.name for folder in removed]


def is_running(folder: Path) -> bool:
    """Return whether the command line of a process names something in a folder."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in process.read_bytes():
                return True
    return False


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other deployment is at work here."""
    with (ROOT / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another deployment, which is at work there", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


TASKS: dict[str, Callable[..., Any]] = {
    task.__name__: task for task in (facts, receive, run, again, install, switch, before, rollback, prune)
}


def main() -> None:
    """Do the task that the arguments name."""
    try:
        with alone():
            result = TASKS[sys.argv[1]](*sys.argv[2:])
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "; free space there and run it again" if full else ""
        fail(f"{error.filename or ROOT}: {(error.strerror or str(error)).lower()}{remedy}")
    print(json.dumps({"ok": result}), flush=True)


if __name__ == "__main__":
    main()
