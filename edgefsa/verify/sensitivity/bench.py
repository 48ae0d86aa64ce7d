"""Engines of a target with some blocks in float, each built, measured for accuracy and time, and thrown away."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefsa import __version__
from edgefsa.artifacts import sha256_of_bytes
from edgefsa.data.readers import Dataset
from edgefsa.engines.golden import patterned_frames
from edgefsa.engines.session import Session
from edgefsa.engines.trial import TrialSettings, trial_session
from edgefsa.errors import TargetError
from edgefsa.machine.description import machine_description
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import accuracy_of, masks_by
from edgefsa.verify.bootstrap import interval, resampled_medians
from edgefsa.verify.latency import times_of
from edgefsa.verify.sensitivity.store import TrialStore
from edgefsa.verify.sensitivity.truth import FLOAT_MASKS, labelled_by, truth_of

if TYPE_CHECKING:
    from edgefsa.graph.files import LoadedGraph
    from edgefsa.quantize.ranges import Ranges
    from edgefsa.quantize.sensitivity import Candidate

ROUNDS, WARMUP = 40, 4
FRAMES_FOR_NOISE = 4
_TRIAL, _NOISE = "engine", "logits"
_REPORTED = "val"
_FLOAT, _INT8, _REST, _THIS = "float", "int8", "rest", "this"
# Of the machine's description, what times depend on.
_MACHINE = ("cpu", "cpu_features", "cores_usable", "board")


@dataclass(frozen=True)
class Difference:
    """The median over rounds of one time less another of the same round, in ms, and how far 95 % of it reach."""

    ms: float
    noise_ms: float

    @classmethod
    def of(cls, times_ms: Sequence[float], others_ms: Sequence[float]) -> Difference:
        """Compare the times of the same rounds."""
        apart = np.subtract(times_ms, others_ms).tolist()
        low, high = interval(resampled_medians([apart])[0])
        return cls(float(np.median(apart)), (high - low) / 2)


@dataclass(frozen=True)
class Measurement:
    """An engine, measured: mIoU (0 to 1), and the median time of a run in ms, in turns with three engines to compare.

    `float_ms` and `int8_ms` are those of the FP32 engine and of the one with all blocks in INT8, in the same rounds.
    `over_int8` is the time above the latter; `under_rest` the time below an engine without INT8 in the type that the
    rest of an INT8 engine runs in.
    """

    miou: float
    ms: float
    int8_ms: float
    float_ms: float
    over_int8: Difference
    under_rest: Difference

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Measurement:
        """Read what `asdict` wrote."""
        apart = {name: Difference(**value[name]) for name in ("over_int8", "under_rest")}
        return cls(**{**value, **apart})


class TrialBench:
    """Measures engines by the blocks that they leave in float; what was measured before comes from the store.

    All blocks in float is the FP32 engine. `dataset` and `truth` say what masks are held against, `why_truth` why that
    is not the labels. To be entered with `with`; engines to compare are built when the first is measured.
    """

    def __init__(
        self,
        settings: TrialSettings,
        candidates: Sequence[Candidate],
        dataset: Dataset,
        store: TrialStore,
        truth: str,
        *,
        why_truth: str = "",
        skip: Sequence[str] = (),
        batches: Sequence[Any] = (),
        activations: str = "int8",
    ) -> None:
        self.settings, self.candidates, self.dataset = settings, candidates, dataset
        self.store, self.truth, self.why_truth, self.skip = store, truth, why_truth, tuple(skip)
        self.names = tuple(item.name for item in candidates)
        self._batches, self._activations = batches, activations
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> TrialBench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def notes(self) -> list[str]:
        """Return what a person should know of how blocks are judged, and where what is measured is kept."""
        data, kept = self.dataset, len(self.store)
        lines = [*data.notes, *data.split_notes]
        if data.split == _REPORTED and data.has_splits:
            lines.append(f"blocks are judged on {_REPORTED}, which eval and report take: report accuracy on another")
        else:
            lines.append(f"blocks are judged on {len(data)} frames of {data.split}; report accuracy on another split")
        if self.why_truth:
            lines.append(f"mIoU is that against {self.truth}, since {self.why_truth}")
        known = f"{kept} measurements of this comparison are there" if kept else "interrupted, the same command goes on"
        return [*lines, f"what is measured is kept in {self.store.path}; {known}"]

    def skip_of(self, in_float: Collection[str]) -> tuple[str, ...]:
        """Return the patterns of nodes that leave these blocks in float."""
        from edgefsa.quantize.sensitivity import skip_patterns

        return (*self.skip, *skip_patterns(self.candidates, in_float))

    def snr_db(self, in_float: Collection[str]) -> float:
        """Return the logits' signal-to-noise ratio in decibels with these blocks in float."""
        known = self.store.get(_NOISE, in_float)
        if known is None:
            known = self._noise.snr_db(self.skip_of(in_float))
            self.store.put(_NOISE, in_float, known)
        return float(known)

    def rest(self) -> str:
        """Return the type of what an INT8 engine of this target leaves in float: "f32" or "f16"."""
        known = self.store.get(_REST, ())
        if known is None:
            known = self._references[_INT8].manifest.precision_detail["float"]
            self.store.put(_REST, (), known)
        return str(known)

    def knows(self, in_float: Collection[str]) -> bool:
        """Return whether this engine was measured before."""
        return self.store.get(_TRIAL, in_float) is not None

    def measure(self, in_float: Collection[str]) -> Measurement:
        """Build the engine with these blocks in float and measure it; raises what building and evaluating raise."""
        known = self.store.get(_TRIAL, in_float)
        if known is not None:
            return Measurement.from_dict(known)
        chosen = frozenset(in_float)
        if not chosen or chosen == frozenset(self.names):
            found = self._measured(self._references[_INT8 if not chosen else _FLOAT])
        else:
            with trial_session(self.settings, "int8", self.skip_of(chosen)) as session:
                found = self._measured(session)
        self.store.put(_TRIAL, in_float, asdict(found))
        return found

    def _measured(self, session: Session) -> Measurement:
        sessions = {**self._references, _THIS: session}
        frames = patterned_frames(session.input_shape, 0)
        # An engine that is there under two names runs once a round.
        runs = {id(item): functools.partial(item.run, frames) for item in sessions.values()}
        named = {str(key): run for key, run in runs.items()}
        times = times_of(named, rounds=ROUNDS, warmup=WARMUP)
        ms = {name: times[str(id(item))] for name, item in sessions.items()}
        return Measurement(
            miou=self._miou(session),
            **{
                key: float(np.median(ms[name]))
                for key, name in (("ms", _THIS), ("int8_ms", _INT8), ("float_ms", _FLOAT))
            },
            over_int8=Difference.of(ms[_THIS], ms[_INT8]),
            under_rest=Difference.of(ms[_REST], ms[_THIS]),
        )

    def _miou(self, session: Session) -> float:
        with Segmenter(session) as segmenter:
            return accuracy_of(masks_by(segmenter), self._labelled, batch=segmenter.batch).miou

    @functools.cached_property
    def _references(self) -> dict[str, Session]:
        """The engines that all others take turns with; where the rest of INT8 is float32, two names have one engine."""
        enter = self._stack.enter_context
        whole = enter(trial_session(self.settings, "fp32"))
        int8 = enter(trial_session(self.settings, "int8", self.skip))
        halved = (int8.manifest.quantization or {}).get("rest") == "f16"
        return {_FLOAT: whole, _INT8: int8, _REST: enter(trial_session(self.settings, "fp16")) if halved else whole}

    @functools.cached_property
    def _labelled(self) -> Dataset:
        return labelled_by(self._references[_FLOAT], self.dataset) if self.truth == FLOAT_MASKS else self.dataset

    @functools.cached_property
    def _noise(self) -> Any:
        from edgefsa.quantize.sensitivity import LogitNoise

        return LogitNoise(self.settings.graph.model, self.settings.ranges, self._batches, self._activations)


