"""Viewers: the page's WebSocket and MJPEG streams, each at its own pace, none in another's way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from edgefsa.serve.hub import Form, Hub

MAX_VIEWERS = 16
# How many messages may be under way to a page: one that it paints, one that travels meanwhile. It acknowledges each, so
# no buffer on the way fills with old frames.
WINDOW = 2
# A viewer that takes nothing for so long is gone.
SILENCE_S = 10.0
_BOUNDARY = b"edgefsa-frame"
_TRY_AGAIN, _MISTAKE = 1013, 1008
_CLOSE_S = 1.0


class Crowd:
    """Counts viewers, of which there are at most `limit`."""

    def __init__(self, limit: int = MAX_VIEWERS) -> None:
        self._limit = limit
        self.count = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place until the block ends; yield whether there was one."""
        if self.count >= self._limit:
            yield False
            return
        self.count += 1
        try:
            yield True
        finally:
            self.count -= 1


class LiveView:
    """The page's WebSocket: what does not change, then frames and figures, WINDOW of them under way at most.

    The viewer answers each message with an empty one.
    """

    def __init__(self, hub: Hub, crowd: Crowd, form: Form, hello: Callable[[], dict[str, Any]]) -> None:
        self._hub, self._crowd, self._form, self._hello = hub, crowd, form, hello

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one viewer until it goes."""
        await websocket.accept()
        with self._crowd.place() as granted:
            if not granted:
                await websocket.close(_TRY_AGAIN, "as many viewers as this server takes are here")
                return
            window = asyncio.BoundedSemaphore(WINDOW)
            await _first_of(self._send_all(websocket, window), _take_answers(websocket, window))
        # Where it is the viewer that has gone there is nobody to say it to, or no room to.
        with contextlib.suppress(asyncio.TimeoutError, RuntimeError, WebSocketDisconnect):
            await asyncio.wait_for(websocket.close(_MISTAKE, "messages are answered, each once"), _CLOSE_S)

    async def _send_all(self, websocket: WebSocket, window: asyncio.BoundedSemaphore) -> None:
        view, figures = None, ""
        await window.acquire()
        await websocket.send_text(json.dumps(self._hello()))
        while True:
            await asyncio.wait_for(window.acquire(), SILENCE_S)  # then look what is newest
            newest, newest_figures = await self._hub.next(view, figures)
            if newest is None or newest_figures != figures:
                figures = newest_figures
                sending = websocket.send_text(figures)
            else:
                view = newest
                sending = websocket.send_bytes(await view.encoded(self._form))
            await asyncio.wait_for(sending, SILENCE_S)


async def _take_answers(websocket: WebSocket, window: asyncio.BoundedSemaphore) -> None:
    while (await websocket.receive())["type"] != "websocket.disconnect":
        window.release()  # ValueError for an answer to nothing, which ends the connection


class MjpegStream(Response):
    """Pictures of `form` as they come, in one response without end (multipart/x-mixed-replace)."""

    def __init__(self, hub: Hub, crowd: Crowd, form: Form) -> None:
        super().__init__(media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}")
        del self.headers["content-length"]
        self._hub, self._crowd, self._form = hub, crowd, form

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one viewer until it goes."""
        with self._crowd.place() as granted:
            if granted and scope["method"] == "HEAD":  # the headers alone
                await super().__call__(scope, receive, send)
            elif granted:
                await _first_of(self._send_all(send), _gone(receive))
            else:
                await Response("as many viewers as this server takes are here\n", 503)(scope, receive, send)

    async def _send_all(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        view = None
        while True:
            view, _ = await self._hub.next(view, None)
            if view is not None:
                jpeg = await view.encoded(self._form)
                head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(jpeg))
                part = {"type": "http.response.body", "body": head + jpeg + b"\r\n", "more_body": True}
                await asyncio.wait_for(send(part), SILENCE_S)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them until one ends, however it does, and end the others: a viewer's end is no error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        with contextlib.suppress(WebSocketDisconnect, asyncio.TimeoutError, ValueError, OSError):
            task.result()
