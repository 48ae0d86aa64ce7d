"""How far a builder of TensorRT is, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# A build is shown in hundredths: what a phase will take is not known before it begins.
TOTAL = 100
Progress = Callable[[int, int], None]


@dataclass
class _Phase:
    """A phase of a build, a part of one step of the phase `parent`, with its steps and how many of them are done."""

    parent: str | None
    steps: int
    done: int = 0


class BuildWatch:
    """Follows the phases of one build, from whichever threads the builder reports them, until it is to stop."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._lock = threading.Lock()
        self._shown = 0
        self._stopped = False

    def stop(self) -> None:
        """Let the builder end at its next step."""
        self._stopped = True

    def begin(self, name: str, parent: str | None, steps: int) -> None:
        """Take note of a phase that begins."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, index: int) -> bool:
        """Take note of a step that is done, show the progress, and return whether the builder may go on."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = index + 1
            share = max((self._share(item) for item, phase in self._phases.items() if phase.parent is None), default=0)
            self._shown = max(self._shown, int(TOTAL * share))
            if not self._stopped:
                self._progress(self._shown, TOTAL)
            return not self._stopped

    def end(self, name: str) -> None:
        """Forget a phase that has ended."""
        with self._lock:
            self._phases.pop(name, None)

    def _share(self, name: str) -> float:
        """Return how much of a phase is done, 0 to 1, its parts included."""
        phase = self._phases[name]
        parts = (self._share(item) for item, part in self._phases.items() if part.parent == name)
        return min(1.0, (phase.done + max(parts, default=0.0)) / phase.steps)


def monitor_of(tensorrt: Any, watch: BuildWatch) -> Any:
    """Return the module's progress monitor that reports to `watch`."""

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.begin(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return watch.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            watch.end(phase_name)

    return Monitor()
