"""A live view for a test; without the packages of [serve] there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

for package in ("starlette", "uvicorn", "websockets", "prometheus_client", "httpx"):
    pytest.importorskip(package, reason="the live view needs [serve], its tests httpx besides")

os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")

if TYPE_CHECKING:
    from tests.unit.serve.harness import Live


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    from tests.unit.serve.harness import serving

    with serving(recordings=tmp_path) as made:
        yield made
