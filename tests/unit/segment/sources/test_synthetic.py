"""The rendered street: rendered once, kept whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.data import synthetic
from edgefsa.segment import SourceOptions, open_source
from edgefsa.segment.sources import synthetic as sources_synthetic
from edgefsa.segment.sources.synthetic import FRAMES, clip_path
from tests.unit.segment.fakes import moving_square

SIZE_HW = (360, 480)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clips"


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(seed, number) of each frame that is rendered."""
    log: list[tuple[int, int]] = []

    def render_clip(seed: int, frames: int, size_hw: tuple[int, int], fps: float) -> Iterator[tuple[Any, Any]]:
        assert (frames, size_hw, fps) == (FRAMES, SIZE_HW, 25.0)
        for index in range(frames):
            log.append((seed, index))
            yield moving_square(index + seed, size_hw), None

    monkeypatch.setattr(synthetic, "render_clip", render_clip)
    return log


def test_a_clip_is_rendered_once_and_comes_from_the_cache_then(rendered: list, cache: Path) -> None:
    for _ in range(2):
        with open_source("synthetic:7") as source:
            frames = list(source)
        assert (source.total, source.fps, source.live, source.notes) == (100, 25.0, False, [])
        assert len(frames) == 100
        assert all(np.array_equal(frame.frame, moving_square(frame.index + 7, SIZE_HW)) for frame in frames)
        assert frames[3].name == "synthetic7_000003"
        assert frames[3].time_s == pytest.approx(0.12)
        frames[0].frame[:] = 0  # theirs to draw on
    assert len(rendered) == 100
    assert [path.name for path in cache.iterdir()] == [clip_path(7).name]


def test_each_seed_has_its_own_and_0_is_the_first(rendered: list) -> None:
    for spec in ("synthetic", "synthetic:3"):
        next(iter(open_source(spec)))
    assert rendered == [(0, 0), (3, 0)]
    assert clip_path(0) != clip_path(3)


def test_a_clip_that_was_not_played_to_its_end_is_not_kept(rendered: list, cache: Path) -> None:
    assert len(list(itertools.islice(open_source("synthetic:7"), 20))) == 20
    assert len(rendered) == 20
    assert list(cache.iterdir()) == []


def test_a_loop_is_rendered_in_its_first_round(rendered: list) -> None:
    assert len(list(itertools.islice(open_source("synthetic:7", SourceOptions(loop=True)), 250))) == 250
    assert len(rendered) == 100


def test_a_rate_renders_before_it_plays(rendered: list) -> None:
    with open_source("synthetic:7", SourceOptions(rate=1000.0)) as source:
        next(iter(source))
    assert len(rendered) == 100
    assert source.notes == ["synthetic7 is rendered before it can be played, once: 100 frames"]


def test_rendering_can_be_interrupted(rendered: list, cache: Path) -> None:
    with open_source("synthetic:7", SourceOptions(rate=1000.0)) as source:
        source.on_note = lambda _: source.interrupt()
        assert list(source) == []
    assert len(rendered) == 1
    assert list(cache.iterdir()) == []


def test_a_cut_clip_is_rendered_anew(rendered: list, cache: Path) -> None:
    clip_path(7).parent.mkdir(parents=True)
    clip_path(7).write_bytes(b"cut")
    assert len(list(open_source("synthetic:7"))) == len(rendered) == 100
    assert clip_path(7).stat().st_size == FRAMES * 360 * 480 * 3


def test_where_nothing_can_be_kept_it_is_rendered_each_time(rendered: list, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file in the folder's place")
    for number in (1, 2):
        with open_source("synthetic:7") as source:
            assert len(list(source)) == 100
        assert len(rendered) == 100 * number
        (note,) = source.notes
        assert note.startswith("synthetic7 is rendered anew each time: cannot write")


def test_clips_of_another_renderer_go(rendered: list, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    old = cache / "synthetic-7-0123456789abcdef.bgr"
    old.write_bytes(b"old")
    list(open_source("synthetic:7"))
    assert not old.exists()
    before = clip_path(7)
    monkeypatch.setattr(sources_synthetic, "renderer_sha256", lambda: "0123")
    assert clip_path(7) != before, "its name changes with the renderer's program"
