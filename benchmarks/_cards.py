"""The generated parts of docs/models: facts, layers, accuracy, latency, recipe and ablations."""

from __future__ import annotations

import json
import re
from typing import Any

from _common import Rows, mean_miou, signed
from _markdown import NOT_MEASURED, Record, emphasised, markdown, origin, percent
from _weights import WEIGHTS

NO_WEIGHTS = "*No weights are shipped yet.*"
ENGINES = ("openvino fp32", "openvino int8", "onnxruntime fp32", "onnxruntime int8")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# What the weights' record holds beside the recipe: told elsewhere, or for programs.
_NOT_RECIPE = ("model", "notice", "sha256", "accuracy", "qat")


def weights_record(model: str) -> Record | None:
    """Read what the training wrote beside a model's shipped weights; None where none are shipped."""
    path = WEIGHTS / f"{model}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def facts(record: Record, model: str) -> str:
    """Parameters, MACs and the shares of the reference's time."""
    network = record["networks"].get(model)
    if network is None:
        return NOT_MEASURED
    height, width = record["size_hw"]
    rows = [["parameters", f"{network['params']:,}"], [f"MACs at {height} x {width}", f"{network['macs']:,}"]]
    for row in record["rows"]:
        if row["model"] == model:
            name = f"time in INT8 on {row['target']}, of the ResNet-18 at output stride 8"
            rows.append([name, f"{row['share']:.2f}" + _aim(row)])
    return markdown(["", model], rows, record)


def _aim(row: dict[str, Any]) -> str:
    return f" (aim: at most {row['share_limit']:.2f})" if row["share_limit"] else ""


def layers(record: Record, model: str) -> str:
    """What each part of the network gives and costs."""
    network = record["networks"].get(model)
    if network is None:
        return NOT_MEASURED
    height, width = record["size_hw"]
    rows = [
        [
            f"`{row['layer']}`",
            " x ".join(map(str, row["output"])),
            f"{row['params'] / 1e3:.1f}",
            f"{row['macs'] / 1e6:.1f}",
        ]
        for row in network["layers"]
    ]
    return markdown(["layer", f"output at {height} x {width}", "thousand parameters", "MMACs"], rows)


def per_class(record: Record, model: str) -> str:
    """IoU of each class on every engine, and below the mean and the pixel accuracy."""
    columns = [row for row in record["rows"] if row["model"] == model]
    if not columns:
        return NOT_MEASURED
    titles = [f"{row['target']} {row['precision']}" + _label(row) for row in columns]
    rows = [
        [name, *(percent(column["per_class_iou"][name]) for column in columns)] for name in columns[0]["per_class_iou"]
    ]
    rows.append(emphasised(["mIoU", *(percent(column["miou"]) for column in columns)]))
    rows.append(["pixel accuracy", *(percent(column["pixel_accuracy"]) for column in columns)])
    return markdown(["IoU %", *titles], rows, record, columns)


def test_split(record: Record, model: str) -> str:
    """IoU of each class, where it is recorded, and the mean on the frames that the others' figures are of."""
    columns = [row for row in record["rows"] if row["model"] == model]
    if not columns:
        return NOT_MEASURED
    classes = dict.fromkeys(name for column in columns for name in column.get("per_class_iou", ()))
    # The classes were recorded with one digit.
    rows = [[name, *(percent(column.get("per_class_iou", {}).get(name), 1) for column in columns)] for name in classes]
    rows.append(emphasised(["mIoU", *(percent(column["miou"]) for column in columns)]))
    titles = [f"{row['target']} {row['precision']}" for row in columns]
    return markdown(["IoU %", *titles], rows, record, columns)


def _label(row: dict[str, Any]) -> str:
    return f", {row['label']}" if row.get("label") else ""


def latency(record: Record, model: str) -> str:
    """Frame-to-mask latency of one model, engine by engine."""
    rows = [
        [row["engine"], f"{row['median_ms']:.1f}", f"{row['p95_ms']:.1f}", f"{row['times_faster_than_pytorch']:.1f}"]
        for row in record["rows"]
        if row["model"] == model
    ]
    if not rows:
        return NOT_MEASURED
    return markdown(["engine", "median ms", "95th percentile ms", "times faster than PyTorch"], rows, record)


def notice(record: Record, _model: str) -> str:
    """The notice that the weights carry."""
    return f"> {record['notice']}"


