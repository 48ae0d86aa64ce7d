"""A board to deploy to: a real sshd of ours on the loopback, with a home folder and a Python of its own."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_SECONDS_TO_START = 20
# What the board does not have: edgefsa itself, and what no board needs.
_NOT_THERE = (
    "edgefsa",
    "__editable__",
    "torch",
    "functorch",
    "pip",
    "setuptools",
    "wheel",
    "_distutils",
    "__pycache__",
)


@dataclass
class LoopbackBoard:
    """The board's host name for ssh, the configuration that knows it, and its home folder."""

    home: Path
    ssh_config: Path
    process: subprocess.Popen[bytes]
    host: str = "board"


def why_no_board() -> str | None:
    """Return why there can be no such board here, or None."""
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    if SSHD is None or missing:
        return f"needs {', '.join(missing or ['sshd'])}: apt install openssh-server"
    return None


def start_board(folder: Path) -> LoopbackBoard:
    """Start sshd with keys and configuration in `folder`; the board's home is `folder`/home."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it when root starts it
    (folder / "home").mkdir()
    port = _free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile {folder}/sshd.pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        # Else the user's own shell would read the startup files of who runs the tests, at every command.
        f'SetEnv "HOME={folder}/home"\nForceCommand {_login(folder)}\n'
    )
    key = (folder / "host.pub").read_text().strip()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "ssh_config").write_text(
        f"Host board\n HostName 127.0.0.1\n Port {port}\n User {pwd.getpwuid(os.getuid()).pw_name}\n"
        f" IdentityFile {folder}/user\n IdentitiesOnly yes\n BatchMode yes\n StrictHostKeyChecking yes\n"
        f" UserKnownHostsFile {folder}/known_hosts\n"
        # What people have for sessions of their own, and a deployment must not take.
        f" RemoteCommand bash\n RequestTTY yes\n LocalForward {port} 127.0.0.1:{port}\n ExitOnForwardFailure yes\n"
        f" ControlMaster auto\n ControlPath {folder}/own\n ControlPersist yes\n"
    )
    assert SSHD is not None
    process = subprocess.Popen([SSHD, "-D", "-E", f"{folder}/sshd.log", "-f", f"{folder}/sshd_config"])
    _wait_for(port, process, folder / "sshd.log")
    return LoopbackBoard(folder / "home", folder / "ssh_config", process)


def _login(folder: Path) -> Path:
    """Write what runs each command on the board, as a login shell does, in its home and with its environment."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    environment = {
        "HOME": folder / "home",
        "PATH": f"{base.parent}:/usr/bin:/bin",
        "PYTHONPATH": _system_packages(folder / "system-packages"),
    }
    exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in environment.items())
    script = folder / "login"
    script.write_text(f'#!/bin/sh\n{exports}cd "$HOME" && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    script.chmod(0o755)
    return script


def _system_packages(folder: Path) -> Path:
    """Link the packages of this Python's environment, as a board has those of its system; nothing is downloaded."""
    folder.mkdir()
    for place in (Path(path) for path in sys.path if Path(path).name == "site-packages"):
        for item in place.iterdir():
            if not item.name.startswith(_NOT_THERE) and item.suffix != ".pth" and not (folder / item.name).exists():
                (folder / item.name).symlink_to(item)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd did not start: {log.read_text() if log.is_file() else ''}")
