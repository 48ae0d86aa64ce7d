"""Write the measured tables of README.md and docs/models anew from results/*.json, so that no figure is typed by hand.

Each table stands between `<!-- table:NAME -->` and `<!-- end -->`, or `<!-- table:NAME MODEL -->` for what is told of
one model. `--check` writes nothing and fails where a table differs from its results.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import _cards
import calibrations
import evaluation
import fit
import live
import peers
import search
import soak
import training_step
from _common import ACCURACY_HEADER, accuracy_cells, load
from _markdown import NOT_MEASURED, Record, emphasised, markdown, origin, origins, percent

from edgefsa.artifacts import atomic_file

ROOT = Path(__file__).parents[1]
RIVALS = Path(__file__).parent / "rivals.json"
BLOCK = re.compile(r"<!-- table:(?P<name>[\w-]+)(?: (?P<model>[\w-]+))? -->\n.*?<!-- end -->", re.DOTALL)


def _latency(record: Record, _model: str) -> str:
    rows = [
        [row["model"], row["engine"], f"{row['median_ms']:.1f}", f"{row['times_faster_than_pytorch']:.1f}"]
        for row in record["rows"]
    ]
    return markdown(["model", "engine", "frame to mask, median ms", "times faster"], rows, record)


def _accuracy(record: Record, _model: str) -> str:
    return markdown(ACCURACY_HEADER, accuracy_cells(record["rows"]), record, record["rows"])


def _fit(record: Record, _model: str) -> str:
    return markdown(fit.HEADER, fit.lines(record["rows"]), record)


def _frequency(record: Record, _model: str) -> str:
    rows = [
        [
            row["operator"],
            f"{row['ours_ms']:.1f}",
            f"{row['reference_ms']:.1f}",
            f"{row['times_faster']:.1f}",
            f"{row['reference_macs'] / row['ours_macs']:.1f}",
        ]
        for row in record["rows"]
    ]
    header = ["operator", "ours, median ms", "reference, median ms", "times faster", "times fewer MACs"]
    return markdown(header, rows, record)


def _reference(record: Record, _model: str) -> str:
    rows = [
        [
            row["model"],
            row["target"],
            f"{record['networks'][row['model']]['macs'] / 1e9:.2f}",
            f"{row['frame_to_mask_ms']:.1f}",
            f"{row['share']:.2f}",
            f"{row['share_limit']:.2f}" if row["share_limit"] else "-",
        ]
        for row in record["rows"]
    ]
    return markdown(["model", "INT8 on", "GMACs", "frame to mask, median ms", "share", "aim, at most"], rows, record)


def _peers(record: Record, _model: str) -> str:
    return markdown(peers.HEADER, peers.cells(record["rows"]), record)


def _calibration(record: Record, _model: str) -> str:
    return markdown(calibrations.METHODS_HEADER, calibrations.methods_lines(record["rows"]), record)


def _calibration_in_short(record: Record, _model: str) -> str:
    header = [*calibrations.METHODS_HEADER[:3], "64 frames"]
    return markdown(header, calibrations.methods_lines(record["rows"], [64]), record)


def _conditions(record: Record, _model: str) -> str:
    return markdown(calibrations.CONDITIONS_HEADER, calibrations.conditions_lines(record["rows"]), record)


def _corrections(record: Record, _model: str) -> str:
    return markdown(calibrations.CORRECTIONS_HEADER, calibrations.corrections_lines(record["rows"]), record)


def _live(record: Record, _model: str) -> str:
    return markdown(live.HEADER, live.lines(record["rows"]), record)


def _evaluation(record: Record, _model: str) -> str:
    return markdown(evaluation.HEADER, evaluation.lines(record["rows"]), record)


def _soak(record: Record, _model: str) -> str:
    return markdown(soak.HEADER, soak.lines(record["rows"]), record)


def _rivals(record: Record, _model: str) -> str:
    """Ours, measured here, and what others measured and published; each share belongs to its own machine."""
    theirs = json.loads(RIVALS.read_text())
    accuracy = load("accuracy-camvid-test") or {"rows": []}
    rows = [emphasised(row) for row in _our_rows(record, accuracy["rows"])]
    for name, row in theirs["networks"].items():
        sizes = [f"{row[key]:.2f}" if row[key] else "-" for key in ("params_million", "gmacs", "share")]
        rows.append([name, *sizes, f"{row['miou_percent']:.1f}", f"test, {row['size']}", row["training"]])
    header = ["network", "M parameters", "GMACs", "INT8 time, share of ResNet-18", "CamVid mIoU %", "split, size"]
    notes = [
        f"- In bold, ours; time from frame to mask: {origin(record)}.",
        *_test_notes(accuracy),
        f"- The others' shares: {theirs['machine']}, {theirs['date']} ({theirs['protocol']}).",
        "- The others' mIoU is what their papers or code report.",
        "- A share is of the same ResNet-18 on the same machine; across machines it compares only roughly.",
    ]
    return "\n".join([markdown([*header, "training"], rows), "", *notes])


def _our_rows(record: Record, accuracy: list[Record]) -> list[list[str]]:
    height, width = record["size_hw"]
    rows = []
    for row in record["rows"]:
        if row["target"] != "openvino" or row["share_limit"] is None:
            continue
        network = record["networks"][row["model"]]
        miou = _miou(accuracy, row["model"], "fp32")
        sizes = [f"{network['params'] / 1e6:.2f}", f"{network['macs'] / 1e9:.2f}", f"{row['share']:.2f}"]
        weights = _cards.weights_record(row["model"])
        training = _cards.training_in_brief(weights) if weights else "-"
        rows.append([row["model"], *sizes, percent(miou), f"test, {height}x{width}", training])
    return rows


def _miou(accuracy: list[Record], model: str, precision: str) -> float | None:
    found = (item["miou"] for item in accuracy if (item["model"], item["precision"]) == (model, precision))
    return next(found, None)


def _test_notes(accuracy: Record) -> list[str]:
    """Say what our mIoU is, what INT8 makes of it, and where both come from."""
    rows = accuracy["rows"]
    if not rows:
        return []
    models = dict.fromkeys(row["model"] for row in rows)
    int8 = ", ".join(f"{model} {percent(_miou(rows, model, 'int8'))}" for model in models)
    return [f"- Our mIoU is in FP32 (in INT8: {int8}) on {rows[0]['frames']} frames: {origins(accuracy, rows)}."]


def _measured(name: str) -> Callable[[str], Record | None]:
    return lambda _model: load(name)


Maker = Callable[[Record, str], str]
# Name -> where its record is found, how it is laid out, and what stands there without a record.
TABLES: dict[str, tuple[Callable[[str], Record | None], Maker, str]] = {
    "latency-cpu": (_measured("latency-cpu"), _latency, NOT_MEASURED),
    "accuracy-camvid": (_measured("accuracy-camvid"), _accuracy, NOT_MEASURED),
    "accuracy-synthetic": (_measured("accuracy-synthetic"), _accuracy, NOT_MEASURED),
    "fit-camvid": (_measured("fit-camvid"), _fit, NOT_MEASURED),
    "frequency-cpu": (_measured("frequency-cpu"), _frequency, NOT_MEASURED),
    "reference-cpu": (_measured("reference-cpu"), _reference, NOT_MEASURED),
    "peers-cpu": (_measured("peers-cpu"), _peers, NOT_MEASURED),
    "calibration": (_measured(calibrations.NAME), _calibration, NOT_MEASURED),
    "calibration-in-short": (_measured(calibrations.NAME), _calibration_in_short, NOT_MEASURED),
    "calibration-conditions": (_measured(calibrations.NAME), _conditions, NOT_MEASURED),
    "calibration-corrections": (_measured(calibrations.NAME), _corrections, NOT_MEASURED),
    "live-cpu": (_measured("live-cpu"), _live, NOT_MEASURED),
    "evaluation-cpu": (_measured("evaluation-cpu"), _evaluation, NOT_MEASURED),
    "search-cpu": (_measured("search-cpu"), search.lines, NOT_MEASURED),
    "soak-cpu": (_measured("soak-cpu"), _soak, NOT_MEASURED),
    training_step.NAME: (_measured(training_step.NAME), training_step.laid_out, NOT_MEASURED),
    "rivals": (_measured("reference-cpu"), _rivals, NOT_MEASURED),
    "facts": (_measured("reference-cpu"), _cards.facts, NOT_MEASURED),
    "layers": (_measured("reference-cpu"), _cards.layers, NOT_MEASURED),
    "test-split": (_measured("accuracy-camvid-test"), _cards.test_split, NOT_MEASURED),
    "per-class": (_measured("accuracy-camvid"), _cards.per_class, NOT_MEASURED),
    "latency": (_measured("latency-cpu"), _cards.latency, NOT_MEASURED),
    "notice": (_cards.weights_record, _cards.notice, _cards.NO_WEIGHTS),
    "recipe": (_cards.weights_record, _cards.recipe, _cards.NO_WEIGHTS),
    "ablation": (_measured("ablation-camvid"), _cards.ablation, NOT_MEASURED),
    "schedule": (_measured("ablation-camvid"), _cards.schedule, NOT_MEASURED),
    "swap": (_measured("nonlocal-swap-camvid"), _cards.swap, NOT_MEASURED),
    "swap-blocks": (_measured("nonlocal-swap-camvid"), _cards.swap_blocks, NOT_MEASURED),
}


def _block(found: re.Match[str]) -> str:
    name, model = found["name"], found["model"] or ""
    find, lay_out, without = TABLES[name]
    record = find(model)
    marker = " ".join(filter(None, [f"table:{name}", model]))
    return f"<!-- {marker} -->\n{lay_out(record, model) if record else without}\n<!-- end -->"


def filled(text: str) -> str:
    """Return a page with every table made anew."""
    return BLOCK.sub(_block, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        old = page.read_text()
        new = filled(old)
        if check and new != old:
            sys.exit(f"the tables of {page.relative_to(ROOT)} differ from the results; run python benchmarks/tables.py")
        if not check and new != old:
            with atomic_file(page) as partial:
                partial.write_text(new)


if __name__ == "__main__":
    main()
