"""An engine that is faked, and clips to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest

from tests.unit.segment.fakes import FakeSession, moving_square


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSession]:
    """`edgefsa.engines.open_engine` opens this session, whatever the path."""
    session = FakeSession()
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **_: session
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    yield session
    assert session.entered == 0, "the session was left open"


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that writes a clip of moving squares and gives its path."""
    folder = tmp_path_factory.mktemp("videos")

    def make(name: str, code: str, frames: int = 20, size_hw: tuple[int, int] = (48, 64)) -> Path:
        path = folder / name
        if not path.exists():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (size_hw[1], size_hw[0]))
            assert writer.isOpened()
            for index in range(frames):
                writer.write(moving_square(index, size_hw))
            writer.release()
        return path

    return make
