"""The web server in a thread of its own, with bounds on what clients can hold."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgefsa.errors import InputError

MAX_CONNECTIONS = 64
# What a program that sends no request, or reads no answer, may hold a connection for.
_REQUEST_TIMEOUT_S = 10.0
_UNREAD_TIMEOUT_MS = 15_000
# The kernel would buffer megabytes for a slow viewer: seconds of old frames.
_SEND_BUFFER = 256 * 1024
_MAX_MESSAGE, _MAX_HEADERS = 1024, 16 * 1024
_STOP_TIMEOUT_S = 5.0


class _Protocol(H11Protocol):
    """HTTP with a bound on open connections, and on the time until the first request."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(_REQUEST_TIMEOUT_S, self._check_request)

    def _check_request(self) -> None:
        if self.scope is None:
            self.transport.abort()


class Server:
    """Serves an ASGI application on a listening socket, from `start` to `stop`."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._listener = listener
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="websockets-sansio",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="warning",  # at others it logs headers, with the token
            access_log=False,
            server_header=False,
            ws_max_size=_MAX_MESSAGE,
            ws_per_message_deflate=False,  # JPEG does not shrink
            h11_max_incomplete_event_size=_MAX_HEADERS,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="edgefsa-serve", daemon=True)

    def start(self) -> None:
        """Start the thread, and return once requests are answered."""
        self._thread.start()
        self._started.wait()
        self.check()

    def stop(self) -> None:
        """End all connections and the thread."""
        self._uvicorn.should_exit = True
        self._thread.join(_STOP_TIMEOUT_S)

    def check(self) -> None:
        """Raise what ended the server, if anything has."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # raised in the thread that asks
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        while not self._uvicorn.started and not serving.done():
            await asyncio.sleep(0.01)
        self._started.set()
        await serving
        for connection in list(self._uvicorn.server_state.connections):
            connection.transport.abort()  # of clients that did not read what was left


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone; InputError where it is no address at all."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise InputError(f"{host} is no address of this machine; use 127.0.0.1, or 0.0.0.0 for all of them") from None
    return all(ipaddress.ip_address(str(item[4][0]).partition("%")[0]).is_loopback for item in found)


def reachable_host(host: str) -> str:
    """Return what others write for `host` in a link: of 0.0.0.0, the address that this machine has in its network."""
    if host not in ("0.0.0.0", "::"):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; it only asks which address such a packet would leave from
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there, with short buffers; InputError where it cannot."""
    if not 0 <= port <= 65535:
        raise InputError(f"port {port} does not exist; give 1 to 65535, or 0 for any that is free")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"cannot serve on {host}:{port}: {reason}; give another --port, or 0 for any free one"
        ) from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: connections of clients that stopped reading end by themselves
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_TIMEOUT_MS)
    return listener
