"""Files that appear whole or not at all, TOML files that people write, hashes, and an engine directory's manifest."""

from __future__ import annotations

import contextlib
import enum
import errno
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgefsa.errors import EngineError, InputError, OutputError
from edgefsa.manifest_fields import manifest_fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

try:
    import fcntl
except ImportError:  # not on Windows; leftovers of killed writers stay there
    fcntl = None  # type: ignore[assignment]

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 2

_PARTIAL = ".partial"


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to `path` on success, remove it otherwise.

    The temporary path has the file name of `path` and lies in a hidden directory beside it, so what the
    writer leaves next to it goes away too. The file is on the disk, and not in a cache alone, once this returns.
    Raises OutputError where it cannot be written (a full disk, no permission, `path` is a directory) or where nothing
    was written. Other errors pass untouched.
    """
    path = Path(path)
    with _staging(path) as staging:
        yield staging / path.name
        _sync(staging / path.name)
        (staging / path.name).replace(path)
        _sync_folder(path.parent)


def check_writable(path: str | Path) -> None:
    """Raise OutputError where `atomic_file` could not write `path`, before the work whose result it is to hold.

    The directory that `path` lies in is made where it is missing.
    """
    with _staging(Path(path)):
        pass


@contextlib.contextmanager
def atomic_directory(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory to fill; rename it to `path` on success, remove it otherwise.

    An existing `path` is kept until the new one is complete and on the disk; where a writer was killed while it put
    the new one in its place, the old one is put back first. Raises OutputError where `path` exists and `overwrite` is
    false, also where another writer made it meanwhile, or where nothing can be written there. Other errors pass
    untouched.
    """
    path = Path(path)
    with _staging(path) as staging:
        if os.path.lexists(path) and not overwrite:
            raise _exists(path)
        new = staging / path.name
        new.mkdir()
        yield new
        _sync_tree(new)
        while not _take_place(new, path, old=_replaced(staging, path), overwrite=overwrite):
            pass  # another writer put its own there between two steps of ours
        _sync_folder(path.parent)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already; remove it, give another -o, or pass --overwrite")


def _take_place(new: Path, path: Path, old: Path, *, overwrite: bool) -> bool:
    """Rename `new` to `path`, moving what is there to `old`; False where there was something again."""
    shutil.rmtree(old, ignore_errors=True)
    if overwrite and os.path.lexists(path):
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
    try:
        # No system renames a directory to one that holds something, or to a file.
        new.rename(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            if not overwrite:
                raise _exists(path) from error
            return False
        if old.exists():
            old.rename(path)
        raise
    return True


def _sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk: after a power cut a renamed file could be empty else."""
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    """Wait until the names in a directory are on the disk, where the system can do that."""
    with contextlib.suppress(PermissionError):  # Windows opens no directories
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
                raise
        finally:
            os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_folder(path)
        elif path.is_file():
            _sync(path)
    _sync_folder(folder)


def _replaced(staging: Path, path: Path) -> Path:
    return staging / f"{path.name}.replaced"


@contextlib.contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A hidden, locked directory beside `path`, on the same file system; it is gone afterwards."""
    with contextlib.ExitStack() as stack:
        with _output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            staging = _locked_directory(path, stack)
        with _output_errors(path, staging):
            yield staging


def _locked_directory(path: Path, stack: contextlib.ExitStack) -> Path:
    while True:
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent))
        stack.callback(shutil.rmtree, staging, ignore_errors=True)
        # Another writer may have taken it for an abandoned one before it was locked.
        if stack.enter_context(_lock(staging)) is not _Lock.HELD_ELSEWHERE and staging.exists():
            return staging


def _remove_abandoned(path: Path) -> None:
    """Remove what earlier writers of `path` left when they were killed: the lock died with them."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}"):
        with _lock(leftover) as lock:
            if lock is not _Lock.TAKEN:
                continue
            # Killed between its two renames: the old directory is in here and nowhere else.
            if not path.exists() and _replaced(leftover, path).is_dir():
                _replaced(leftover, path).rename(path)
            shutil.rmtree(leftover, ignore_errors=True)


class _Lock(enum.Enum):
    TAKEN = enum.auto()
    HELD_ELSEWHERE = enum.auto()
    UNKNOWN = enum.auto()  # this system or file system has no such locks


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[_Lock]:
    """Try to lock a directory until the block ends. The kernel drops the lock of a process that dies."""
    if fcntl is None:
        yield _Lock.UNKNOWN
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        yield _Lock.HELD_ELSEWHERE
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = _Lock.TAKEN
        except BlockingIOError:
            state = _Lock.HELD_ELSEWHERE
        except OSError:
            state = _Lock.UNKNOWN
        yield state
    finally:
        os.close(handle)


@contextlib.contextmanager
def _output_errors(path: Path, staging: Path | None = None) -> Iterator[None]:
    """Turn a failure to write `path` into an OutputError; let a failure about another file pass."""
    try:
        yield
    except OSError as error:
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        ours = staging is None or any(name == str(path) or name.startswith(str(staging)) for name in named)
        # write() fails without a file name; these are the errors of a medium that takes no more.
        full = not named and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
        if not (ours or full):
            raise
        raise OutputError(f"cannot write {path}: {_reason(error, path)}; {_remedy(error)}") from error


def _reason(error: OSError, path: Path) -> str:
    reason = (error.strerror or str(error)).lower()
    in_the_way = error.filename is not None and Path(error.filename) in path.parents
    return f"{error.filename}: {reason}" if in_the_way else reason


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space or choose another place with -o"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "get the permission to write there, or give another path with -o"
    return "give another path with -o"


def sha256_of_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return Path(path)


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the values of a TOML file that a person wrote; InputError where it cannot be read or is no TOML."""
    try:
        values: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InputError(f"{path} is not TOML ({error}); mend the file") from None
    return values


