"""The search that a build begins with, and the bench of an analysis: where ranges and frames come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgefsa import console
from edgefsa.artifacts import sha256_of_bytes
from edgefsa.build import BuildRequest, SearchRequest, ranges_for
from edgefsa.cache import cache_folder
from edgefsa.console import Progress

if TYPE_CHECKING:
    from edgefsa.graph.files import LoadedGraph
    from edgefsa.quantize import Ranges, Recipe
    from edgefsa.verify.sensitivity import TrialBench


def searched_recipe(
    graph: LoadedGraph,
    ranges: Ranges,
    request: BuildRequest,
    say: Callable[[str], None],
    progress: Progress | None,
) -> Recipe:
    """Search what to leave in float; return the recipe of it."""
    from edgefsa.quantize import recipe_of
    from edgefsa.verify.sensitivity import search_blocks

    search = request.search or SearchRequest()
    with _bench(graph, ranges, request, say) as bench, console.progress("searching") as shown:
        found = search_blocks(
            bench,
            max_drop=search.max_drop,
            budget=search.budget,
            say=say,
            progress=None if progress is None else shown,
        )
    return recipe_of(ranges, found.skip, found.record)


def bench_from_request(request: BuildRequest, *, say: Callable[[str], None]) -> TrialBench:
    """Return the bench that measures the blocks of an exported file on a target; its ranges are those of a build."""
    from edgefsa.graph.files import read_graph

    graph = read_graph(Path(request.source))
    return _bench(graph, kept_ranges(graph, request, say, quiet=False), request, say)


def _bench(graph: LoadedGraph, ranges: Ranges, request: BuildRequest, say: Callable[[str], None]) -> TrialBench:
    """Return the bench on the frames that the request's search names, and say what they are and where it is kept."""
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.sensitivity import open_bench

    search = request.search or SearchRequest()
    dataset = open_dataset(request.data or "synthetic", split=search.split, limit=search.frames)
    bench = open_bench(
        graph,
        ranges,
        dataset,
        target=request.target,
        weight_bits=request.weight_bits,
        options=request.target_options,
        skip=request.skip,
    )
    for note in bench.notes():
        say(f"note: {note}")
    return bench


def kept_ranges(graph: LoadedGraph, request: BuildRequest, say: Callable[[str], None], *, quiet: bool) -> Ranges:
    """Return the ranges of a search: those of a build, but the same when it goes on after an interruption.

    How many frames a calibration takes depends on the time that it takes, and on its ranges all measurements depend.
    """
    from edgefsa.graph.files import weights_hash
    from edgefsa.quantize import Ranges
    from edgefsa.quantize.histogram import DEFAULT_METHOD

    if request.data is None or request.ranges is not None:
        return ranges_for(graph, request, say, quiet=quiet)
    facts = [
        weights_hash(graph.model),
        str(graph.metadata["size_hw"]),
        request.mixture.open(request.data, "train").fingerprint(),
        DEFAULT_METHOD,
    ]
    path = cache_folder("sensitivity") / f"ranges-{sha256_of_bytes(' '.join(facts).encode())[:32]}.json"
    if not path.is_file():
        ranges_for(graph, request, say, quiet=quiet).write(path)
    say(f"note: the ranges are those of {path}")
    return Ranges.read(path)
