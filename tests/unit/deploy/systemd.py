"""A systemd of its own for tests: the manager of a user's services, in a mount namespace with an empty /run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MANAGER = Path("/usr/lib/systemd/systemd")
_START = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" && exec "$0" --user
"""


def why_not() -> str | None:
    """Return why this machine can run no manager for tests, or None."""
    if not MANAGER.is_file() or shutil.which("systemctl") is None:
        return "needs systemd; install the package systemd"
    if os.geteuid() != 0 or shutil.which("nsenter") is None:
        return "needs root, for a mount namespace of its own"
    return None


class Manager:
    """A running manager; `run` runs a program where it finds it."""

    def __init__(self, pid: int, home: Path) -> None:
        self._pid = pid
        self.environment = environment_of(home)

    def run(
        self, command: Sequence[str | Path], *, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program beside the manager; `variables` are added to its environment."""
        inside = ["nsenter", f"--target={self._pid}", "--mount", "--", *map(str, command)]
        done = subprocess.run(
            inside, capture_output=True, text=True, timeout=300, env={**self.environment, **variables}
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Ask the manager."""
        return self.run(["systemctl", "--user", "--no-pager", *arguments], check=check).stdout

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value").strip()

    def wait(self, unit: str, name: str, wanted: str, seconds: float = 90) -> str:
        """Wait until a property begins with a text; return what it is then, or at the end."""
        end = time.monotonic() + seconds
        while not (found := self.property(unit, name)).startswith(wanted) and time.monotonic() < end:
            time.sleep(0.2)
        return found


def environment_of(home: Path) -> dict[str, str]:
    """Return the variables of a user whose home is `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DBUS_", "EDGEFSA_"))}
    return {**kept, "HOME": str(home), "XDG_RUNTIME_DIR": "/run/user/0"}


@contextmanager
def running_manager(home: Path) -> Iterator[Manager | None]:
    """Yield a manager of services for a user with this home, or None where this machine refuses it."""
    command = ["unshare", "--mount", "bash", "-c", _START, str(MANAGER)]
    with (home / "manager.log").open("w") as log:
        process = subprocess.Popen(command, env=environment_of(home), stdout=log, stderr=log)
    manager = Manager(process.pid, home)
    try:
        end = time.monotonic() + 20
        state = ""
        while state not in ("running", "degraded") and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
            state = manager.run(["systemctl", "--user", "is-system-running"], check=False).stdout.strip()
        yield manager if state in ("running", "degraded") else None
    finally:
        manager.run(["systemctl", "--user", "exit"], check=False)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
