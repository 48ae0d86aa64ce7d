"""The addresses of the live view, and what each answers (docs/serve.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from edgefsa.errors import EdgeFsaError, InputError
from edgefsa.serve.encoding import Encoder
from edgefsa.serve.hub import Form, Hub
from edgefsa.serve.metrics import Metrics
from edgefsa.serve.recordings import Recordings
from edgefsa.serve.security import Access, Guard, Hosts
from edgefsa.serve.status import figures, hello
from edgefsa.serve.viewers import Crowd, LiveView, MjpegStream

if TYPE_CHECKING:
    from edgefsa.segment.run import Run

_PAGE = {
    "/": ("live.html", "text/html"),
    "/live.css": ("live.css", "text/css"),
    "/live.js": ("live.js", "text/javascript"),
    "/painter.js": ("painter.js", "text/javascript"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# Without a token: the page itself, which holds nothing, the place to bring the token to, and the health of the run.
PUBLIC = frozenset((*_PAGE, "/api/session", "/healthz"))
_MAX_BODY = 4096
_BODY_TIMEOUT_S = 5.0
_FIGURES_S = 1.0
_COOKIE_S = 30 * 24 * 3600


@dataclass(frozen=True)
class Shown:
    """What the server shows of a run; `stale_s` is how long without a frame counts as ill.

    `link_note` is the note with the link, which is not for viewers.
    """

    run: Run
    hub: Hub
    encoder: Encoder
    recordings: Recordings | None
    stale_s: float
    link_note: str = ""


def live_app(shown: Shown, access: Access, hosts: Hosts) -> Guard:
    """Return the ASGI application, guarded."""
    live = _Live(shown, access)
    routes = [
        *(Route(path, _page(*source)) for path, source in _PAGE.items()),
        Route("/api/session", live.open_session, methods=["POST"]),
        Route("/api/figures", live.figures),
        Route("/api/pause", live.pause, methods=["POST"]),
        Route("/api/engine", live.switch_engine, methods=["POST"]),
        Route("/api/recording", live.record, methods=["POST"]),
        Route("/recordings/{clip}.mp4", live.recording),
        Route("/stream.mjpg", live.stream),
        Route("/snapshot.jpg", live.snapshot),
        Route("/frame.jpg", live.frame),
        Route("/mask.png", live.mask),
        Route("/metrics", live.metrics),
        Route("/healthz", live.health),
        WebSocketRoute("/api/live", live.view.serve),
    ]
    app = Starlette(routes=routes, lifespan=live.lifespan, exception_handlers={EdgeFsaError: _refused})
    return Guard(app, access, hosts, PUBLIC)


class _Live:
    def __init__(self, shown: Shown, access: Access) -> None:
        self._shown, self._access = shown, access
        self._crowd = Crowd()
        self._metrics = Metrics(shown.run, self._crowd)
        self.view = LiveView(shown.hub, self._crowd, shown.encoder.message, self._hello)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Keep the figures fresh while the server runs."""
        self._shown.hub.open()
        refreshing = asyncio.create_task(self._refresh_figures())
        yield
        refreshing.cancel()
        self._shown.hub.close()

    async def _refresh_figures(self) -> None:
        while True:
            if self._crowd.count:
                self._shown.hub.set_figures(json.dumps(self._figures()))
            await asyncio.sleep(_FIGURES_S)

    def _hello(self) -> dict[str, Any]:
        return {**hello(self._shown.run), "records": self._shown.recordings is not None, "figures": self._figures()}

    def _figures(self) -> dict[str, Any]:
        shown = self._shown
        return {
            **figures(shown.run, shown.link_note),
            "frame_age_s": shown.hub.frame_age_s,
            "viewers": self._crowd.count,
            "recording": shown.recordings.state() if shown.recordings is not None else None,
        }

    def _changed(self) -> JSONResponse:
        current = self._figures()
        self._shown.hub.set_figures(json.dumps(current))
        return JSONResponse(current)

    async def open_session(self, request: Request) -> Response:
        """Move the token into a cookie that no script reads and no other site makes a browser send."""
        if not self._access.is_token(await _field(request, "token", str)):
            return JSONResponse({"error": "this is not the token"}, 401)
        response = Response(status_code=204)
        response.set_cookie(
            *(self._access.cookie, self._access.token or ""),
            max_age=_COOKIE_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def figures(self, request: Request) -> Response:
        """Answer with the figures that the page shows."""
        return JSONResponse(self._figures())

    async def pause(self, request: Request) -> Response:
        """Hold the run, or let it go on."""
        self._shown.run.pause(await _field(request, "paused", bool))
        return self._changed()

    async def switch_engine(self, request: Request) -> Response:
        """Send the next frames to another engine."""
        self._shown.run.switch_engine(await _field(request, "engine", str))
        return self._changed()

    async def record(self, request: Request) -> Response:
        """Begin a clip, or complete it."""
        wanted = await _field(request, "recording", bool)
        recordings = self._shown.recordings
        if recordings is None:
            raise InputError("there is no place for recordings; start with a folder for them")
        if wanted:
            await run_in_threadpool(recordings.start, self._shown.run)
        else:
            await run_in_threadpool(recordings.stop)
        return self._changed()

    async def recording(self, request: Request) -> Response:
        """Send a clip, or a part of it."""
        recordings = self._shown.recordings
        clip = recordings.find(request.path_params["clip"]) if recordings is not None else None
        if clip is None or not clip.path.is_file():
            return JSONResponse({"error": "there is no such recording"}, 404)
        kind = "attachment" if "download" in request.query_params else "inline"
        return FileResponse(clip.path, media_type="video/mp4", filename=clip.path.name, content_disposition_type=kind)

    async def stream(self, request: Request) -> Response:
        """Stream overlays to programs that show MJPEG."""
        return MjpegStream(self._shown.hub, self._crowd, self._shown.encoder.overlay_jpeg)

    async def snapshot(self, request: Request) -> Response:
        """Send the newest frame with its mask over it."""
        return await self._newest(self._shown.encoder.overlay_jpeg, "image/jpeg")

    async def frame(self, request: Request) -> Response:
        """Send the newest frame as it was segmented."""
        return await self._newest(self._shown.encoder.frame_jpeg, "image/jpeg")

    async def mask(self, request: Request) -> Response:
        """Send the newest mask as an indexed PNG."""
        return await self._newest(self._shown.encoder.mask_png, "image/png")

    async def _newest(self, form: Form, media_type: str) -> Response:
        view = self._shown.hub.latest()
        if view is None:
            return JSONResponse({"error": "no frame has come yet"}, 503)
        return Response(await view.encoded(form), media_type=media_type)

    async def metrics(self, request: Request) -> Response:
        """Answer Prometheus."""
        return Response(self._metrics.text(), media_type=self._metrics.media_type)

    async def health(self, request: Request) -> Response:
        """Answer 200 while frames come or the run is paused by a viewer, 503 with a reason otherwise."""
        age_s, run = self._shown.hub.frame_age_s, self._shown.run
        if run.paused:
            return JSONResponse({"status": "paused"})
        if age_s is not None and age_s <= self._shown.stale_s:
            return JSONResponse({"status": "ok", "frame_age_s": round(age_s, 3)})
        reason = "no frame has come yet" if age_s is None else f"no frame for {age_s:.1f} s"
        return JSONResponse({"status": "stale", "reason": reason}, 503)


def _page(name: str, media_type: str) -> Any:
    data = files("edgefsa.serve").joinpath("page").joinpath(name).read_bytes()

    async def page(request: Request) -> Response:
        return Response(data, media_type=media_type)

    return page


async def _field(request: Request, name: str, kind: type[Any]) -> Any:
    """Return a field of a small JSON body; InputError for anything else."""
    body = b""
    with contextlib.suppress(asyncio.TimeoutError):
        body = await asyncio.wait_for(_body(request), _BODY_TIMEOUT_S)
    # A page of another site cannot send this type without asking first.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        with contextlib.suppress(ValueError):
            value = json.loads(body)
            if isinstance(value, dict) and type(value.get(name)) is kind:
                return value[name]
    raise InputError(f'send {{"{name}": ...}} as application/json, a {_KINDS[kind]}, of at most {_MAX_BODY} bytes')


_KINDS = {str: "text", bool: "true or false"}


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            return b""
    return body


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)
