"""The sink that shows a run in browsers."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.errors import EdgeFsaError, InputError
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.sinks import Sink
from edgefsa.serve.hub import Hub

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame
    from edgefsa.serve.recordings import Recordings
    from edgefsa.serve.server import Server

DEFAULT_PORT = 8080
VIEW_SIZE = 1280
MAX_FPS = 30.0
STALE_S = 5.0


class ServeSink(Sink):
    """Serves a live view in the browser at `host`:`port` (0: any free one) while the run goes on.

    On a loopback address everybody on this machine may look and control the run. On any other, or with `allow_hosts`
    (names that a reverse proxy is reached by), a token is needed: `token`, or one that is made and stands in the link
    that the run notes. Viewers may record clips to the folder `recordings`, where there is one. Pictures are at most
    `view_size` pixels wide and high, and come `max_fps` times a second at most; `stale_s` is after how many
    seconds without a frame /healthz says so. docs/serve.md says the rest.

    Raises InputError where the address cannot be served or the packages are missing ([serve]).
    """

    name = "serve"
    every_frame = False

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        token: str | None = None,
        recordings: str | Path | None = None,
        allow_hosts: Iterable[str] = (),
        view_size: int = VIEW_SIZE,
        max_fps: float = MAX_FPS,
        stale_s: float = STALE_S,
        style: OverlayStyle | None = None,
    ) -> None:
        super().__init__(style)
        for name, value in (("view size", view_size), ("rate of views", max_fps), ("limit without frames", stale_s)):
            if not 0 < value < float("inf"):
                raise InputError(f"the {name} is {value}; give more than 0")
        try:
            from edgefsa.serve import security, server
        except ImportError as error:
            raise InputError(
                f"the live view needs {error.name}; install it with `pip install 'edgefsa[serve]'`"
            ) from None
        self._host, self._port, self._allow_hosts = host, port, tuple(allow_hosts)
        self._loopback = server.is_loopback(host)
        self._token, self._made = None if token is None else security.check_token(token), False
        if self._token is None and (self._allow_hosts or not self._loopback):
            self._token, self._made = secrets.token_urlsafe(32), True
        self._clips_folder = None if recordings is None else Path(recordings)
        self._view_size, self._stale_s = view_size, stale_s
        self._hub = Hub(max_fps)
        self._recordings: Recordings | None = None
        self._run: Run | None = None
        self._listener: socket.socket | None = None
        self._server: Server | None = None

    def __enter__(self) -> ServeSink:
        from edgefsa.serve.server import listening

        self._listener = listening(self._host, self._port)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._server is not None:
            self._server.stop()
        if self._listener is not None:
            self._listener.close()
        if self._recordings is not None:
            self._complete(self._recordings)

    @property
    def port(self) -> int:
        """The port that is bound; 0 before `with`."""
        return int(self._listener.getsockname()[1]) if self._listener is not None else 0

    @property
    def link(self) -> str:
        """The page's address; of a token that was made, with the token where no server and no log sees it."""
        from edgefsa.serve.server import reachable_host

        return f"http://{reachable_host(self._host)}:{self.port}/" + (f"#token={self._token}" if self._made else "")

    def start(self, run: Run) -> None:
        """Start the server, and note its link."""
        from edgefsa.serve.app import Shown, live_app
        from edgefsa.serve.encoding import Encoder
        from edgefsa.serve.recordings import Recordings
        from edgefsa.serve.security import Access, Hosts
        from edgefsa.serve.server import Server

        assert self._listener is not None, "a sink is entered before the run"
        if self._clips_folder is not None:
            self._recordings = Recordings(self._clips_folder, self.style)
        note = f"live view: {self.link}"
        encoder = Encoder(run, self._view_size, self.style)
        shown = Shown(run, self._hub, encoder, self._recordings, self._stale_s, note)
        app = live_app(shown, Access(self._token, self.port), Hosts(self._loopback, self._allow_hosts))
        self._run, self._server = run, Server(app, self._listener)
        self._server.start()
        run.note(note)

    def write(self, frame: SegmentedFrame) -> None:
        """Show a frame, and record it where a viewer asked for that."""
        self._hub.publish(frame)
        if self._recordings is not None:
            try:
                self._recordings.write(frame)
            except EdgeFsaError as error:  # a full disk ends the clip, not the run
                self._recordings.fail()
                self._note(f"the recording is lost: {error}")

    def poll(self) -> None:
        """Raise what ended the server, if anything has."""
        if self._server is not None:
            self._server.check()

    def _complete(self, recordings: Recordings) -> None:
        try:
            recordings.stop()
        except EdgeFsaError as error:
            self._note(f"the recording is lost: {error}")
        self.outputs += recordings.written

    def _note(self, text: str) -> None:
        if self._run is not None:
            self._run.note(text)