def recipe(record: Record, _model: str) -> str:
    """Every setting of the training, as the weights' record has it."""
    settings = {name: value for name, value in record.items() if name not in _NOT_RECIPE}
    return markdown(["setting", "value"], [list(pair) for pair in _flat(settings)])


def training_in_brief(record: Record) -> str:
    """Say what weights started from, and the data sets that they saw."""
    trained = [item for item in record["data"] if item["split"].startswith("train")]
    kinds = [f"{item['data'].partition(':')[0]} {item['split']}".removesuffix(" train") for item in trained]
    scratch = record["recipe"].get("initial weights") is None
    start = record.get("initialisation", "from scratch" if scratch else "from other weights")
    return ", ".join([start, *kinds])


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return names and values, one pair a setting; fingerprints, which are for programs, are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        words = prefix + name.replace("_", " ").removesuffix(" hw")
        if isinstance(value, dict):
            pairs += _flat(value, "" if name == "recipe" else f"{words}: ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, item in enumerate(value, start=1):
                pairs += _flat(item, f"{words} {number}: ")
        elif not _FINGERPRINT.fullmatch(str(value)):
            pairs.append((words, _plain(value, " x " if name.endswith("hw") else ", ")))
    return pairs


def _plain(value: Any, between: str = ", ") -> str:
    if isinstance(value, list | tuple):
        return between.join(map(_plain, value)) or "-"
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def ablation(record: Record, model: str) -> str:
    """What a model's blocks and data earn; all models where none is named."""
    chosen = [row for row in record["rows"] if model in ("", row["model"])]
    if not chosen:
        return NOT_MEASURED
    rows = []
    for row in chosen:
        base = next(other for other in chosen if other["model"] == row["model"])
        figures = [f"{mean_miou(row, engine):.2f}" for engine in ENGINES[:2]]
        change = signed(mean_miou(row, ENGINES[0]) - mean_miou(base, ENGINES[0]))
        cost = [f"{row['params'] / 1e6:.3f}", f"{row['macs'] / 1e9:.3f}"]
        times = [f"{row['frame_to_mask_ms'][engine]:.1f}" for engine in ENGINES]
        rows.append([*([] if model else [row["model"]]), row["label"], figures[0], change, figures[1], *cost, *times])
    header = [*([] if model else ["model"]), "with", "mIoU % FP32", "change", "mIoU % INT8", "M parameters", "GMACs"]
    return markdown([*header, *(f"{engine} ms" for engine in ENGINES)], rows, record)


def schedule(record: Record, _model: str) -> str:
    """The settings that the runs of the ablation share."""
    seeds = {"seeds": record["seeds"]}
    return markdown(["setting", "value"], [list(pair) for pair in _flat({**record["schedule"], **seeds})])


def swap(record: Record, _model: str) -> str:
    """The trained non-local network with its attention swapped."""
    rows = []
    base = record["rows"][0]["accuracy"]["openvino fp32"]["miou"]
    for row in record["rows"]:
        full, low = (row["accuracy"][engine]["miou"] for engine in ENGINES[:2])
        times = [f"{row['frame_to_mask_ms'][engine]:.2f}" for engine in ENGINES[:2]]
        change = signed(100 * (full - base))
        rows.append([row["attention"], percent(full), change, percent(low), f"{row['macs'] / 1e9:.3f}", *times])
    header = ["attention", "mIoU % FP32", "change", "mIoU % INT8", "GMACs"]
    return markdown([*header, *(f"{engine} ms" for engine in ENGINES[:2])], rows, record)


def swap_blocks(record: Record, _model: str) -> str:
    """The attention block alone, at each size of feature map."""
    sizes = list(dict.fromkeys(tuple(row["size_hw"]) for row in record["blocks"]))
    by_form: dict[str, Rows] = {}
    for row in record["blocks"]:
        by_form.setdefault(row["attention"], []).append(row)
    rows = [
        [form, *(cell for row in group for cell in (f"{row['median_ms']:.2f}", f"{row['macs'] / 1e6:.1f}"))]
        for form, group in by_form.items()
    ]
    header = [f"{height} x {width}: {unit}" for height, width in sizes for unit in ("ms", "MMACs")]
    channels = record["blocks"][0]["channels"]
    return markdown([f"block alone, {channels} channels", *header], rows) + f"\n\n{origin(record)}"
