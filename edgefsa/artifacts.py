"""Files that appear whole or not at all, hashes, and the manifest of an engine directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgefsa.errors import EngineError, OutputError

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it otherwise.

    Raises OutputError where the directory cannot be made or written (a full disk among them).
    """
    path = Path(path)
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".partial{path.suffix}", dir=path.parent)
        os.close(handle)
    partial = Path(name)
    try:
        with _output_errors(path):
            yield partial
            partial.chmod(0o644)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; rename it to `path` on success, remove it otherwise.

    An existing `path` is kept until the new one is complete. Raises OutputError where it exists and
    `overwrite` is false, or where nothing can be written there.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; remove it, give another -o, or pass --overwrite")
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        with _output_errors(path):
            yield partial
            partial.chmod(0o755)
            _replace_directory(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace_directory(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent)) / path.name
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)


@contextlib.contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {path}: {reason}; free space or choose another place with -o") from error


def sha256_of_bytes(data: bytes) -> str:
    """Give the SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """Give the SHA-256 of a file's bytes as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n")
    return Path(path)


@dataclass
class Manifest:
    """What an engine directory is, as its manifest.json tells it.

    `model` is the metadata of the ONNX file it came from: name, options, num_classes, classes (names),
    palette ([[r, g, b], ...]), ignore_index, size_hw, batch, outputs ("masks" or "logits"), weights
    ({"kind": "trained" | "random" | "checkpoint", "source", "sha256"}).
    `files` maps each file of the directory to its SHA-256; `golden` names a stored input and output.
    """

    model: dict[str, Any]
    target: str
    precision: str
    precision_detail: dict[str, Any]
    files: dict[str, str]
    golden: dict[str, str] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    plugins: list[dict[str, Any]] = field(default_factory=list)
    created: str = ""
    format: int = MANIFEST_FORMAT

    def write(self, directory: Path) -> None:
        """Write manifest.json into `directory`."""
        write_json(directory / MANIFEST_NAME, asdict(self))

    @classmethod
    def read(cls, directory: str | Path) -> Manifest:
        """Read `directory`/manifest.json; EngineError where there is none or it is not ours."""
        path = Path(directory) / MANIFEST_NAME
        try:
            value = json.loads(path.read_text())
        except FileNotFoundError:
            raise EngineError(
                f"{directory} is no engine directory (it has no {MANIFEST_NAME}); make one with `edgefsa build`"
            ) from None
        except (OSError, ValueError) as error:
            raise EngineError(f"{path} cannot be read ({error}); rebuild the engine with `edgefsa build`") from error
        known = {item.name for item in fields(cls)}
        required = {"model", "target", "precision", "precision_detail", "files", "format"}
        if not isinstance(value, dict) or not required <= set(value):
            raise EngineError(f"{path} is not an edgefsa manifest; rebuild the engine with `edgefsa build`")
        if value["format"] != MANIFEST_FORMAT:
            raise EngineError(
                f"{path} has format {value['format']}, this edgefsa reads {MANIFEST_FORMAT}; rebuild the engine"
            )
        return cls(**{name: item for name, item in value.items() if name in known})

    def check_files(self, directory: str | Path) -> None:
        """Compare each file with its recorded hash; EngineError names the first that is gone or differs."""
        for name, expected in self.files.items():
            path = Path(directory) / name
            if not path.is_file():
                raise EngineError(f"{path} is missing from the engine; rebuild it with `edgefsa build`")
            if sha256_of_file(path) != expected:
                raise EngineError(f"{path} was changed after the build; rebuild the engine with `edgefsa build`")
