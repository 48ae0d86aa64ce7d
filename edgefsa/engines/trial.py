"""Engines that are built to be measured and thrown away: nothing of them is proved or kept. Used at build time only."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgefsa.engines.build import unproved_manifest
from edgefsa.engines.names import SOURCE_NAME
from edgefsa.engines.session import Session
from edgefsa.engines.target import BuildJob, Target, TargetOptions
from edgefsa.engines.weights import WeightBits
from edgefsa.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgefsa.graph.files import LoadedGraph
    from edgefsa.quantize import HalfScan, Ranges


@dataclass(frozen=True)
class TrialSettings:
    """What all engines of a comparison have in common."""

    graph: LoadedGraph
    target: Target
    ranges: Ranges
    weights: WeightBits
    options: TargetOptions
    scan: Callable[[], HalfScan | None] = lambda: None


@contextlib.contextmanager
def trial_session(settings: TrialSettings, precision: str, skip: Collection[str] = ()) -> Iterator[Session]:
    """Build an engine in a temporary directory and yield its open session; `skip` are nodes that INT8 leaves in float.

    Raises what the target's build raises, and TargetError where it can build here and not run.
    """
    graph, target = settings.graph, settings.target
    ranges = None if precision == "fp32" else settings.ranges
    with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
        directory = Path(scratch)
        shutil.copyfile(graph.path, directory / SOURCE_NAME)
        job = BuildJob(
            directory,
            graph.model,
            graph.metadata,
            precision,
            ranges,
            tuple(skip),
            weights=settings.weights,
            options=settings.options,
            scan=settings.scan,
        )
        built = target.build(job)
        if not built.runs_here:
            raise TargetError(f"an engine of {target.name} cannot run on this machine, so nothing can be measured")
        with target.open(directory, unproved_manifest(job, target, built)) as session:
            yield session
