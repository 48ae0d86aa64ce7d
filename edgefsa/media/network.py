"""Connections by FFmpeg: time-outs, low latency, and errors without the address's credentials."""

from __future__ import annotations

import errno
from typing import Any

import av

from edgefsa.errors import SourceError
from edgefsa.media.address import redacted

_OPTIONS = {
    "rtsp_transport": "tcp",
    # A server may not lead to files of this machine.
    "protocol_whitelist": "rtsp,rtsps,rtp,udp,tcp,tls,http,https,httpproxy,crypto",
}
# What comes while the stream is looked at is old when that is done, and is left out; half a second (in microseconds) is
# enough, for the decoder finds out the rest.
_LIVE_OPTIONS = {"fflags": "nobuffer", "analyzeduration": "500000"}


def open_address(address: str, open_s: float, silent_s: float, *, live: bool) -> Any:
    """Return an open container (av.container.InputContainer).

    `open_s` and `silent_s` are the longest waits in seconds: for the connection, and for each packet. A `live`
    stream begins with what comes once it is open, a file with its beginning. SourceError where it cannot be opened.
    """
    options = _OPTIONS | (_LIVE_OPTIONS if live else {})
    try:
        return av.open(address, options=options, timeout=(open_s, silent_s))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = reason_of(error, open_s)
    # Raised here, the error brings none of FFmpeg's along, whose text holds the address.
    raise SourceError(f"{redacted(address)} cannot be opened: {reason}; check the address, and that it is up")


def reason_of(error: Exception, timeout_s: float) -> str:
    """Return what is wrong in a few words."""
    if isinstance(error, av.error.ExitError):
        return f"nothing came for {timeout_s:g} s"
    if isinstance(error, av.error.InvalidDataError):
        return "what it sends is no video"
    if isinstance(error, EOFError) or getattr(error, "errno", None) == errno.EIO:
        return "the connection broke off"
    return redacted((getattr(error, "strerror", None) or type(error).__name__).lower())
