"""What a program says to the service manager that started it (systemd's sd_notify), over the manager's socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send "READY=1", "WATCHDOG=1", "STOPPING=1", "STATUS=..." or several, a line each; return whether it was sent.

    Nothing is sent, and False returned, where no manager listens (NOTIFY_SOCKET is unset) or it has gone.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            # An @ stands for the zero byte that begins a name outside the file system.
            channel.connect("\0" + address[1:] if address[0] == "@" else address)
            channel.sendall(text.encode())
        except OSError:
            return False
    return True


def watchdog_interval_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return how often "WATCHDOG=1" is due, in seconds: half of what the manager waits for; None where it does not."""
    wanted = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(os.getpid()))
    if not wanted.isdigit() or int(wanted) == 0 or meant != str(os.getpid()):
        return None
    return int(wanted) / 2e6
