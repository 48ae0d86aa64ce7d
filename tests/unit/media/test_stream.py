"""Streams: what a slow decoder leaves out, and that no frame is made up from damaged ones."""

from __future__ import annotations

import time
from collections import deque
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from edgefsa.media.stream import BACKLOG_S, Arrival, Backlog, StreamDecoder
from tests.servers.bars import i420, number_of
from tests.unit.media.clips import encoder

SIZE = (160, 96)
GOP = 10


def arrivals(keys: str, every_s: float, begin: int = 0) -> list[Arrival]:
    """Packets at a rate, "k" a key frame and "." one that needs those before it; their number is their size."""
    return [
        Arrival(SimpleNamespace(is_keyframe=key == "k", number=begin + place), round((begin + place) * every_s * 1e9))
        for place, key in enumerate(keys)
    ]


def kept(backlog: Backlog, queue: deque[Arrival], added: list[Arrival]) -> list[int]:
    for arrival in added:
        queue.append(arrival)
        backlog(queue)
    return [arrival.packet.number for arrival in queue]


def test_what_is_decoded_in_time_stays_whole() -> None:
    backlog = Backlog()
    every_s = BACKLOG_S / 10
    assert kept(backlog, deque(), arrivals("k..k.......", every_s)) == list(range(11))
    assert backlog.dropped == 0


def test_a_decoder_that_is_behind_goes_on_at_the_newest_key_frame() -> None:
    backlog = Backlog()
    assert kept(backlog, deque(), arrivals("k...k..k....", BACKLOG_S / 10)) == [7, 8, 9, 10, 11]
    assert backlog.dropped == 7


def test_without_a_key_frame_everything_up_to_the_next_one_goes() -> None:
    backlog, queue = Backlog(), deque[Arrival]()
    every_s = BACKLOG_S / 10
    assert kept(backlog, queue, arrivals("............", every_s)) == [], "beyond the bound"
    assert kept(backlog, queue, arrivals("..", every_s, 12)) == [], "they need what is gone"
    assert kept(backlog, queue, arrivals("k..", every_s, 14)) == [14, 15, 16]
    assert backlog.dropped == 14


def test_a_burst_is_bounded_in_number() -> None:
    backlog, queue = Backlog(), deque[Arrival]()
    assert len(kept(backlog, queue, arrivals("k" * 3000, 1e-6))) <= 1000


def packets(count: int = 3 * GOP) -> list[Any]:
    """Encode numbered frames as H.264 with a key frame in every GOP, without B-frames."""
    codec = av.CodecContext.create(encoder("libx264"), "w")
    codec.width, codec.height = SIZE
    codec.pix_fmt, codec.time_base, codec.gop_size = "yuv420p", Fraction(1, 25), GOP
    codec.options = {"tune": "zerolatency", "preset": "ultrafast"}
    encoded = []
    for number in range(count):
        picture = np.frombuffer(i420(number, *SIZE), np.uint8).reshape(SIZE[1] * 3 // 2, SIZE[0])
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = number
        encoded += codec.encode(frame)
    return encoded


def decoder() -> StreamDecoder:
    codec = av.CodecContext.create("h264", "r")
    return StreamDecoder(SimpleNamespace(codec=codec, time_base=Fraction(1, 25)))  # type: ignore[arg-type]


def test_frames_have_the_arrival_of_their_packet_and_the_streams_time() -> None:
    decoding = decoder()
    captured = [
        frame
        for number, packet in enumerate(packets(5))
        for frame in decoding.decode(Arrival(packet, 1000 + number), hurried=False)
    ]
    assert [number_of(frame.frame) for frame in captured] == [0, 1, 2, 3, 4]
    assert [frame.captured_ns for frame in captured] == [1000, 1001, 1002, 1003, 1004]
    assert [frame.device_time_s for frame in captured] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert (decoding.errors, decoding.unconverted) == (0, 0)


def test_after_damage_frames_go_on_at_the_next_key_frame() -> None:
    decoding, damaged = decoder(), packets()
    noise = np.random.default_rng(3).bytes(damaged[GOP + 3].size)
    bad = av.Packet(noise)
    bad.pts = damaged[GOP + 3].pts
    damaged[GOP + 3] = bad
    numbers = [
        number_of(frame.frame) for packet in damaged for frame in decoding.decode(Arrival(packet, 0), hurried=False)
    ]
    assert numbers == [*range(GOP + 3), *range(2 * GOP, 3 * GOP)]
    assert decoding.errors == 1


def test_a_hurried_decoder_converts_at_least_ten_frames_a_second() -> None:
    decoding, encoded = decoder(), packets()
    assert len(list(decoding.decode(Arrival(encoded[0], 0), hurried=True))) == 1, "nobody has asked for long"
    assert list(decoding.decode(Arrival(encoded[1], 0), hurried=True)) == []
    assert decoding.unconverted == 1
    time.sleep(0.12)
    (frame,) = decoding.decode(Arrival(encoded[2], 0), hurried=True)
    assert number_of(frame.frame) == 2, "what was not converted was decoded all the same"
