"""The ranking as a picture: what each block costs in accuracy, beside what it gains in time. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from edgefsa.artifacts import atomic_file
from edgefsa.verify.figures import colour, style
from edgefsa.verify.sensitivity.analysis import NO_GAIN, SLOWER, Analysis, BlockCost

_WIDTH, _ROW, _HEAD = 11.0, 0.24, 1.5
_DPI = 130
_LOST, _GAINED, _SLOWER, _GREY = colour(1), colour(2), colour(6), colour(7)


def draw_ranking(analysis: Analysis, path: str | Path) -> Path:
    """Draw the blocks in the order of the ranking, a row each, and write the picture as PNG."""
    with style():
        figure = Figure(figsize=(_WIDTH, _HEAD + _ROW * len(analysis.blocks)), layout="constrained")
        noise, lost, gained = figure.subplots(1, 3, sharey=True)
        rows = range(len(analysis.blocks))
        noise.plot([block.snr_db for block in analysis.blocks], rows, "o", color=_GREY, markersize=5)
        noise.axvline(analysis.snr_db, color=_GREY, linewidth=1, linestyle="--")
        noise.set(xlabel="logits, signal to noise in dB\n(this block alone in INT8; dashed: all)")
        lost.barh(rows, [block.lost or 0.0 for block in analysis.blocks], color=_LOST, height=0.7)
        lost.set(xlabel="mIoU lost, points\n(this block alone in INT8)")
        gained.barh(
            rows,
            [block.gained_ms or 0.0 for block in analysis.blocks],
            xerr=[block.noise_ms or 0.0 for block in analysis.blocks],
            color=[_bar_colour(block) for block in analysis.blocks],
            ecolor=_GREY,
            height=0.7,
        )
        gained.set(xlabel=f"time gained by INT8 over {analysis.rest}, ms\n(red: slower in INT8; grey: no gain)")
        for axes in (lost, gained):
            axes.axvline(0, color=_GREY, linewidth=1)
        noise.set_yticks(rows, [block.name for block in analysis.blocks])
        noise.set_ylim(len(analysis.blocks) - 0.4, -0.6)
        figure.suptitle(_title(analysis), fontsize=11)
        with atomic_file(path) as partial:
            figure.savefig(partial, format="png", dpi=_DPI, facecolor="white")
    return Path(path)


def _bar_colour(block: BlockCost) -> str:
    return {SLOWER: _SLOWER, NO_GAIN: _GREY}.get(block.verdict, _GAINED)


def _title(analysis: Analysis) -> str:
    return (
        f"{analysis.model} on {analysis.target}: float {analysis.float_miou:.2f} % mIoU in {analysis.float_ms:.2f} ms, "
        f"INT8 {analysis.int8_miou:.2f} % in {analysis.int8_ms:.2f} ms"
    )
