"""Who may ask what: host names, origins, the token, rates, and the headers that bind a browser."""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import re
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from edgefsa.errors import InputError

MIN_TOKEN = 16
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d+)?")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
# Requests of one address: so many at once, so many a second on average.
_BURST, _RATE = 60, 20.0
_ADDRESSES_KEPT = 1024


class Access:
    """The token and where it may stand: a cookie of the page, `Authorization: Bearer`, or a password (Basic).

    Without a token everybody is let in. `cookie` is the cookie's name, which differs by port, since cookies do not.
    """

    def __init__(self, token: str | None, port: int) -> None:
        self.token = token
        self.cookie = f"edgefsa_{port}"

    def is_token(self, text: str) -> bool:
        """Compare in constant time."""
        expected = self.token
        return expected is None or secrets.compare_digest(expected.encode(), text.encode("utf-8", "surrogatepass"))

    def granted(self, headers: Headers) -> bool:
        """Return whether a request carries the token."""
        return self.token is None or any(self.is_token(text) for text in self._offered(headers))

    def _offered(self, headers: Headers) -> Iterable[str]:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            yield value.strip()
        elif kind.lower() == "basic":
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                yield base64.b64decode(value, validate=True).decode().partition(":")[2]
        with contextlib.suppress(CookieError):
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
            if morsel is not None:
                yield morsel.value


def check_token(token: str) -> str:
    """Return a token that can stand in a cookie and is long enough not to be guessed; else InputError."""
    plain = token.isascii() and all(letter.isalnum() or letter in "-_.~" for letter in token)
    if len(token) < MIN_TOKEN or not plain:
        raise InputError(
            f"the token has {len(token)} characters; give {MIN_TOKEN} or more of A-Z, a-z, 0-9, - _ . ~, "
            "or none, and one is made"
        )
    return token


class Hosts:
    """The names that this server is called by; any other is a foreign one that was pointed here (DNS rebinding).

    Of a server for this machine alone those are localhost and loopback addresses, of any other one its addresses,
    which no foreign name can be, its host name, and `allowed`.
    """

    def __init__(self, loopback: bool, allowed: Iterable[str]) -> None:
        self._loopback = loopback
        own = {"localhost"} if loopback else {"localhost", *_own_names()}
        self._names = own | {name.lower() for name in allowed}

    def known(self, host: str) -> bool:
        """Return whether a Host header (name or address, with or without port) means this server."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found["name"]
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._loopback or name in self._names

    def same_origin(self, origin: str, host: str) -> bool:
        """Return whether an Origin header names a page of this server."""
        return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, f"{name.partition('.')[0]}.local"}


class Rates:
    """Requests by address: BURST at once, RATE a second. Addresses that were long quiet are forgotten first."""

    def __init__(self, burst: int = _BURST, rate: float = _RATE) -> None:
        self._burst, self._rate = burst, rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Count a request; false where it is one too many."""
        now_s = time.monotonic()
        left, since_s = self._left.pop(address, (float(self._burst), now_s))
        left = min(float(self._burst), left + (now_s - since_s) * self._rate)
        granted = left >= 1  # what is refused takes nothing, so that one who asks on and on is heard at the rate
        self._left[address] = (left - granted, now_s)
        if len(self._left) > _ADDRESSES_KEPT:
            self._left.popitem(last=False)
        return granted


class Guard:
    """ASGI middleware in front of everything: answers what may not pass, and sets the headers of what may.

    `public` are the paths that need no token.
    """

    def __init__(self, app: Any, access: Access, hosts: Hosts, public: frozenset[str]) -> None:
        self._app, self._access, self._hosts, self._public = app, access, hosts, public
        self._rates = Rates()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})  # HTTP 403
            return

        async def send_bound(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, send_bound)

    def _refusal(self, scope: Any) -> JSONResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.known(hosts[0]):
            return _refused(421, "this server has another name; give it with --allow-host")
        origin = headers.get("origin")
        if origin is not None and not self._hosts.same_origin(origin, hosts[0]):
            return _refused(403, "requests from pages of other sites are not answered")
        if not self._rates.take(scope["client"][0] if scope.get("client") else ""):
            return _refused(429, "too many requests; wait a second", {"retry-after": "1"})
        if scope["path"] in self._public or self._access.granted(headers):
            return None
        # The page asks for the token itself; a browser that opens a picture or a stream does when challenged.
        challenge = {} if scope["path"].startswith("/api/") else {"www-authenticate": 'Basic realm="edgefsa"'}
        return _refused(401, "the token is missing or wrong; open the link that the program printed", challenge)


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers)
