"""The times of layers, as TensorRT's profiler reports them on a GPU that NumPy plays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from edgefsa.engines.tensorrt.session import PlanSession
from tests.unit.engines.tensorrt import test_session

engine, gpu, session = test_session.engine, test_session.gpu, test_session.session  # fixtures


class ProfiledContext(test_session.FakeContext):
    """Reports two layers of each run to its profiler."""

    profiler: Any = None

    def execute_async_v3(self, stream: int) -> bool:
        if self.profiler is not None:
            for layer, ms in (("conv", 0.5), ("mask", 0.25)):
                self.profiler.report_layer_time(layer, ms)
        return super().execute_async_v3(stream)


def test_layers_are_timed_in_runs_of_their_own(
    gpu: Any, session: PlanSession, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ProfiledContext] = []

    def create() -> ProfiledContext:
        made.append(ProfiledContext(engine))
        return made[-1]

    monkeypatch.setattr(engine, "create_execution_context", create)
    monkeypatch.setattr(sys.modules["played_tensorrt"], "IProfiler", type("IProfiler", (), {}), raising=False)
    frames = np.full(session.input_shape, 200, np.uint8)
    with session:
        assert session.layer_times_ms(frames, 3) == {"conv": [0.5] * 3, "mask": [0.25] * 3}
        assert (session.run(frames) == 1).all()
    assert [context.profiler is not None for context in made] == [False, True], "a run's own context is not watched"
    assert gpu.is_empty()
