"""Record what pip is offered for a Jetson (aarch64): `python tests/unit/deploy/jetpack/record.py`, with a network.

It writes offered-VERSION.json beside itself for each Python of a JetPack: name, version and requirements of the newest
packages, and of those that remain where an older NumPy has to stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[3]))

from tests.unit.deploy.jetpack.play import BOARDS, Board, Offer, requirements_of  # noqa: E402

# What must not come in is offered too, else nothing could show that it stays out; of what it needs NumPy matters.
UNWANTED = ("torch", "opencv-python-headless", "onnxruntime")
TAGS = [f"manylinux{tag}_aarch64" for tag in ("_2_35", "_2_34", "_2_31", "_2_28", "_2_27", "_2_26", "_2_17", "2014")]


def offered(python: str, requirements: list[str], *, alone: bool = False) -> list[Offer]:
    """Return what pip would install for `requirements` on aarch64 into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), "--target", folder, "--only-binary=:all:", "--python-version", python]
        command += [flag for tag in TAGS for flag in ("--platform", tag)] + (["--no-deps"] if alone else [])
        subprocess.run([*command, *requirements], check=True)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return [Offer(item["name"], item["version"], tuple(item.get("requires_dist", ()))) for item in found]


def for_that_python(board: Board, found: list[Offer]) -> list[Offer]:
    """Return what the board's Python needs beside: pip decides by the markers of the Python that runs it."""
    names = {canonicalize_name(item.name) for item in found}
    for need in (Requirement(text) for item in found for text in item.requires_dist):
        asked = need.marker is not None and need.marker.evaluate({**board.markers, "extra": ""})
        if asked and canonicalize_name(need.name) not in names:
            more = offered(board.python, [f"{need.name}{need.specifier}"])
            return [*more, *for_that_python(board, [*found, *more])]
    return []


def _of_numpy(need: str) -> bool:
    return need.startswith("numpy")


def main() -> None:
    """Record for each board."""
    for board in BOARDS.values():
        wanted = requirements_of(board, "jetson", "serve")
        loose = [name for name in wanted if not name.startswith("numpy")]
        found = [*offered(board.python, wanted), *offered(board.python, loose)]
        found += offered(board.python, ["onnx", "cuda-bindings", "ml_dtypes", "numpy"])
        for name in UNWANTED:
            (item,) = offered(board.python, [name], alone=True)
            found.append(item._replace(requires_dist=tuple(filter(_of_numpy, item.requires_dist))))
        found += for_that_python(board, found)
        rows = sorted({(item.name, item.version): item for item in found}.values())
        path = HERE / f"offered-{board.python}.json"
        path.write_text(json.dumps([item._asdict() for item in rows], indent=1) + "\n")
        print(path, len(rows))


if __name__ == "__main__":
    main()
