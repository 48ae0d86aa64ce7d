"""The RTSP server of rtsp_server.py as a process of its own, which tests start, kill and start again."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

# The system's interpreter: GStreamer's bindings are a package of the system.
_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("rtsp_server.py")


@functools.cache
def missing() -> str:
    """Return why there can be no server here, or nothing."""
    code = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        "absent = [name for name in ('x264enc', 'rtph264pay', 'appsrc') if Gst.ElementFactory.find(name) is None];"
        "raise SystemExit(f'no {absent}' if absent else 0)"
    )
    try:
        outcome = subprocess.run([_PYTHON, "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return outcome.stderr.strip().rpartition("\n")[2] if outcome.returncode else ""


class RtspServer:
    """Serves rtsp://127.0.0.1:PORT/street by `with`; `options` are those of rtsp_server.py. Skips the test where
    GStreamer is not installed.
    """

    def __init__(self, *options: str, port: int = 0) -> None:
        if missing():
            pytest.skip(f"needs GStreamer's RTSP server ({missing()}); .ci/packages names what to install")
        self._options, self.port = options, port

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """Where its stream is."""
        return f"rtsp://127.0.0.1:{self.port}/street"

    def start(self) -> None:
        """Start it, at the port that it had, and wait until it listens."""
        command = [_PYTHON, str(_SERVER), "--port", str(self.port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
