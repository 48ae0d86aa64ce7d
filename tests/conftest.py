"""Fixtures that every test may use."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

# A shell ignores Ctrl-C for what it starts in the background, and programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"


# What runs first: training, whose workers are forked, while a process is small; then files with tests of half a minute
# and more, so that no worker is left with one at the end. Emulated kernels, with mistakes planted in some, come last:
# what they may do to a process harms no other test.
FORKING, EMULATED = "tests/unit/train", "tests/kernels"
SLOW = (
    *("test_processes.py", "test_remote.py", "test_selftest.py", "test_service.py", "test_readme.py"),
    *("test_demos.py", "test_train.py", "test_spine.py", "test_live.py", "test_programs.py", "test_browser.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put training first, then the slow files, and emulated kernels last."""

    def place(item: pytest.Item) -> int:
        if FORKING in item.path.as_posix():
            return -1
        if EMULATED in item.path.as_posix():
            return len(SLOW) + 1
        return SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW)

    items.sort(key=place)


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
