"""An RTSP server (GStreamer's) of numbered frames, run by the system's Python, which has GStreamer's bindings.

Prints its port once it listens. The stream is H.264 at 25 frames a second, with a key frame in every 25.
"""

from __future__ import annotations

import argparse

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")

from bars import i420  # noqa: E402
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

FPS = 25


class Factory(GstRtspServer.RTSPMediaFactory):
    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__()
        self.options = options
        self.set_shared(True)

    def do_create_element(self, url):
        source = "appsrc name=numbers is-live=true format=time"
        encoder = f"x264enc {self.options.encoder} key-int-max={FPS} bitrate=800"
        return Gst.parse_launch(f"( {source} ! {encoder} ! rtph264pay name=pay0 pt=96 config-interval=-1 )")

    def do_configure(self, media) -> None:
        self.count = 0
        source = media.get_element().get_child_by_name("numbers")
        source.set_property("caps", self.caps(*self.options.size))
        source.connect("need-data", self.push)

    def caps(self, width: int, height: int):
        return Gst.Caps.from_string(
            f"video/x-raw,format=I420,width={width},height={height},framerate={FPS}/1,colorimetry=bt601"
        )

    def push(self, source, _length) -> None:
        options = self.options
        width, height = options.size
        if options.resize_after and self.count >= options.resize_after:
            width, height = width // 2, height // 2
            if self.count == options.resize_after:
                source.set_property("caps", self.caps(width, height))
        if options.end_after and self.count >= options.end_after:
            source.emit("end-of-stream")
            return
        buffer = Gst.Buffer.new_wrapped(i420(self.count, width, height))
        buffer.duration = Gst.SECOND // FPS
        buffer.pts = buffer.dts = self.count * buffer.duration
        self.count += 1
        source.emit("push-buffer", buffer)


def protect(server, factory, user: str, password: str) -> None:
    """Let in only who names user and password (basic authentication)."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(160, 96))
    parser.add_argument("--encoder", default="tune=zerolatency speed-preset=ultrafast")
    parser.add_argument("--resize-after", type=int, default=0)
    parser.add_argument("--end-after", type=int, default=0)
    parser.add_argument("--user", help="USER:PASSWORD")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = Factory(options)
    server.get_mount_points().add_factory("/street", factory)
    if options.user:
        protect(server, factory, *options.user.split(":"))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
