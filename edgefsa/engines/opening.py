"""From an engine directory to a session, after the checks that say what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.directory import check_directory
from edgefsa.engines.golden import NOT_RUN, Distance
from edgefsa.engines.precision import EVIDENCE, UNKNOWN
from edgefsa.engines.registry import target_of
from edgefsa.engines.session import Session, read_layers
from edgefsa.engines.weights import WeightBits
from edgefsa.media.tensors import InputForm
from edgefsa.metadata import batches_of


def open_engine(
    path: str | Path, *, check: bool = True, threads: int | None = None, host_code: bool = False
) -> Session:
    """Return the session of an engine directory, to be entered with `with`.

    Versions and CPU features are always compared with the manifest; with `check` the files' hashes are too, and
    entering repeats the golden output. `threads` limits the CPU threads of a run; None uses all cores. `host_code` lets
    a TensorRT plan run the code for the CPU that it may hold (plugins, a lean runtime): say so for engines you trust.

    Raises EngineError, with what differs and how to rebuild, or TargetError where the runtime is missing.
    """
    directory = Path(path)
    manifest = Manifest.read(directory)
    target = target_of(manifest.target)
    check_directory(directory, manifest, target, files=check)
    session = target.open(directory, manifest, threads=threads)
    session.check_golden, session.host_code = check, host_code
    return session


def logits_session(path: str | Path, *, threads: int | None = None) -> Session:
    """Return a session of the same engine whose run returns float32 logits [N, K, h, w] instead of masks.

    It is made for comparing stages, and may import onnx. Raises what `open_engine` raises, and TargetError where
    the target cannot give logits from an engine that was built for masks.
    """
    directory = Path(path)
    manifest = Manifest.read(directory)
    target = target_of(manifest.target)
    check_directory(directory, manifest, target)
    if manifest.model["outputs"] == "logits":
        return target.open(directory, manifest, threads=threads)
    return target.open_logits(directory, manifest, threads=threads)


def inspect_engine(path: str | Path) -> dict[str, Any]:
    """Return what an engine is without running it, also on a machine that cannot.

    Returns {"summary": for people, "manifest", "layers": [{"name", "kind", "precision", "detail", "nodes"}]}.
    Raises EngineError where the directory is damaged.
    """
    directory = Path(path)
    manifest = Manifest.read(directory)
    manifest.check_files(directory)
    height, width = manifest.model["size_hw"]
    detail = manifest.precision_detail
    proof = manifest.proof
    summary = {
        "engine": str(directory),
        "model": manifest.model["model"],
        "weights": manifest.model["weights"].get("kind", ""),
        "input": f"uint8 [{batches_of(manifest.model)}, {height}, {width}, 3] BGR",
        "output": manifest.model["outputs"],
        "target": " ".join([manifest.target, manifest.versions.get(target_of(manifest.target).package, "")]),
        "precision": _precision_in_words(manifest),
        "prepared": InputForm.from_dict(detail["input"]).in_words() if "input" in detail else "",
        "proved": _proof_in_words(manifest),
        "share": f"{100 * manifest.int8_macs_share:.1f} % of the MACs in INT8, "
        f"{100 * manifest.fp16_macs_share:.1f} % in 16-bit floats"
        if manifest.precision != UNKNOWN
        else "",
        **_numbers_in_words(proof["numbers"]),
        "built": f"{manifest.created} by edgefsa {manifest.versions.get('edgefsa', '')}",
        "device": ", ".join(f"{key} {value}" for key, value in manifest.device.items()),
    }
    if manifest.quantization:
        quantization = manifest.quantization
        weights = WeightBits(quantization["weight_bits"], quantization["weight_bits_why"])
        summary["int8 weights"] = weights.in_words()
        if quantization.get("search"):
            summary["search"] = _search_in_words(quantization["search"])
    kept = detail if "f32_nodes" in detail else manifest.quantization or {}
    if kept.get("f32_nodes"):
        summary["kept in float32"] = _reasons_in_words(kept["f32_nodes"])
    if kept.get("range_scan"):
        summary["range scan"] = _scan_in_words(kept["range_scan"])
    if "plugins" in detail:
        summary["plugins"] = ", ".join(f"{item['name']} ({item['where']})" for item in manifest.plugins) or (
            f"none: {detail['plugins']['why']}"
        )
    layers = [asdict(layer) for layer in read_layers(directory)]
    return {"summary": summary, "manifest": asdict(manifest), "layers": layers}


def _precision_in_words(manifest: Manifest) -> str:
    if manifest.precision == UNKNOWN:
        return "unknown: another tool made the engine"
    detail = manifest.precision_detail
    return f"{manifest.precision} (compute {detail['compute']}, the rest {detail['float']})"


def _proof_in_words(manifest: Manifest) -> str:
    proof = manifest.proof
    account = f"{EVIDENCE[proof['evidence']]} ({proof['account']})"
    if manifest.precision == UNKNOWN:
        return account
    return f"{proof['proved']} of {proof['expected']} {manifest.precision} layers, {account}"


def _reasons_in_words(nodes: Mapping[str, str]) -> str:
    """Return how many nodes stay in float32, and those of each reason."""
    grouped: dict[str, list[str]] = {}
    for node, reason in nodes.items():
        grouped.setdefault(reason, []).append(node)
    parts = [f"{names[0] if len(names) == 1 else len(names)} ({reason})" for reason, names in grouped.items()]
    return f"{len(nodes)} nodes: {'; '.join(parts)}"


def _search_in_words(search: Mapping[str, Any]) -> str:
    """Return what a search left in float, and what it was judged by."""
    named = ", ".join(search["in_float"]) or "nothing"
    return (
        f"left in float: {named}; {search['drop']:+.2f} points lost (at most {search['max_drop']:g}; all in INT8 "
        f"{search['drop_of_int8']:+.2f}) by {search['truth']} on {search['frames']} frames of {search['data']}, split "
        f"{search['split']}"
    )


def _scan_in_words(scan: Mapping[str, Any]) -> str:
    """Return the extremes that a scan for float16 met; one that is not finite is said to overflow."""
    extremes = (
        ("largest value", "largest", "amax", "tensor"),
        ("largest partial sum", "largest_sum", "sum", "node"),
        ("most lost by rounding", "roughest", "rounding", "tensor"),
    )
    parts = []
    for words, key, figure, where in extremes:
        item = scan.get(key)
        if item:
            value = "overflow" if item[figure] is None else f"{item[figure]:.3g}"
            parts.append(f"{words} {value} ({item[where]})")
    return f"{', '.join(parts)} on {scan['frames']} frames of {scan['data']}"


def _numbers_in_words(numbers: dict[str, Any]) -> dict[str, str]:
    """Return the distances of the build's proof for people."""
    data = f"{numbers['frames']} frames, {numbers['data']}"
    cost, engine = (
        "" if numbers[key] is None else Distance(numbers[key]["relative_l2"], numbers[key]["agreement"]).in_words()
        for key in ("float_to_converted", "converted_to_engine")
    )
    return {
        "float to converted": f"{cost} ({data})" if cost else "",
        "converted to engine": f"{engine} ({data})" if engine else NOT_RUN,
    }
