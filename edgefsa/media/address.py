"""Addresses of streams: what of them may be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HIDDEN = "***"

# A password may hold an unescaped @ or /: all up to the last @ is hidden, a host with it rather than half a password.
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*:/+)[^\s'\"<>?#]*@", re.IGNORECASE)
_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s'\"<>?#]*)[?#][^\s'\"<>]*", re.IGNORECASE)
# In paths (/user=admin_password=1234_channel=1.sdp) and in the text of GStreamer pipelines (user-pw=1234).
_SECRET = re.compile(
    r"(\b|_)((?:user|login|pass|pw|token|key|secret|auth|sig)[a-z0-9-]*=)(\"[^\"]*\"|'[^']*'|[^\s_&/;'\"]+)",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return a text (an address, or a message that holds some) without the credentials of its addresses.

    User and password, the whole query and the fragment are hidden, and what follows `password=`, `token=` and the like.
    """
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1?{HIDDEN}", text)
    return _SECRET.sub(rf"\1\2{HIDDEN}", text)


def name_of(address: str) -> str:
    """Return a name for files made from an address: its host, in letters that every file system takes."""
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    return re.sub(r"[^A-Za-z0-9.-]+", "-", host or "stream").strip("-.") or "stream"
