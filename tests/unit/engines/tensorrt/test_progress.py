"""How far a build is, and its end by Ctrl-C: with the real builder of TensorRT for RTX."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from edgefsa.engines.tensorrt.builder import PlanBuild
from edgefsa.engines.tensorrt.progress import TOTAL, BuildWatch
from edgefsa.errors import BuildError
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build


def test_shares_of_phases_within_phases() -> None:
    seen: list[tuple[int, int]] = []
    watch = BuildWatch(lambda done, total: seen.append((done, total)))
    watch.begin("whole", None, 4)
    assert watch.step("whole", 0)
    watch.begin("part", "whole", 2)
    watch.begin("kernels", "part", 5)
    assert watch.step("kernels", 1)  # 1/4 and two fifths of a half of the second quarter
    watch.end("kernels")
    assert watch.step("part", 0) and watch.step("part", 1)
    watch.begin("part", "whole", 10)
    assert watch.step("part", 0), "a phase that comes again does not set the figure back"
    watch.stop()
    assert not watch.step("whole", 3)
    assert seen == [(25, TOTAL), (30, TOTAL), (37, TOTAL), (50, TOTAL), (50, TOTAL)]


def test_the_real_builder_reports_until_it_is_done() -> None:
    package = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    seen: list[int] = []
    build = PlanBuild(package, "TensorRT-RTX", ["STRONGLY_TYPED"])
    build.parse(tiny.tiny_graph().SerializeToString())
    assert build.serialize(lambda done, total: seen.append(done))[:4] == b"vtrt"
    assert len(seen) > 20 and seen == sorted(seen) and 0 <= seen[0] < 50 and seen[-1] == TOTAL


def test_a_builder_that_is_stopped_makes_no_plan() -> None:
    package = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    build = PlanBuild(package, "TensorRT-RTX", ["STRONGLY_TYPED"])
    build.parse(tiny.tiny_graph().SerializeToString())

    def stopped(self: BuildWatch, name: str, index: int) -> bool:
        return False

    with pytest.MonkeyPatch.context() as patch, pytest.raises(BuildError, match="canceled by user"):
        patch.setattr(BuildWatch, "step", stopped)
        build.serialize()


def test_ctrl_c_stops_the_builder_and_leaves_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    stopped, calls, stop = threading.Event(), [], BuildWatch.stop

    def stop_and_say(self: BuildWatch) -> None:
        stop(self)
        stopped.set()

    def interrupt(done: int, total: int) -> None:
        calls.append(done)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert stopped.wait(60), "the main thread was not told"

    monkeypatch.setattr(BuildWatch, "stop", stop_and_say)
    handler = signal.getsignal(signal.SIGINT)
    signal.siginterrupt(signal.SIGINT, False)  # as where it comes just before a wait begins: it ends none
    with pytest.raises(KeyboardInterrupt):
        build("int8", "tensorrt-rtx", compiling=interrupt)
    signal.signal(signal.SIGINT, handler)
    assert len(calls) == 1, "the builder ends at its next step"
    assert list((tmp_path / "engines").iterdir()) == []
    assert "edgefsa-builder_0" not in [thread.name for thread in threading.enumerate()]
