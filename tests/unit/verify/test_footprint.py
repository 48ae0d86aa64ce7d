"""Memory of a process of its own, bytes on the disk, multiplications."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefsa.errors import EngineError
from edgefsa.machine.memory import peak_rss_mib
from edgefsa.verify.footprint import bytes_on_disk, footprint_of, macs_of

CODE = """
import numpy as np
from edgefsa.machine.memory import peak_rss_mib
before = peak_rss_mib()
filled = np.ones({mib} << 20, np.uint8)
print(peak_rss_mib() - before)
"""


@pytest.mark.skipif(peak_rss_mib() is None, reason="this system does not tell the memory of a process")
def test_the_peak_is_that_of_the_process_alone() -> None:
    ballast = np.ones(300 << 20, np.uint8)  # what a child of this process does not hold
    grown = [
        float(subprocess.run([sys.executable, "-c", CODE.format(mib=mib)], capture_output=True, text=True).stdout)
        for mib in (20, 120)
    ]
    assert ballast.all() and grown[0] == pytest.approx(20, abs=8) and grown[1] == pytest.approx(120, abs=8)


def test_an_engine_that_does_not_open_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"in a process of its own: .*no engine directory"):
        footprint_of(tmp_path / "nothing")


def test_all_files_count(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "more" / "b").write_bytes(b"x" * 5)
    assert bytes_on_disk(tmp_path) == 15


def test_without_the_graph_there_are_no_macs(tmp_path: Path) -> None:
    assert macs_of(tmp_path) is None
