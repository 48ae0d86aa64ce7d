"""Deploying a bundle to a board: its steps, in order, each done once, and going back.

What runs there keeps running: a deployment works in a folder of its own, and the link `current` is moved to it in the
last step, after the engine has passed its check. What a step is on the board is in `onboard.py`; apart from making the
venv and installing the wheel it is a plain `edgefsa` command.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgefsa.artifacts import sha256_of_bytes, sha256_of_file
from edgefsa.deploy.bundle import Bundle, read_bundle
from edgefsa.deploy.ssh import Board
from edgefsa.engines.registry import AUTO, target_of
from edgefsa.errors import DeployError, InputError

Say = Callable[[str], None]
BENCH_SECONDS, KEPT_RELEASES = 60, 3
_OLDEST_PYTHON = (3, 10)
_EDGEFSA = "venv/bin/edgefsa"
# `engine` is a release's link to its engine.
_CHECK = ("verify", "bundle", "--engine", "engine", "--json")
# What converts a graph and proves an engine, beside the runtime itself.
_BUILDING = "onnx"
# The live view, which a board without a screen is looked at by.
_VIEW = "serve"


@dataclass(frozen=True)
class DeployRequest:
    """What to deploy, and how; `edgefsa deploy --help` says what each is.

    `extra` names the extras of edgefsa to install, by the board and the target where None; `plugins` as in `build`.
    `keep` is how many releases stay on the board. `pip_options` go to `pip install` there as they are.
    """

    bundle: Path
    target: str = AUTO
    extra: str | None = None
    plugins: str = "auto"
    allowed_signers: Path | None = None
    bench_seconds: float = BENCH_SECONDS
    keep: int = KEPT_RELEASES
    pip_options: tuple[str, ...] = ()


def deploy(request: DeployRequest, board: Board, *, say: Say = lambda line: None) -> dict[str, Any]:
    """Deploy a bundle to a board that is not connected yet, or go on where an earlier call was interrupted.

    The bundle is checked here first, whole and with its signature, before anything is sent. Returns the report, plain
    values for JSON: "time", "host", "bundle", "board", "doctor", "engine", "check", "bench", "steps", "notes" and
    "release". Raises BundleError, or DeployError with the step, the command and the reason; what was in use on the
    board is in use still.
    """
    if request.target != AUTO:
        target_of(request.target)
    if not request.bundle.is_file():
        raise InputError(f"{request.bundle} is no bundle's file; make one with `edgefsa bundle`")
    sha256 = sha256_of_file(request.bundle)
    bundle = read_bundle(request.bundle, allowed_signers=request.allowed_signers)
    with board:
        return _Deployment(request, board, bundle, sha256, say).run()


def rollback(board: Board, *, say: Say = lambda line: None) -> dict[str, Any]:
    """Put back into use, on a board that is not connected yet, the release that the present one replaced.

    Its engine is held to its golden frames first. Returns {"current", "previous", "left"}: the releases now in use,
    before that one, and left. Raises DeployError where there is none to go back to, or it does not pass.
    """
    with board:
        steps = _Steps(board, say)
        steps.do("connect", f"ssh {board.host}", board.send_script)
        found = steps.do("find", "the release before", lambda: board.call("before"))
        left, earlier = found["current"], found["previous"]
        check = ("again", f"releases/{earlier}", "check", _EDGEFSA, *_CHECK)
        steps.do("check", f"edgefsa {' '.join(_CHECK)}", lambda: board.call(*check))
        result: dict[str, Any] = steps.do(
            "rollback", f"current -> releases/{earlier}", lambda: board.call("rollback", left, earlier)
        )
    return result


@dataclass
class _Steps:
    """Does steps, says so, and notes their times."""

    board: Board
    say: Say
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    def do(self, name: str, shown: str, work: Callable[[], Any]) -> Any:
        """Do a step; a failure names it, and the command that it shows."""
        self.say(f"{name}: {shown}")
        begun = time.monotonic()
        try:
            result = work()
        except DeployError as error:
            raise DeployError(f"step {name} on {self.board.host}: {shown}: {error}") from error
        before = isinstance(result, dict) and result.get("before", False)
        seconds = result["seconds"] if before else round(time.monotonic() - begun, 3)
        self.done[name] = {"seconds": seconds, "before": before}
        self.say(f"{name}: {'done before' if before else f'done in {seconds:.1f} s'}")
        return result


@dataclass
class _Deployment:
    request: DeployRequest
    board: Board
    bundle: Bundle
    sha256: str
    say: Say
    notes: list[str] = field(default_factory=list)
    rebuilt: bool = False

    def __post_init__(self) -> None:
        self.steps = _Steps(self.board, self.say)
        # What another setting makes otherwise is another release, so that the one in use is left alone.
        self.release = f"{self.sha256[:12]}-{_short_hash(self.request.target, self.request.extra, self.board.python)}"

    def run(self) -> dict[str, Any]:
        request = self.request
        facts = self.steps.do("connect", f"ssh {self.board.host}", self._connect)
        self.steps.do("copy", f"{request.bundle.name} to {facts['root']}", lambda: self._copy(facts["has_bundle"]))
        self._install(request.extra or _extras_of(request.target, facts), facts["python"])
        self._edgefsa("unpack", "unpack", "bundle.edgefsa", "-o", "bundle", "--overwrite")
        doctor = json.loads(self._edgefsa("doctor", "doctor", "--json", task="again"))
        self._plugins(doctor)
        engine, check = self._checked_engine()
        place = str(engine["engine"])
        seconds = f"{request.bench_seconds:g}"
        task = "again" if self.rebuilt else "run"
        bench = json.loads(self._edgefsa("bench", "bench", place, "--seconds", seconds, "--json", task=task))
        shown = f"current -> releases/{self.release}"
        releases = self.steps.do("switch", shown, lambda: self.board.call("switch", self.release, place))
        shown = f"all but {request.keep} releases"
        removed = self.steps.do("prune", shown, lambda: self.board.call("prune", str(request.keep)))
        return {
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "host": self.board.host,
            "bundle": {
                "file": request.bundle.name,
                "engine": self.bundle.index.engine,
                "sha256": self.sha256,
                "signed_by": self.bundle.signed_by,
            },
            "board": facts,
            "doctor": doctor,
            "engine": engine,
            "check": check,
            "bench": bench,
            "steps": self.steps.done,
            "notes": self.notes,
            "release": {"directory": facts["root"], **releases, "removed": removed},
        }

    def _connect(self) -> dict[str, Any]:
        self.board.send_script()
        facts: dict[str, Any] = self.board.call("facts", self.release, self.sha256)
        if tuple(int(part) for part in facts["python"].split(".")[:2]) < _OLDEST_PYTHON:
            raise DeployError(
                f"{self.board.python} is {facts['python']}, and edgefsa needs 3.10; give another with --python"
            )
        if not facts["has_venv"]:
            raise DeployError(f"{self.board.python} cannot make a venv; install it: sudo apt install python3-venv")
        return facts

    def _copy(self, is_there: bool) -> Any:
        if is_there:
            return {"before": True, "seconds": 0.0}
        with self.request.bundle.open("rb") as file:
            return self.board.call("receive", self.release, self.sha256, input=file)

    def _install(self, extras: str, version: str) -> None:
        """Make a venv and install the wheel, or take that of a release with the same wheel, extras and Python."""
        wheel, options = self.bundle.index.wheel, self.request.pip_options
        sha256 = str(self.bundle.index.members[wheel]["sha256"])
        venv = _short_hash(sha256, extras, options, self.board.python, version)
        make = (self.board.python, "-m", "venv", "--clear", "--system-site-packages", "venv")
        self._command("venv", *make, folder=f"venvs/{venv}")
        self.steps.do(
            "install",
            f"pip install {wheel}[{extras}]",
            lambda: self.board.call("install", self.release, venv, wheel, sha256, extras, *options),
        )

    def _checked_engine(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Build the engine and check it; one of an earlier deployment that does not pass any more is built again."""
        options = ["--target", self.request.target, "--plugins", self.request.plugins, "-o", "engines", "--overwrite"]
        engine = json.loads(self._edgefsa("engine", "verify", "bundle", *options, "--json"))
        check = ("verify", "bundle", "--engine", str(engine["engine"]), "--json")
        try:
            return engine, json.loads(self._edgefsa("check", *check, task="again"))
        except DeployError as error:
            if not self.steps.done["engine"]["before"]:
                raise
            self._note(f"the engine is built again: {error}")
            self.rebuilt = True
        engine = json.loads(self._edgefsa("engine", "verify", "bundle", *options, "--json", task="again"))
        return engine, json.loads(self._edgefsa("check", *check, task="again"))

    def _edgefsa(self, name: str, *arguments: str, task: str = "run") -> str:
        return self._command(name, _EDGEFSA, *arguments, task=task)

    def _command(self, name: str, *command: str, task: str = "run", folder: str | None = None) -> str:
        """Run a command in a folder there, the release's where None, as a step; return what it printed."""
        shown, place = " ".join(command).replace(_EDGEFSA, "edgefsa"), folder or f"releases/{self.release}"
        return str(self.steps.do(name, shown, lambda: self.board.call(task, place, name, *command))["output"])

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.say(f"note: {text}")

    def _plugins(self, doctor: dict[str, Any]) -> None:
        """Build TensorRT's plugins where the engine may take them and none serves; with "auto" it can do without."""
        usable = doctor["targets"].get("tensorrt", {}).get("builds", False)
        wanted = self.request.target in (AUTO, "tensorrt") and self.request.plugins in ("auto", "library")
        if not (usable and wanted and doctor["plugins"]["why_not"]):
            return
        try:
            self._edgefsa("plugins", "plugins", "--build")
        except DeployError as error:
            if self.request.plugins == "library":
                raise
            self._note(f"without the plugins: {error}")


def _short_hash(*settings: object) -> str:
    return sha256_of_bytes(json.dumps(settings).encode())[:8]


def _extras_of(target: str, facts: dict[str, Any]) -> str:
    """Return the extras that bring a target's runtime, and what builds its engines, to a board."""
    if facts["jetson"] and target in (AUTO, "tensorrt"):
        return f"jetson,{_VIEW}"
    if target == AUTO:
        target = "tensorrt" if facts["nvidia"] else "openvino"
    return f"{target_of(target).extra},{_BUILDING},{_VIEW}"
