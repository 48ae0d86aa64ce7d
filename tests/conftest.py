"""Fixtures that every test may use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of golden outputs and real frames that lies beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs the data folder `shared` beside the checkout (golden outputs, CamVid); it is not here")
    return SHARED.resolve()


@pytest.fixture(scope="session")
def golden_index(shared_dir: Path) -> dict[str, dict]:
    """The list of golden cases with their settings."""
    return json.loads((shared_dir / "golden" / "index.json").read_text())


@pytest.fixture(scope="session")
def camvid_dir(shared_dir: Path) -> Path:
    """CamVid in the SegNet split."""
    return shared_dir / "camvid"
