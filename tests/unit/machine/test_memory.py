"""The memory of this machine and of recorded ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgefsa.machine.memory import LARGE_PAGES, memory, peak_rss_mib, unused_large_pages
from tests.unit.recorded import play


def test_a_board_whose_swap_is_memory_itself(tmp_path: Path) -> None:
    play("orin-nano-jetpack6.2", tmp_path)
    found = memory(tmp_path)
    assert found is not None
    assert round(found.total_mb) == 7619 and round(found.available_mb) == 5000
    assert found.swap_mb == pytest.approx(found.zram_mb, rel=1e-3) and round(found.swap_mb) == 3810


def test_a_desktop_with_a_swap_file(tmp_path: Path) -> None:
    play("desktop", tmp_path)
    found = memory(tmp_path)
    assert found is not None and (found.swap_mb, found.swap_free_mb, found.zram_mb) == (2048.0, 2048.0, 0.0)


def test_a_container_has_what_its_limit_leaves(tmp_path: Path) -> None:
    play("desktop", tmp_path)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.current").write_text(f"{500 << 20}\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    unlimited = memory(tmp_path)
    assert unlimited is not None and unlimited.total_mb == 32000.0
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{2000 << 20}\n")
    limited = memory(tmp_path)
    assert limited is not None and (limited.total_mb, limited.available_mb) == (2000.0, 1500.0)
    (tmp_path / "sys/fs/cgroup/memory.stat").write_text(f"anon 5\ninactive_file {100 << 20}\nactive_file 7\n")
    cached = memory(tmp_path)
    assert cached is not None and cached.available_mb == 1600.0, "files in the cache make way"


def test_a_machine_that_does_not_say(tmp_path: Path) -> None:
    assert memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       32768000 kB\n")
    assert memory(tmp_path) is None


def test_this_machine_agrees_with_sysconf() -> None:
    here = memory()
    if here is None:
        pytest.skip("this system has no /proc/meminfo")
    assert here.total_mb == pytest.approx(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20, rel=0.01)
    assert 0 < here.available_mb <= here.total_mb


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_peak_is_that_of_this_program_not_of_the_one_that_started_it() -> None:
    code = "from edgefsa.machine.memory import peak_rss_mib; print(peak_rss_mib())"
    held = bytearray(400 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    small = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    large = float(
        subprocess.run(
            [sys.executable, "-c", "x = b'x' * (300 * 2**20); " + code], capture_output=True, text=True, check=True
        ).stdout
    )
    own = peak_rss_mib()
    assert own is not None and own > 400
    assert small < 200 and small + 250 < large < small + 350


@pytest.mark.parametrize(
    ("library", "given", "tunables", "found"),
    [
        (("glibc", "2.36"), "always [madvise] never", "", LARGE_PAGES),
        (("glibc", "2.36"), "always [madvise] never", "glibc.malloc.check=1", LARGE_PAGES),
        (("glibc", "2.36"), "always [madvise] never", "glibc.malloc.check=1:glibc.malloc.hugetlb=2", None),
        (("glibc", "2.36"), "[always] madvise never", "", None),
        (("glibc", "2.36"), "always madvise [never]", "", None),
        (("glibc", "2.36"), None, "", None),
        (("glibc", "2.31"), "always [madvise] never", "", None),
        (("", ""), "always [madvise] never", "", None),
    ],
)
def test_large_pages_are_named_where_they_help_and_are_not_used(tmp_path, monkeypatch, library, given, tunables, found):
    monkeypatch.setattr("platform.libc_ver", lambda: library)
    monkeypatch.setenv("GLIBC_TUNABLES", tunables)
    if given is not None:
        (tmp_path / "sys/kernel/mm/transparent_hugepage").mkdir(parents=True)
        (tmp_path / "sys/kernel/mm/transparent_hugepage/enabled").write_text(f"{given}\n")
    assert unused_large_pages(tmp_path) == found
