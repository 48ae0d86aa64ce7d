"""No credential of an address is shown."""

from __future__ import annotations

import pytest

from edgefsa.media.address import name_of, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://10.0.0.5:554/stream1", "rtsp://10.0.0.5:554/stream1"),
        ("rtsp://admin:hunter2@10.0.0.5/s", "rtsp://***@10.0.0.5/s"),
        ("RTSPS://admin:hunter2@cam.local:322/s", "RTSPS://***@cam.local:322/s"),
        ("rtsp://admin@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hun@ter2@cam/s", "rtsp://***@cam/s"),
        ("rtsp://admin:hun/ter2@cam/s", "rtsp://***@cam/s"),
        ("http://cam/video?user=a&pwd=hunter2", "http://cam/video?***"),
        ("http://a:hunter2@cam/video?x=1#hunter2", "http://***@cam/video?***"),
        ("http://cam/video?next=a@hunter2", "http://cam/video?***"),
        ("rtsp://cam/user=admin_password=hunter2_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
        ("rtsp://[fe80::1]:554/s", "rtsp://[fe80::1]:554/s"),
        (
            "gst:rtspsrc location=rtsp://a:hunter2@cam/s user-pw=hunter2 ! fakesink",
            "gst:rtspsrc location=rtsp://***@cam/s user-pw=*** ! fakesink",
        ),
        ("gst:rtspsrc user-id='hunter2' user-pw=\"hunter2 x\" ! a", "gst:rtspsrc user-id=*** user-pw=*** ! a"),
        ("[Errno 5] failed: 'rtsp://a:hunter2@cam/s' (401)", "[Errno 5] failed: 'rtsp://***@cam/s' (401)"),
        ("rtsp:/a:hunter2@cam/s", "rtsp:/***@cam/s"),
        ("street.mp4", "street.mp4"),
        ("frames/a@2x.png", "frames/a@2x.png"),
    ],
)
def test_credentials_are_hidden_and_the_rest_is_shown(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/s", "10.0.0.5"),
        ("http://cam.local/v?token=hunter2", "cam.local"),
        ("rtsp://[fe80::1]:554/s", "fe80-1"),
        ("http://[/v", "stream"),
        ("rtsp:///s", "stream"),
    ],
)
def test_a_name_for_files_is_the_host(address: str, name: str) -> None:
    assert name_of(address) == name