def open_bench(
    graph: LoadedGraph,
    ranges: Ranges,
    dataset: Dataset,
    *,
    target: str,
    weight_bits: int | None = None,
    options: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
) -> TrialBench:
    """Return the bench of a graph on a target by name (or "auto"), with the frames of `dataset`.

    `skip` are name patterns of nodes that stay in float in any case. Raises TargetError, PrecisionError, RangesError,
    InputError for what cannot be built here, DataError for data without frames.
    """
    from edgefsa.engines.build import usable_builder
    from edgefsa.engines.registry import AUTO, choose_target
    from edgefsa.engines.weights import choose_weight_bits
    from edgefsa.quantize.budget import CalibrationFrames
    from edgefsa.quantize.calibrate import batches
    from edgefsa.quantize.scan import scan_halves
    from edgefsa.quantize.sensitivity import candidates_of

    name = choose_target("int8")[0] if target == AUTO else target
    builder = usable_builder(name, "int8")
    reason = builder.unusable()
    if reason is not None:
        raise TargetError(
            f"an engine of {name} cannot run and be measured on this machine: {reason}; search on a target that runs "
            "here, and build for this one with the recipe that is found (--recipe)"
        )
    ranges.check(graph.model)
    truth, why = truth_of(dataset, graph.metadata)
    frames = CalibrationFrames([dataset], FRAMES_FOR_NOISE)
    few = [batch for batch, _ in batches(frames, graph.metadata)]
    settings = TrialSettings(
        graph,
        builder,
        ranges,
        choose_weight_bits(builder, weight_bits),
        builder.options_from(options or {}),
        functools.lru_cache(maxsize=1)(lambda: scan_halves(graph.model, np.stack(few), dataset.name)),
    )
    candidates = candidates_of(graph.model, skip, builder.activations)
    store = TrialStore(_facts(settings, candidates, dataset, truth, skip))
    return TrialBench(
        settings,
        candidates,
        dataset,
        store,
        truth,
        why_truth=why,
        skip=skip,
        batches=few,
        activations=builder.activations,
    )


def _facts(
    settings: TrialSettings, candidates: Sequence[Candidate], dataset: Dataset, truth: str, skip: Sequence[str]
) -> dict[str, Any]:
    """Return all that a measurement depends on, as plain values."""
    from edgefsa.graph.files import weights_hash

    graph, target = settings.graph, settings.target
    machine = machine_description()
    return {
        "graph": weights_hash(graph.model),
        **{key: graph.metadata[key] for key in ("model", "size_hw", "batch", "outputs")},
        "fit": graph.metadata.get("fit", ""),
        "blocks": [[item.name, *item.nodes] for item in candidates],
        "ranges": sha256_of_bytes(json.dumps(settings.ranges.tensors, sort_keys=True).encode()),
        "data": {"split": dataset.split, "fingerprint": dataset.fingerprint(), "truth": truth},
        "skip": list(skip),
        "target": target.name,
        "versions": {"edgefsa": __version__, target.package: target.version()},
        "weight_bits": settings.weights.bits,
        "options": str(settings.options),
        "machine": {key: machine[key] for key in _MACHINE} | {"gpus": [gpu["name"] for gpu in machine["gpus"]]},
    }
