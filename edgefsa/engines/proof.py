"""Proving a built engine: by its numbers on frames, and by what its layers run in. Used at build time only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.golden import write_golden
from edgefsa.engines.numbers import Frames, Numbers, converted_numbers, default_frames, with_engine
from edgefsa.engines.precision import (
    EVIDENCE,
    LEAST_INT8_SHARE,
    MacsShares,
    layer_counts,
    macs_shares,
    prove_precision,
)
from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.target import BuildJob, Target, TargetBuild

if TYPE_CHECKING:
    from edgefsa.engines.session import Session

_NAMED_IN_WARNING = 5


@dataclass(frozen=True)
class ProofFrames:
    """Frames to prove an engine on, uint8 [M, N, H, W, 3] BGR in its batch and size, and what data they are of.

    `foreign` frames are unlike those that the network and its ranges were made for: a precision may cost more on them.
    """

    frames: Frames
    data: str
    foreign: bool = False


@dataclass(frozen=True)
class Proof:
    """What was found of an engine.

    `numbers` are its distances; `layers` what each layer runs in; `counts` the multiplying ones by precision; `record`
    is the outcome of `prove_precision`; `shares` weighs the layers by their multiply-accumulates.
    """

    numbers: Numbers
    layers: list[LayerPrecision]
    counts: dict[str, int]
    record: dict[str, Any]
    shares: MacsShares

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record of the proof."""
        return {**self.record, "numbers": self.numbers.as_dict(), "in_float": self.shares.in_float}

    def in_words(self, precision: str) -> str:
        """Return one line for people."""
        mix = ", ".join(f"{count} in {kind}" for kind, count in self.counts.items())
        evidence = EVIDENCE[self.record["evidence"]]
        return f"{self.record['proved']} of {self.record['expected']} {precision} layers, {evidence} ({mix})"

    def warnings(self, precision: str) -> list[str]:
        """Return what a person should know of an INT8 engine that computes much in float."""
        if precision != "int8" or self.shares.int8 >= LEAST_INT8_SHARE:
            return []
        largest = self.shares.in_float[:_NAMED_IN_WARNING]
        named = "; ".join(f"{row['node']} {100 * row['share']:.1f} % ({row['reason']})" for row in largest)
        return [f"only {100 * self.shares.int8:.0f} % of the MACs run in INT8; the largest in float: {named}"]


def proof_frames(given: Callable[[], ProofFrames] | None, metadata: dict[str, Any]) -> ProofFrames:
    """Return the frames that `given` makes; coloured blocks where it is None."""
    shape = (int(metadata["batch"]), *metadata["size_hw"], 3)
    return given() if given is not None else ProofFrames(default_frames(shape), "coloured blocks", foreign=True)


def prove(
    job: BuildJob,
    target: Target,
    built: TargetBuild,
    manifest: Manifest,
    frames: Callable[[], ProofFrames],
    step: Callable[[], None],
) -> Proof:
    """Hold the engine in `job.directory` against its converted graph and that against the float one.

    `frames` makes the frames to compare on. `step` is called when the converted graph is proved. Raises PrecisionError
    where a bound is passed or a layer runs in another precision.
    """
    from edgefsa.graph.cost import macs_by_node

    chosen = frames()
    numbers = converted_numbers(
        job.source,
        built.converted,
        chosen.frames,
        chosen.data,
        precision=job.precision,
        compute=built.detail["compute"],
        foreign=chosen.foreign,
    )
    step()
    layers = built.layers
    if built.runs_here:
        layers, numbers = _run(job, target, manifest, layers, numbers)
    record = prove_precision(job.precision, built.expected, layers, built.account, built.evidence)
    reasons = (built.quantization or {}).get("float_nodes", {})
    shares = macs_shares(macs_by_node(built.converted or job.source), layers, reasons)
    if job.precision != "int8":
        shares = replace(shares, in_float=[])
    return Proof(numbers, layers, layer_counts(layers), record, shares)


def _run(
    job: BuildJob, target: Target, manifest: Manifest, layers: list[LayerPrecision], numbers: Numbers
) -> tuple[list[LayerPrecision], Numbers]:
    """Open the engine, ask it for its layers where they are not known, and measure its distance."""
    with contextlib.ExitStack() as stack:
        engine = target.open(job.directory, manifest)
        engine.host_code = True  # it was made just now
        session = stack.enter_context(engine)
        logits: Session | None = None
        if target.gives_logits and job.metadata["outputs"] == "masks":
            logits = stack.enter_context(target.open_logits(job.directory, manifest))
        layers = layers or session.layer_precisions()
        return layers, with_engine(numbers, session, logits)


def store_golden(directory: Path, metadata: dict[str, Any], numbers: Numbers) -> dict[str, Any]:
    """Store the converted graph's outputs: of one batch, or of all frames where the engine is not proved here yet."""
    count = len(numbers.frames) if numbers.engine is None else 1
    kind = 0 if metadata["outputs"] == "logits" else 1
    outputs = [result[kind] for result in numbers.outputs[:count]]
    agreement = numbers.golden_agreement()
    return write_golden(directory, numbers.frames[:count], [item for item in outputs if item is not None], agreement)
