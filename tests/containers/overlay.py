"""Building an image's steps without images: `python overlay.py containers/cpu.Dockerfile ENGINE`, as root.

This machine plays the base image: every stage is a layer over its file system that nothing outside sees, COPY copies,
and RUN runs as it stands there, by the registries that this machine reaches. At the end the program is started as the
image's user, and its health is asked as the image does. It says nothing of the base images themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[2]


class Step(NamedTuple):
    """An instruction and its value, with the ARGs before it filled in."""

    name: str
    value: str


def stages(path: Path) -> list[list[Step]]:
    """Return the steps of each stage of a Dockerfile."""
    found: list[list[Step]] = []
    for row in DockerfileParser(fileobj=path.open("rb"), env_replace=False).structure:
        if row["instruction"] == "FROM":
            found.append([])
        if found and row["instruction"] != "COMMENT":
            found[-1].append(Step(row["instruction"], row["value"]))
    return found


class Layer:
    """A stage: a folder over this machine's file system, with its environment."""

    def __init__(self, folder: Path) -> None:
        self.root, self.workdir, self.user = folder / "root", "/", "0"
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
        # Which registries this machine reaches is its own affair.
        self.environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)
        options = f"lowerdir=/,upperdir={folder / 'upper'},workdir={folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        subprocess.run(["mount", "-t", "proc", "proc", self.root / "proc"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.root / "dev"], check=True)
        for name, number in {"null": 3, "zero": 5, "random": 8, "urandom": 9}.items():
            os.mknod(self.root / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, number))
            (self.root / "dev" / name).chmod(0o666)
        (self.root / "dev" / "shm").mkdir(mode=0o777)
        # The base image has a `python` that everybody may run.
        (self.root / "usr/local/bin/python").unlink(missing_ok=True)
        (self.root / "usr/local/bin/python").symlink_to("/usr/bin/python3")

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in the stage."""
        inside = ["chroot", *([f"--userspec={self.user}"] if self.user != "0" else []), self.root, *command]
        return subprocess.Popen(inside, env=self.environment)

    def shell(self, text: str) -> None:
        """Run a line of shell, and leave with its status where it fails."""
        status = self.run("/bin/sh", "-c", f"cd {self.workdir} && {text}").wait()
        if status:
            raise SystemExit(f"RUN {text}: exit status {status}")


def copied(value: str, layer: Layer, before: dict[str, Layer]) -> None:
    """Do what COPY does, from the checkout or from another stage."""
    *sources, target = value.split()
    origin = ROOT
    if sources[0].startswith("--from="):
        origin = before[sources.pop(0).removeprefix("--from=")].root
    folder = (
        layer.root / layer.workdir.lstrip("/") / target.lstrip("/") if target[0] != "/" else layer.root / target[1:]
    )
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)


def build(path: Path, folder: Path) -> tuple[Layer, dict[str, str]]:
    """Do every step; return the last stage, and what its image says of how it is run."""
    before: dict[str, Layer] = {}
    run: dict[str, str] = {}
    layer = Layer(folder / "0")
    for number, steps in enumerate(stages(path)):
        layer, run = (layer if number == 0 else Layer(folder / str(number))), {}
        for name, value in steps:
            print(f"{name} {value}", flush=True)
            if name == "FROM" and " AS " in value:
                before[value.rpartition(" ")[2]] = layer
            elif name == "WORKDIR":
                layer.workdir = value
                (layer.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif name == "COPY":
                copied(value, layer, before)
            elif name == "RUN":
                layer.shell(value)
            elif name == "ENV":
                pairs = (pair.partition("=") for pair in value.split())
                layer.environment |= {key: text.replace("$PATH", layer.environment["PATH"]) for key, _, text in pairs}
            elif name == "USER":
                layer.user = value
            else:
                run[name] = value
    return layer, run


def main(path: Path, engine: Path, folder: Path) -> int:
    """Build, start the live view on synthetic frames, wait until the image's own check finds it healthy; stop it."""
    layer, run = build(path, folder)
    shutil.copytree(engine, layer.root / "engine")
    program = json.loads(run["ENTRYPOINT"])
    layer.shell(" ".join([*program, *json.loads(run["CMD"])]))
    served = layer.run(*program, "serve", "/engine", "--source", "synthetic:7", "--loop", "--output", "/tmp/recordings")
    check = json.loads(run["HEALTHCHECK"].partition("CMD")[2])
    end = time.monotonic() + 120
    while (status := layer.run(*check).wait()) and time.monotonic() < end and served.poll() is None:
        time.sleep(1)
    print(f"HEALTHCHECK: {'healthy' if status == 0 else 'unhealthy'}", flush=True)
    served.send_signal(signal.Signals[run["STOPSIGNAL"]])
    ended = served.wait(30)
    print(f"{run['STOPSIGNAL']}: exit status {ended}")
    return 1 if status or ended else 0


def apart(arguments: list[str]) -> int:
    """Run this program in a mount namespace: its mounts, and all that lies in them, go with it."""
    place = tempfile.mkdtemp()
    try:
        return subprocess.run(["unshare", "--mount", sys.executable, __file__, *arguments, place]).returncode
    finally:
        Path(place).rmdir()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(apart(sys.argv[1:]))
    layers = Path(sys.argv[3])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", layers], check=True)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), layers))
