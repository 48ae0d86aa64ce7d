"""Write the measured tables of the README anew from results/*.json, so that no figure is typed by hand.

Each table stands between `<!-- table:NAME -->` and `<!-- end -->`. `--check` writes nothing and fails where a
table differs from its results.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import ACCURACY_HEADER, accuracy_cells, load

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"<!-- table:(?P<name>[\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def _markdown(header: list[str], rows: list[list[str]], record: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]
    machine = record["machine"]
    features = " ".join(name for name in machine["cpu_features"] if name.startswith(("avx512_", "amx", "asimddp")))
    note = f"`{record['command']}`, {record['date']}, {machine['cpu']}, {machine['cores']} cores, {features}"
    return "\n".join([*lines, "", note])


def _latency(record: dict[str, Any]) -> str:
    rows = [
        [row["model"], row["engine"], f"{row['median_ms']:.1f}", f"{row['times_faster_than_pytorch']:.1f}"]
        for row in record["rows"]
    ]
    return _markdown(["model", "engine", "frame to mask, median ms", "times faster"], rows, record)


def _accuracy(record: dict[str, Any]) -> str:
    return _markdown(ACCURACY_HEADER, accuracy_cells(record["rows"]), record)


def _frequency(record: dict[str, Any]) -> str:
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
    return _markdown(header, rows, record)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "latency-cpu": _latency,
    "accuracy-camvid": _accuracy,
    "accuracy-synthetic": _accuracy,
    "frequency-cpu": _frequency,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    old = README.read_text()
    new = BLOCK.sub(lambda m: f"<!-- table:{m['name']} -->\n{TABLES[m['name']](load(m['name']))}\n<!-- end -->", old)
    if parser.parse_args().check and new != old:
        sys.exit("the README's tables differ from benchmarks/results; run python benchmarks/tables.py")
    README.write_text(new)


if __name__ == "__main__":
    main()
