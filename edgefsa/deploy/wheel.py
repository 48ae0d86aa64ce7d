"""edgefsa's own wheel, made of the package that runs: a checkout's files by its pyproject.toml, else what pip recorded.

The same files make the same bytes. It holds no compiled code (a board builds the plugins from the sources in it), so it
is for every platform.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from pathlib import Path

import edgefsa
from edgefsa.artifacts import read_toml
from edgefsa.deploy.archive import write_archive
from edgefsa.errors import BundleError

WHEEL_NAME = f"edgefsa-{edgefsa.__version__}-py3-none-any.whl"
_PACKAGE = Path(edgefsa.__file__).resolve().parent
_INFO = f"edgefsa-{edgefsa.__version__}.dist-info"
_WHEEL = f"Wheel-Version: 1.0\nGenerator: edgefsa {edgefsa.__version__}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
# Written anew, or true of one installation only.
_NOT_TAKEN = ("RECORD", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
_COMPILED = (".pyc", ".so", ".dll", ".pyd")


def write_wheel(path: Path) -> None:
    """Write the wheel of the running edgefsa; BundleError where it is not installed as a package."""
    files = {name: place.read_bytes() for name, place in sorted(_files().items())}
    files[f"{_INFO}/WHEEL"] = _WHEEL.encode()
    write_archive(path, {**files, f"{_INFO}/RECORD": _record(files)})


def _files() -> dict[str, Path]:
    """Return each file of the wheel by its name there, without WHEEL and RECORD."""
    installed = _installation()
    root = _PACKAGE.parent
    files = _of_checkout(root) if (root / "pyproject.toml").is_file() else _of_record(installed)
    return dict(files) | dict(_of_metadata(installed))


def _installation() -> importlib.metadata.Distribution:
    # A checkout's folder of setuptools (edgefsa.egg-info) passes for a distribution too, and may be of any age.
    for found in importlib.metadata.distributions(name="edgefsa"):
        if found.version == edgefsa.__version__ and found.read_text("WHEEL") is not None:
            return found
    raise BundleError(
        f"edgefsa {edgefsa.__version__} is not installed, and a bundle carries its wheel; install it with pip "
        "(in a checkout: pip install -e .)"
    )


def _of_checkout(root: Path) -> Iterator[tuple[str, Path]]:
    settings = read_toml(root / "pyproject.toml")["tool"]["setuptools"]
    for package in settings["packages"]:
        folder = root / settings["package-dir"].get(package, package.replace(".", "/"))
        patterns = ("*.py", *settings["package-data"].get(package, ()))
        for place in (found for pattern in patterns for found in folder.glob(pattern)):
            if place.is_file():
                yield f"{package.replace('.', '/')}/{place.relative_to(folder).as_posix()}", place


def _of_record(installed: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in installed.files or ():
        if file.parts[0] == "edgefsa" and file.suffix not in _COMPILED:
            yield file.as_posix(), Path(str(file.locate()))


def _of_metadata(installed: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in installed.files or ():
        if file.parts[0] == _INFO and file.name not in _NOT_TAKEN and file.suffix not in _COMPILED:
            yield file.as_posix(), Path(str(file.locate()))


def _record(files: Mapping[str, bytes]) -> bytes:
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*rows, f"{_INFO}/RECORD,,\n"]).encode()
