"""A canary: now and then a live frame also runs through the engine's own ONNX graph on the CPU, and masks are compared.

It shows what no check at opening can: a GPU that begins to compute wrongly, a runtime that fails under heat, and of an
INT8 engine frames that leave the ranges it was calibrated for. It runs in one thread at the lowest priority and takes
the newest frame when it is due, so that it holds nothing back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgefsa.artifacts import Manifest
from edgefsa.errors import InputError
from edgefsa.machine.priority import give_way
from edgefsa.segment.run import CanaryFigures, Run, SegmentedFrame
from edgefsa.segment.sinks import Sink
from edgefsa.verify.saturation import Saturations, calibrated_tensors_of, in_words, remedy
from edgefsa.verify.twin import Twin

# Frames that saturation is judged over: one alone may be odd, and a day's mean would hide the dusk.
_FRAMES_JUDGED = 4


@dataclass
class _Watched:
    """An engine with its twin, the agreement that it was proved within, and what its frames saturate."""

    directory: Path
    manifest: Manifest
    twin: Twin
    bound: float
    saturations: Saturations
    drift_said: bool = False


class Canary(Sink):
    """Compares every `every`-th frame; `run.canary` has the figures, and a fall below the engine's bound is a note.

    `engines` are the directories of the run's engines, by name. The bound is the one that the engine was proved within.
    Where the last frames saturate an INT8 engine far more than those of its calibration, that is a note too, once.
    """

    name = "canary"
    every_frame = False

    def __init__(self, every: int, engines: Mapping[str, Path]) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"a canary every {every} frames cannot be; give 1 or more")
        self._every, self._engines = every, engines
        self._watched: dict[str, _Watched] = {}
        self._due: int | None = None
        self._total, self._frames, self._below, self._lowest = 0.0, 0, 0, 1.0
        self._fell = False
        self._run: Run

    def start(self, run: Run) -> None:
        """Load the twin of the engine that runs, and lower this thread's priority."""
        self._run = run
        give_way()
        self._watch(run.engine.name)

    def write(self, frame: SegmentedFrame) -> None:
        """Compare the frame, if it is due."""
        if self._due is not None and frame.source.index < self._due:
            return
        self._due = frame.source.index + self._every
        watched = self._watch(frame.engine)
        expected, tensors = watched.twin.run(frame.source.frame)
        watched.saturations.add(str(frame.source.index), tensors)
        self._take_down(frame, watched, float((expected == frame.segmentation.mask).mean()))
        self._warn_of_drift(frame, watched)

    def _watch(self, name: str) -> _Watched:
        if name not in self._watched:
            directory = self._engines[name]
            manifest = Manifest.read(directory)
            calibrated = calibrated_tensors_of(manifest)
            self._watched[name] = _Watched(
                directory,
                manifest,
                Twin(directory, calibrated),
                float(manifest.proof["numbers"]["engine_bound"]["agreement"]),
                Saturations(calibrated, _FRAMES_JUDGED),
            )
        return self._watched[name]

    def _take_down(self, frame: SegmentedFrame, watched: _Watched, agreement: float) -> None:
        bound = watched.bound
        self._frames += 1
        self._total += agreement
        self._lowest = min(self._lowest, agreement)
        self._below += agreement < bound
        mean = self._total / self._frames
        most = next(iter(watched.saturations.rows()), None)
        self._run.canary = CanaryFigures(self._frames, agreement, mean, self._lowest, self._below, bound, most)
        fell, self._fell = self._fell, agreement < bound
        if self._fell and not fell:
            shares = f"{100 * agreement:.2f} % of the pixels, {100 * bound:.2f} % must"
            self._run.note(
                f"canary: on frame {frame.source.index} {frame.engine} agrees with its ONNX graph on {shares}; "
                "check the device, or rebuild the engine"
            )

    def _warn_of_drift(self, frame: SegmentedFrame, watched: _Watched) -> None:
        """Say once of an engine that the last frames left the ranges that it was calibrated for."""
        if watched.drift_said or watched.saturations.frames < _FRAMES_JUDGED:
            return
        most = next(iter(watched.saturations.rows()), None)
        if most is not None and most.drifted:
            watched.drift_said = True
            self._run.note(
                f"canary: up to frame {frame.source.index} {in_words(most)}; "
                f"{remedy(watched.directory, watched.manifest)}"
            )
