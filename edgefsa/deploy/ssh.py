"""A board over the system's ssh, with the user's own configuration, keys and agent; one connection for all commands."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from edgefsa.errors import DeployError, InputError

SCRIPT = Path(__file__).with_name("onboard.py")
SCRIPT_NAME = "deploy.py"
# A host name, an address or an alias of ~/.ssh/config. What begins with "-" would be an option of ssh.
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_\[:][A-Za-z0-9._:%\[\]-]*")
_READY = "edgefsa-ready"
# What a user's configuration may say for sessions of their own and not for ours; a board that has gone away is noticed
# within a minute.
_OPTIONS = ("RemoteCommand=none", "ClearAllForwardings=yes", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_STORE = 'mkdir -p -- "$1" && cat > "$1/$2.new" && mv -- "$1/$2.new" "$1/$2"'
_SECONDS_TO_END = 5
_CONNECTION_LOST = 255  # the exit status of ssh itself

Say = Callable[[str], None]


def check_host(host: str) -> str:
    """Return `host` where it is user@host, host or an alias of ssh's configuration; InputError for anything else."""
    if _HOST.fullmatch(host) is None:
        raise InputError(f"{host!r} is no host; give user@host, or a name of ~/.ssh/config")
    return host


class Board:
    """A board that commands are run on, connected by `with`.

    `directory` is the deployments' folder there, absolute or from the home folder; `python` runs the script that is
    copied into it. ssh may ask at the terminal for a password or a host's key, once. `say` gets what the board's
    commands print on standard error. Raises DeployError where the board cannot be reached, or a command fails.
    """

    def __init__(
        self,
        host: str,
        *,
        directory: str = "edgefsa-board",
        python: str = "python3",
        ssh_config: str | Path | None = None,
        say: Say = lambda line: None,
    ) -> None:
        self.host = check_host(host)
        if not directory or not directory.isprintable():
            raise InputError(f"{directory!r} is no folder; give a path on the board")
        self.directory = directory if directory.startswith("/") else f"./{directory}"
        self.python = python
        self._config = () if ssh_config is None else ("-F", str(ssh_config))
        self._say = say
        self._stack = contextlib.ExitStack()
        self._socket = ""

    def __enter__(self) -> Board:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgefsa-")))
            self._socket = str(folder / "ssh")
            self._connect(stack, folder / "errors")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send_script(self) -> None:
        """Copy the script that `call` runs to the board, and make the deployments' folder."""
        self._run(["sh", "-c", _STORE, "sh", self.directory, SCRIPT_NAME], input=SCRIPT.read_bytes())

    def call(self, task: str, *arguments: str, input: IO[bytes] | None = None) -> Any:
        """Run a task of the script on the board (`onboard.TASKS`) and return its result."""
        command = [self.python, f"{self.directory}/{SCRIPT_NAME}", task, *arguments]
        # A login shell may print words of its own before.
        *_, line = ["", *self._run(command, input=input, fails=True).splitlines()]
        try:
            answer = json.loads(line)
        except ValueError:
            raise DeployError(f"{task} on {self.host}: {self.python} answered {line[:200]!r}") from None
        if "failed" in answer:
            raise DeployError(str(answer["failed"]))
        return answer["ok"]

    def _connect(self, stack: contextlib.ExitStack, log: Path) -> None:
        """Open the connection that all commands share. It ends with this process, whose pipe `cat` reads."""
        command, pipe = self._ssh(f"echo {_READY}; exec cat", master=True), subprocess.PIPE
        with log.open("w") as errors:
            try:
                master = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
            except FileNotFoundError:
                raise InputError("deploying needs ssh, which is not here; install OpenSSH's client") from None
        stack.callback(_end, master)
        assert master.stdout is not None
        if not any(line.strip() == _READY for line in master.stdout):
            reason = _last_line(log.read_text(errors="replace"))
            raise DeployError(f"cannot reach {self.host}: {reason}; check with: ssh {self.host} true")

    def _ssh(self, command: str, *, master: bool = False) -> list[str]:
        shared = (f"ControlPath={self._socket}", f"ControlMaster={'yes' if master else 'no'}", "ControlPersist=no")
        options = [word for option in (*shared, *_OPTIONS) for word in ("-o", option)]
        return ["ssh", *self._config, "-T", *options, "--", self.host, command]

    def _run(self, command: Sequence[str], *, input: bytes | IO[bytes] | None = None, fails: bool = False) -> str:
        """Run a command on the board and return what it prints; with `fails` its own failure is no error here."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as source:
            if isinstance(input, bytes):
                source.write(input)
                source.seek(0)
            process = subprocess.Popen(
                self._ssh(shlex.join(command)),
                stdin=source if input is None or isinstance(input, bytes) else input,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            last = ""
            with process:
                assert process.stderr is not None
                for line in process.stderr:
                    last = line.strip() or last
                    self._say(line.rstrip())
            if process.returncode == _CONNECTION_LOST:
                raise DeployError(
                    f"the connection to {self.host} was lost ({last or 'ssh says nothing'}); run the same command "
                    "again, it goes on where it was"
                )
            if process.returncode != 0 and not (fails and process.returncode == 1):
                raise DeployError(f"{command[0]} on {self.host}: {last or f'exit status {process.returncode}'}")
            output.seek(0)
            return output.read().decode(errors="replace")


def _end(master: subprocess.Popen[str]) -> None:
    for pipe in (master.stdin, master.stdout):
        assert pipe is not None
        pipe.close()
    try:
        master.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:  # the network is gone
        master.kill()
        master.wait()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh says nothing"