def toml_text(values: Mapping[str, Any]) -> str:
    """Return texts, numbers and lists of these by name as TOML; what is a mapping becomes a table at the end."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    # A JSON text, number or list is a TOML one as well; lists are broken over lines, as people edit them.
    lines = [f"{name} = {_toml_value(value)}\n" for name, value in plain.items()]
    tables = [f"\n[{name}]\n{toml_text(value)}" for name, value in values.items() if isinstance(value, Mapping)]
    return "".join([*lines, *tables])


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "[\n" + "".join(f"    {_toml_value(item)},\n" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@dataclass
class Manifest:
    """What an engine directory is, as its manifest.json records it.

    `model` is the metadata of the ONNX file it came from: name, options, num_classes, classes (names),
    palette ([[r, g, b], ...]), ignore_index, size_hw, batch, outputs ("masks" or "logits"), weights
    ({"kind": "trained" | "random" | "checkpoint", "source", "sha256"}).
    `files` maps each file of the directory to its SHA-256; `golden` names the stored frames and the converted graph's
    outputs for them. `proof` records how the engine was proved; `int8_macs_share` and `fp16_macs_share` (0 to 1) are
    the shares of its multiply-accumulates that run in INT8 and in 16-bit floats.
    """

    model: dict[str, Any]
    target: str
    precision: str
    precision_detail: dict[str, Any]
    files: dict[str, str]
    golden: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    int8_macs_share: float = 0.0
    fp16_macs_share: float = 0.0
    quantization: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    plugins: list[dict[str, Any]] = field(default_factory=list)
    created: str = ""
    format: int = MANIFEST_FORMAT

    def write(self, directory: Path) -> None:
        """Write manifest.json into `directory`, with a hash over itself."""
        value = asdict(self)
        write_json(directory / MANIFEST_NAME, {**value, "sha256": _sha256_of_json(value)})

    @classmethod
    def read(cls, directory: str | Path) -> Manifest:
        """Read `directory`/manifest.json; EngineError where there is none, or it is not ours as we wrote it.

        The types of all fields that are used are checked, and that every file name in it is a plain one.
        """
        path = Path(directory) / MANIFEST_NAME
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            remedy = (
                "make one of it with `edgefsa adopt`" if Path(directory).is_file() else "make one with `edgefsa build`"
            )
            raise EngineError(f"{directory} is no engine directory (it has no {MANIFEST_NAME}); {remedy}") from None
        except (OSError, ValueError) as error:
            raise EngineError(f"{path} cannot be read ({error}); rebuild the engine with `edgefsa build`") from error
        if not isinstance(value, dict) or "format" not in value or "model" not in value:
            raise EngineError(f"{path} is not an edgefsa manifest; rebuild the engine with `edgefsa build`")
        if value["format"] != MANIFEST_FORMAT:
            raise EngineError(
                f"{path} has format {value['format']}, this edgefsa reads {MANIFEST_FORMAT}; rebuild the engine"
            )
        fault = manifest_fault(value)
        if fault is not None:
            raise EngineError(f"{path} has {fault}; rebuild the engine with `edgefsa build`")
        recorded = value.pop("sha256", None)
        if recorded != _sha256_of_json(value) or set(value) != {item.name for item in fields(cls)}:
            raise EngineError(f"{path} was changed after the build; rebuild the engine with `edgefsa build`")
        return cls(**value)

    def check_files(self, directory: str | Path) -> None:
        """Compare each file with its recorded hash; EngineError names the first that is gone, a link, or differs."""
        for name, expected in self.files.items():
            path = Path(directory) / name
            if path.is_symlink():
                raise EngineError(f"{path} is a link, and what it leads to is not the engine's; rebuild the engine")
            if not path.is_file():
                raise EngineError(f"{path} is missing from the engine; rebuild it with `edgefsa build`")
            try:
                found = sha256_of_file(path)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise EngineError(f"{path} cannot be read: {reason}; check its permissions") from error
            if found != expected:
                raise EngineError(f"{path} was changed after the build; rebuild the engine with `edgefsa build`")


def _sha256_of_json(value: Any) -> str:
    return sha256_of_bytes(json.dumps(value, sort_keys=True).encode())
