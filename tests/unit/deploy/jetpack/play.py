"""Playing pip on a board: JetPack's packages as installed, recorded packages as offered, pip itself as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
PROJECT = HERE.parents[3] / "pyproject.toml"
# pip decides by the markers of the Python that runs it; the board's are put in their place.
PIP_ON_THE_BOARD = """
import sys
from pip._vendor.packaging import markers
here = markers.default_environment
markers.default_environment = lambda: {{**here(), **{markers!r}}}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


class Board(NamedTuple):
    """A JetPack by its version, and the version of its Python."""

    jetpack: str
    python: str

    @property
    def markers(self) -> dict[str, str]:
        """The environment markers that differ from those of this machine."""
        return {
            **{"python_version": self.python, "python_full_version": f"{self.python}.12"},
            **{"platform_machine": "aarch64", "sys_platform": "linux", "platform_system": "Linux"},
            **{"implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix"},
        }


class Offer(NamedTuple):
    """A package as an index offers it."""

    name: str
    version: str
    requires_dist: tuple[str, ...] = ()

    def metadata(self) -> str:
        """Return the text of METADATA."""
        needs = "".join(f"Requires-Dist: {need}\n" for need in self.requires_dist)
        extras = {name for need in self.requires_dist for name in re.findall(r"extra *== *['\"]([^'\"]+)", need)}
        provides = "".join(f"Provides-Extra: {name}\n" for name in sorted(extras))
        return f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{provides}{needs}"

    @property
    def folder(self) -> str:
        """The name of its dist-info folder."""
        return f"{self.name.replace('-', '_')}-{self.version}.dist-info"


BOARDS = {"6.2": Board("6.2", "3.10"), "7.0": Board("7.0", "3.12")}


def project() -> dict[str, object]:
    """Return [project] of pyproject.toml."""
    found: dict[str, object] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return found


def edgefsa() -> Offer:
    """Return this project as an index would offer it."""
    facts = project()
    needs = list(facts["dependencies"])  # type: ignore[call-overload]
    for extra, items in facts["optional-dependencies"].items():  # type: ignore[attr-defined]
        for item in items:
            head, semicolon, marker = item.partition(";")
            needs.append(
                f"{head}; ({marker.strip()}) and extra == '{extra}'" if semicolon else f"{head}; extra == '{extra}'"
            )
    return Offer("edgefsa", "0.0.1", tuple(needs))


def requirements_of(board: Board, *extras: str) -> list[str]:
    """Return what edgefsa with `extras` requires on a board, markers resolved."""
    found = []
    for text in edgefsa().requires_dist:
        need = Requirement(text)
        if any(
            need.marker is None or need.marker.evaluate({**board.markers, "extra": extra}) for extra in ("", *extras)
        ):
            need.marker = None
            found.append(str(need))
    return found


def installed_on(board: Board) -> list[Offer]:
    """Return JetPack's own packages as they were recorded."""
    lines = (HERE / f"installed-{board.jetpack}.txt").read_text(encoding="utf-8").splitlines()
    return [Offer(*line.split("==")) for line in lines if line and not line.startswith("#")]


def offered_to(board: Board) -> list[Offer]:
    """Return the packages that an index offered to that Python on aarch64 when they were recorded."""
    rows = json.loads((HERE / f"offered-{board.python}.json").read_text(encoding="utf-8"))
    return [Offer(row["name"], row["version"], tuple(row["requires_dist"])) for row in rows]


def pip_install(board: Board, folder: Path, *requirements: str, project: Offer | None = None) -> dict[str, str]:
    """Return what pip would install on a board, by name in lower case with hyphens, with the version."""
    import pip

    site, index, pip_alone = folder / "site", folder / "index", folder / "pip"
    for made in (site, index, pip_alone):
        made.mkdir(parents=True)
    (pip_alone / "pip").symlink_to(Path(pip.__file__).parent, target_is_directory=True)
    for item in installed_on(board):
        (site / item.folder).mkdir()
        (site / item.folder / "METADATA").write_text(item.metadata())
    for item in [*offered_to(board), project or edgefsa()]:
        write_wheel(item, index)
    # -S leaves this machine's own packages out: pip sees the board's alone.
    command = [sys.executable, "-S", "-c", PIP_ON_THE_BOARD.format(markers=board.markers), "install", "--dry-run"]
    command += ["--quiet", "--no-index", "--find-links", str(index), "--report", str(folder / "report.json")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment = {"PYTHONPATH": f"{pip_alone}{os.pathsep}{site}", "PIP_CONFIG_FILE": os.devnull}
    environment |= {"PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
    # In a folder of its own: Python looks for packages where it is started, too.
    done = subprocess.run(
        [*command, *requirements], capture_output=True, text=True, env={**kept, **environment}, cwd=folder
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    rows = json.loads((folder / "report.json").read_text())["install"]
    return {row["metadata"]["name"].lower().replace("_", "-"): row["metadata"]["version"] for row in rows}


def write_wheel(item: Offer, folder: Path) -> None:
    """Write a wheel that has nothing in it but its metadata."""
    name = f"{item.name.replace('-', '_')}-{item.version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr(f"{item.folder}/METADATA", item.metadata())
        wheel.writestr(f"{item.folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{item.folder}/RECORD", "")
