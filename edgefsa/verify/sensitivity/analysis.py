"""What INT8 costs and gains in each block of a network: the blocks in order of what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgefsa.data.readers import name_without_folders
from edgefsa.verify.sensitivity.bench import Measurement, TrialBench

SLOWER, NO_GAIN = "slower in INT8", "no gain that can be measured"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BlockCost:
    """What INT8 does in one block.

    `snr_db` is the logits' signal-to-noise ratio with this block alone in INT8, `snr_without_db` with all others;
    `lost` the points of mIoU that it costs alone, `regained` those that come back where it alone is left in float.
    `gained_ms` is how much slower the INT8 engine is with this block in float, known to within `noise_ms`;
    `gained_alone_ms` how much faster the float engine is with this block alone in INT8. The last five are None where
    the budget did not reach. `macs_share` (0 to 1) is of the network's multiply-accumulates.
    """

    name: str
    nodes: tuple[str, ...]
    macs_share: float
    snr_db: float
    snr_without_db: float
    lost: float | None = None
    regained: float | None = None
    gained_ms: float | None = None
    noise_ms: float | None = None
    gained_alone_ms: float | None = None

    @property
    def verdict(self) -> str:
        """SLOWER, NO_GAIN, or "" where INT8 gains time or was not timed."""
        if self.gained_ms is None or self.noise_ms is None or self.gained_ms > self.noise_ms:
            return ""
        return SLOWER if self.gained_ms < -self.noise_ms else NO_GAIN


@dataclass(frozen=True)
class Analysis:
    """A network's blocks, the one first that INT8 costs most, and the whole engines beside.

    `snr_db` is the ratio with all blocks in INT8; mIoU is in percent, against `truth`; times are medians in ms.
    """

    model: str
    target: str
    rest: str
    data: str
    split: str
    truth: str
    float_miou: float
    int8_miou: float
    float_ms: float
    int8_ms: float
    snr_db: float
    evaluations: int
    blocks: tuple[BlockCost, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the analysis as plain values for JSON."""
        return {**asdict(self), "blocks": [{**asdict(block), "verdict": block.verdict} for block in self.blocks]}


def analyse(
    bench: TrialBench,
    *,
    budget: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Analysis:
    """Quantise each block alone, and leave each alone in float, and measure both on engines.

    At most `budget` engines are measured, two a block and two for the whole network, first for the blocks that cost the
    logits most; all by default. `say` gets a line for each engine that was measured.
    """
    everything = frozenset(bench.names)
    steps = len(bench.names)
    noise: dict[str, float] = {}
    for done, name in enumerate(bench.names):
        noise[name] = bench.snr_db(everything - {name})
        _tick(progress, done + 1, 3 * steps)
    whole, full = bench.measure(everything), bench.measure(())
    reach = steps if budget is None else max(budget - 2, 0) // 2
    costs = []
    for done, name in enumerate(sorted(bench.names, key=noise.__getitem__)):
        costs.append(_cost(bench, name, noise[name], whole, full, measured=done < reach, say=say))
        _tick(progress, steps + 2 * (done + 1), 3 * steps)
    return Analysis(
        bench.settings.graph.metadata["model"],
        bench.settings.target.name,
        bench.rest(),
        name_without_folders(bench.dataset.name),
        bench.dataset.split,
        bench.truth,
        100 * whole.miou,
        100 * full.miou,
        full.float_ms,
        full.int8_ms,
        bench.snr_db(()),
        2 + 2 * min(reach, steps),
        tuple(sorted(costs, key=_rank)),
    )


def _cost(
    bench: TrialBench,
    name: str,
    snr_db: float,
    whole: Measurement,
    full: Measurement,
    *,
    measured: bool,
    say: Callable[[str], None],
) -> BlockCost:
    block = next(item for item in bench.candidates if item.name == name)
    cost = BlockCost(name, block.nodes, block.macs_share, snr_db, bench.snr_db({name}))
    if not measured:
        return cost
    alone, without = bench.measure(frozenset(bench.names) - {name}), bench.measure({name})
    found = BlockCost(
        cost.name,
        cost.nodes,
        cost.macs_share,
        cost.snr_db,
        cost.snr_without_db,
        lost=100 * (whole.miou - alone.miou),
        regained=100 * (without.miou - full.miou),
        gained_ms=without.over_int8.ms,
        noise_ms=without.over_int8.noise_ms,
        gained_alone_ms=alone.under_rest.ms,
    )
    say(f"{name}: INT8 costs it {found.lost:+.2f} points alone and gains {found.gained_ms:.3f} ms")
    return found


def _rank(cost: BlockCost) -> tuple[float, float]:
    """Sort by the mIoU lost alone, in steps that frames can tell apart, then by the noise of the logits."""
    return -round(cost.lost or 0.0, 1), cost.snr_db


def _tick(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
