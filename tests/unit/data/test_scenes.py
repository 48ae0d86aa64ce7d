"""Rendered scenes in the cache: the renderer's own pixels, once rendered, and never another renderer's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefsa.data import scenes, synthetic
from edgefsa.data.scenes import kept_scene, scene_path
from edgefsa.data.synthetic import render_scene

SIZE_HW = (40, 56)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "scenes"


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of each scene that is rendered."""
    log: list[int] = []

    def logged(seed: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        log.append(seed)
        return render_scene(seed, size_hw)

    monkeypatch.setattr(synthetic, "render_scene", logged)
    return log


def check(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> None:
    for found, expected in zip(kept_scene(seed, size_hw), render_scene(seed, size_hw), strict=True):
        assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
        np.testing.assert_array_equal(found, expected)


def test_a_scene_is_rendered_once_and_comes_back_as_it_was(rendered: list[int], cache: Path) -> None:
    for seed in (3, 3, 4, 3):
        check(seed)
    check(3, (56, 40))
    assert rendered == [3, 4, 3]
    assert len(list(cache.rglob("*.png"))) == 3


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_a_damaged_file_is_rendered_anew(rendered: list[int], content: bytes) -> None:
    check(3)
    scene_path(3, SIZE_HW).write_bytes(content)
    check(3)
    check(3)
    assert rendered == [3, 3]


def test_what_another_renderer_left_is_removed(rendered: list[int], cache: Path) -> None:
    other = cache / "0123456789abcdef" / "3-40x56.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"older")
    check(3)
    assert rendered == [3] and not other.parent.exists()


def test_the_oldest_go_where_there_are_many(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(scenes, "_KEPT", 2)
    for seed in (5, 3, 4):
        kept_scene(seed, SIZE_HW)
    assert {path.name for path in cache.rglob("*.png")} == {"3-40x56.png", "4-40x56.png"}


def test_a_cache_that_cannot_be_written_costs_only_time(
    rendered: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "file"))
    check(3)
    check(3)
    assert rendered == [3, 3]


def test_the_name_changes_with_the_renderers_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = scene_path(3, SIZE_HW)
    program = tmp_path / "synthetic" / "scene.py"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr(scenes, "__file__", str(tmp_path / "scenes.py"))
    scenes.renderer_sha256.cache_clear()
    try:
        assert scene_path(3, SIZE_HW) != before
    finally:
        scenes.renderer_sha256.cache_clear()
