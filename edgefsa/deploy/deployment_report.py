"""What a deployment found on the board, for people and for scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgefsa.artifacts import atomic_file
from edgefsa.deploy.finding import OK
from edgefsa.machine.telemetry import Energy, Window


def write_report(report: dict[str, Any], folder: str | Path) -> list[Path]:
    """Write the report of `deploy` to `folder`, as BUNDLE-HOST.json and .txt; return the two paths."""
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", report["host"]).strip("-")
    stem = f"{Path(report['bundle']['file']).stem}-{host}"
    texts = {".json": json.dumps(report, indent=1), ".txt": report_text(report)}
    paths = []
    for suffix, text in texts.items():
        path = Path(folder) / (stem + suffix)
        with atomic_file(path) as partial:
            partial.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def report_text(report: dict[str, Any]) -> str:
    """Lay the report of `deploy` out for people."""
    return "\n".join(f"{name.ljust(9)} {text}".rstrip() for name, text in _lines(report))


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    bundle, engine, check, release = (report[name] for name in ("bundle", "engine", "check", "release"))
    yield "bundle", f"{bundle['file']}, SHA-256 {bundle['sha256'][:16]}"
    yield "signed by", bundle["signed_by"] or "nobody"
    yield "board", f"{report['host']}: {_board_in_words(report)}"
    yield "engine", engine["engine"]
    yield "", engine["build"]["detail"]
    yield "golden", f"{_percent(check['agreement'])} of the pixels agree, {_percent(check['needed'])} must"
    for row in report["bench"]:
        for name, key, rate in (("engine", "latency_ms", "engine_fps"), ("frame to mask", "frame_to_mask_ms", "fps")):
            times = ", ".join(f"{label} {row[key][label]:.2f}" for label in ("median", "p95", "p99"))
            yield "time", f"{name}: {times} ms, {row[rate]:.1f} fps"
        yield "meanwhile", Window(**row["conditions"]).in_words() or "nothing could be read"
        yield "energy", Energy(**row["energy"]).in_words() if row["energy"] else "no power can be read there"
    done = (f"{name} {step['seconds']:.1f}" for name, step in report["steps"].items())
    yield "steps", f"{', '.join(done)} s"
    for finding in report["doctor"]["findings"]:
        if finding["level"] != OK:
            yield finding["level"], finding["what"] + (f"; mended by: {finding['mend']}" if finding["mend"] else "")
    yield from (("note", note) for note in report["notes"])
    yield "in use", f"{release['directory']}/current -> releases/{release['current']}"
    yield "before it", f"releases/{release['previous']}" if release["previous"] else "nothing"


def _board_in_words(report: dict[str, Any]) -> str:
    facts, jetson = report["board"], report["doctor"]["jetson"]
    parts = [f"Python {facts['python']}", facts["architecture"], report["doctor"]["cpu"]["name"]]
    if jetson:
        parts += [str(jetson["model"]), f"JetPack {jetson['jetpack']}", f"power mode {jetson['power_mode']}"]
    return ", ".join(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
