"""The archive of a bundle: a zip of plain files, stored uncompressed, that is read without trusting it.

The same members make the same bytes on every machine: they are sorted, have no times, and no compressor is involved.
Nothing is written by the names in an archive before all of them were checked.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from edgefsa.errors import BundleError
from edgefsa.manifest_fields import is_file_name

MAX_MEMBERS = 64
MAX_MEMBER_BYTES = 2 << 30
MAX_TOTAL_BYTES = 3 << 30
_CHUNK = 1 << 20
# Of zip's records, without names: a local header, a central one, and the end of the central directory.
_LOCAL, _CENTRAL, _END = 30, 46, 22
_END_MARK = b"PK\x05\x06"
_ENCRYPTED = 0x1
# What zipfile raises for archives that are damaged: offsets beyond the file, headers that do not fit, wrong sums.
_DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error)
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write an archive of `members`, each its bytes or the file that has them, in the order given."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _NO_TIME)
            info.create_system = 3  # Unix, also where this is Windows
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with archive.open(info, "w") as member:
                if isinstance(content, bytes):
                    member.write(content)
                    continue
                with content.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        member.write(chunk)


class Archive:
    """An archive open for reading, its names, kinds and sizes checked; used with `with`.

    Raises BundleError, naming the member, for what no archive of `write_archive` has: names that are no plain file
    names, or are there twice (also in another case), links and devices, compression, encryption, sizes beyond the
    limits, and bytes that belong to no member.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            _check_end(self.path)
            self._zip = zipfile.ZipFile(self.path)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BundleError(f"cannot read {self.path}: {reason}; check the path") from None
        except _DAMAGED as error:
            raise BundleError(f"{self.path} is damaged or no bundle ({error}); copy it again") from None
        try:
            self.sizes = self._checked_sizes()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def read(self, name: str, limit: int) -> bytes:
        """Return a member's bytes; BundleError where it is damaged, missing, or has more than `limit` bytes."""
        if name not in self.sizes:
            raise BundleError(f"{self.path} has no {name}; it is no bundle of `edgefsa bundle`")
        if self.sizes[name] > limit:
            raise BundleError(f"{self.path}: {name} has {self.sizes[name]} bytes, {limit} are the most; refused")
        try:
            return self._zip.read(name)
        except _DAMAGED as error:
            raise self._damaged(name) from error

    def sha256(self, name: str, output: BinaryIO | None = None) -> str:
        """Return the SHA-256 of a member's bytes, writing them to `output` on the way; BundleError where damaged."""
        digest = hashlib.sha256()
        try:
            member = self._zip.open(name)
        except _DAMAGED as error:
            raise self._damaged(name) from error
        with member:
            while chunk := self._chunk(member, name):
                digest.update(chunk)
                if output is not None:
                    output.write(chunk)
        return digest.hexdigest()

    def _chunk(self, member: IO[bytes], name: str) -> bytes:
        try:
            return member.read(_CHUNK)
        except _DAMAGED as error:
            raise self._damaged(name) from error

    def _damaged(self, name: str) -> BundleError:
        return BundleError(f"{self.path}: {name} is damaged; copy the bundle again")

    def _checked_sizes(self) -> dict[str, int]:
        seen: dict[str, str] = {}
        for info in self._zip.infolist():
            # zipfile cuts a name at its first NUL and turns backslashes around on Windows; this is as it stands there.
            name = info.orig_filename
            fault = _fault_of(info)
            if fault is None and name.casefold() in seen:
                fault = f"has the name of {seen[name.casefold()]!r} once more"
            if fault is not None:
                raise BundleError(f"{self.path}: the member {name!r} {fault}; refused")
            seen[name.casefold()] = name
        sizes = {info.filename: info.file_size for info in self._zip.infolist()}
        total = sum(sizes.values())
        if total > MAX_TOTAL_BYTES:
            raise BundleError(f"{self.path} holds {total} bytes, {MAX_TOTAL_BYTES} are the most; refused")
        records = sum(_LOCAL + _CENTRAL + 2 * len(name) for name in sizes) + _END
        if total + records != self.path.stat().st_size:
            raise BundleError(f"{self.path} has bytes that belong to no member; it is no bundle of `edgefsa bundle`")
        return sizes


def _check_end(path: Path) -> None:
    """Bound what zipfile is going to read at once: it takes the list of members into memory whole."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - _END))
        end = file.read(_END)
    if len(end) < _END or not end.startswith(_END_MARK):
        raise BundleError(f"{path} is cut short, or no bundle; copy it again, or make one with `edgefsa bundle`")
    count = struct.unpack_from("<H", end, 10)[0]
    if count > MAX_MEMBERS:
        raise BundleError(f"{path} has {count} members, {MAX_MEMBERS} are the most; refused")


def _fault_of(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if not is_file_name(info.orig_filename):
        return "is no plain file name, and could lead out of the folder it is unpacked to"
    if kind not in (0, stat.S_IFREG):
        return f"is {_KINDS.get(kind, 'no file')}, not a plain file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return f"is compressed, {info.compress_size} bytes for {info.file_size}, and bundles store what they hold"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"has {info.file_size} bytes, {MAX_MEMBER_BYTES} are the most"
    return None


_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}
