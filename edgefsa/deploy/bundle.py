"""A bundle: one file with all that another machine needs to build an engine again, and to prove it there.

bundle.json      the index: what it is of, and the size and SHA-256 of each other member
bundle.json.sig  an ssh signature of the index, where it is signed
model.onnx       the float32 graph, with the bodies of its frequency operators
int8.onnx        (or fp16.onnx) the converted graph, which defines the golden outputs
ranges.json      the activation ranges, and recipe.toml, how they were measured and what was left in float
manifest.json    the engine's record: classes, palette, precision, proof, bounds, versions
palette.json     class names and colours, in the order of the mask's indices
golden.npz       frames, and the converted graph's outputs for them
timing.cache     TensorRT's timings, of use on the same GPU
edgefsa-*.whl    the runtime, with the sources of the plugins
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgefsa
from edgefsa.artifacts import Manifest, atomic_directory, atomic_file, sha256_of_bytes, sha256_of_file, toml_text
from edgefsa.deploy.archive import Archive, write_archive
from edgefsa.deploy.signature import fingerprint_of, sign, signer_of
from edgefsa.deploy.wheel import WHEEL_NAME, write_wheel
from edgefsa.engines.cpu.onnxruntime import ENGINE_NAME as ONNX_ENGINE_NAME
from edgefsa.engines.names import (
    ADOPTED,
    GOLDEN_NAME,
    HALF_NAME,
    QUANTISED_NAME,
    RANGES_NAME,
    RECIPE_NAME,
    SOURCE_NAME,
    TIMING_CACHE_NAME,
)
from edgefsa.errors import BundleError, EngineError
from edgefsa.manifest_fields import is_file_name

SUFFIX = ".edgefsa"
INDEX_NAME, SIGNATURE_NAME = "bundle.json", "bundle.json.sig"
MANIFEST_NAME, PALETTE_NAME = "manifest.json", "palette.json"
FORMAT = 1
_REQUIRED = (SOURCE_NAME, MANIFEST_NAME, PALETTE_NAME, GOLDEN_NAME)
_OPTIONAL = (QUANTISED_NAME, HALF_NAME, RANGES_NAME, RECIPE_NAME, TIMING_CACHE_NAME)
_INDEX_LIMIT, _SIGNATURE_LIMIT = 1 << 20, 1 << 16


@dataclass(frozen=True)
class Index:
    """What a bundle's bundle.json says: the `engine` it was made of, by which edgefsa, and its `members`.

    `members` maps each other member, but the signature, to {"bytes", "sha256"}; `wheel` is the one that pip installs.
    """

    engine: str
    edgefsa: str
    wheel: str
    members: Mapping[str, Mapping[str, Any]]
    format: int = FORMAT

    def as_bytes(self) -> bytes:
        """Return the text that is stored and signed."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every member was checked: its file or folder, its index, and who signed it, in words.

    `signed_by` is a name of the allowed signers, else "key SHA256:..." for a signature that holds; None where it is
    not signed.
    """

    path: Path
    index: Index
    signed_by: str | None


def write_bundle(engine: str | Path, output: str | Path, *, sign_with: str | Path | None = None) -> Bundle:
    """Write a bundle of an engine directory to the file `output`, whole or not at all; the same engine, the same bytes.

    `sign_with` is an ssh key. Raises EngineError where the engine is damaged or has no ranges to be built again with.
    """
    engine, output = Path(engine), Path(output)
    manifest = Manifest.read(engine)
    if manifest.target.endswith(ADOPTED):
        raise EngineError(f"{engine.name} was adopted, and a bundle holds what boards build engines from; copy it")
    manifest.check_files(engine)
    with tempfile.TemporaryDirectory() as scratch:
        wheel = Path(scratch) / WHEEL_NAME
        write_wheel(wheel)
        members = _members(engine, manifest) | {WHEEL_NAME: wheel}
        listed = {name: _listed(members[name]) for name in sorted(members)}
        index = Index(engine.resolve().name, edgefsa.__version__, WHEEL_NAME, listed)
        head = {INDEX_NAME: index.as_bytes()}
        if sign_with is not None:
            head[SIGNATURE_NAME] = sign(index.as_bytes(), sign_with)
        with atomic_file(output) as partial:
            write_archive(partial, {**head, **{name: members[name] for name in listed}})
    return read_bundle(output)


def _members(engine: Path, manifest: Manifest) -> dict[str, bytes | Path]:
    members: dict[str, bytes | Path] = {name: engine / name for name in (SOURCE_NAME, MANIFEST_NAME)}
    members[GOLDEN_NAME] = engine / manifest.golden["file"]
    names = (QUANTISED_NAME, HALF_NAME, RANGES_NAME, RECIPE_NAME, TIMING_CACHE_NAME)
    members |= {name: engine / name for name in names if name in manifest.files}
    if manifest.target == "onnxruntime" and manifest.precision != "fp32":  # there it is the engine itself
        members[QUANTISED_NAME if manifest.precision == "int8" else HALF_NAME] = engine / ONNX_ENGINE_NAME
    if manifest.precision == "int8" and RANGES_NAME not in members:
        raise EngineError(
            f"{engine} has no {RANGES_NAME}, which a build elsewhere needs; build it again with this edgefsa"
        )
    if RANGES_NAME in members and RECIPE_NAME not in members:
        members[RECIPE_NAME] = _recipe(json.loads((engine / RANGES_NAME).read_text(encoding="utf-8")))
    pairs = zip(manifest.model["classes"], manifest.model["palette"], strict=True)
    palette = [{"class": name, "rgb": colour} for name, colour in pairs]
    members[PALETTE_NAME] = (json.dumps(palette, indent=1) + "\n").encode()
    return members


def _recipe(ranges: Mapping[str, Any]) -> bytes:
    """Return the recipe of `edgefsa calibrate --recipe` that repeats these ranges."""
    values = {
        "model": ranges["model"],
        "data": ranges["data"].get("name"),
        "method": ranges["method"],
        "frames": ranges["data"].get("frames"),
    }
    return toml_text({name: value for name, value in values.items() if value is not None}).encode()


def _listed(content: bytes | Path) -> dict[str, Any]:
    if isinstance(content, bytes):
        return {"bytes": len(content), "sha256": sha256_of_bytes(content)}
    return {"bytes": content.stat().st_size, "sha256": sha256_of_file(content)}


def read_bundle(path: str | Path, *, allowed_signers: str | Path | None = None) -> Bundle:
    """Check a bundle whole: the file, or the folder that `unpack_bundle` made of one.

    With `allowed_signers`, a file as ssh-keygen(1) describes it, the bundle has to be signed by one of them.
    Raises BundleError, naming the member, where something is damaged, missing, unknown, unsafe or not signed as
    demanded.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, allowed_signers)
    with Archive(path) as archive:
        bundle = _head(archive, allowed_signers)
        for name in bundle.index.members:
            _check_member(bundle, name, archive.sha256(name))
    return bundle


def unpack_bundle(
    path: str | Path, folder: str | Path, *, allowed_signers: str | Path | None = None, overwrite: bool = False
) -> Bundle:
    """Unpack a bundle's file to `folder`, which appears whole, every member checked, or not at all.

    The signature is checked first, as in `read_bundle`. Returns the bundle as the folder holds it.
    """
    with Archive(path) as archive:
        bundle = _head(archive, allowed_signers)
        with atomic_directory(folder, overwrite=overwrite) as partial:
            (partial / INDEX_NAME).write_bytes(archive.read(INDEX_NAME, _INDEX_LIMIT))
            if SIGNATURE_NAME in archive.sizes:
                (partial / SIGNATURE_NAME).write_bytes(archive.read(SIGNATURE_NAME, _SIGNATURE_LIMIT))
            for name in bundle.index.members:
                with (partial / name).open("wb") as file:
                    digest = archive.sha256(name, file)
                _check_member(bundle, name, digest)
    return Bundle(Path(folder), bundle.index, bundle.signed_by)


def _head(archive: Archive, allowed_signers: str | Path | None) -> Bundle:
    """Read the index, check the signature, and hold the archive's list of members against the index."""
    data = archive.read(INDEX_NAME, _INDEX_LIMIT)
    signed = SIGNATURE_NAME in archive.sizes
    signature = archive.read(SIGNATURE_NAME, _SIGNATURE_LIMIT) if signed else None
    signed_by = _signed_by(archive.path, data, signature, allowed_signers)
    index = _index_of(data, archive.path)
    unlisted = [name for name in archive.sizes if name not in (*index.members, INDEX_NAME, SIGNATURE_NAME)]
    if unlisted:
        raise BundleError(f"{archive.path}: the member {unlisted[0]!r} is not in {INDEX_NAME}; refused")
    for name, facts in index.members.items():
        if archive.sizes.get(name) != facts["bytes"]:
            found = f"{archive.sizes[name]} bytes" if name in archive.sizes else "nothing"
            raise BundleError(
                f"{archive.path}: {name} has {found}, {INDEX_NAME} says {facts['bytes']} bytes; copy it again"
            )
    return Bundle(archive.path, index, signed_by)


def _signed_by(path: Path, data: bytes, signature: bytes | None, allowed_signers: str | Path | None) -> str | None:
    if allowed_signers is None:
        return None if signature is None else f"key {fingerprint_of(data, signature, path)}"
    if signature is None:
        raise BundleError(f"{path} is not signed, and --allowed-signers demands it; sign with `edgefsa bundle --sign`")
    return signer_of(data, signature, allowed_signers, path)


def _read_folder(folder: Path, allowed_signers: str | Path | None) -> Bundle:
    names = [INDEX_NAME] + ([SIGNATURE_NAME] if (folder / SIGNATURE_NAME).exists() else [])
    data, *signature = [_small_file(folder / name) for name in names]
    signed_by = _signed_by(folder, data, signature[0] if signature else None, allowed_signers)
    bundle = Bundle(folder, _index_of(data, folder), signed_by)
    for name in bundle.index.members:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{folder}: {name} is missing, or no plain file; unpack the bundle again")
        _check_member(bundle, name, sha256_of_file(path))
    return bundle


def _small_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_INDEX_LIMIT)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BundleError(f"cannot read {path}: {reason}; give a bundle, or the folder one was unpacked to") from None


def _check_member(bundle: Bundle, name: str, digest: str) -> None:
    if digest != bundle.index.members[name]["sha256"]:
        raise BundleError(
            f"{bundle.path}: {name} was changed after the bundle was made (its SHA-256 differs); copy the bundle again"
        )


def _index_of(data: bytes, source: Path) -> Index:
    """Read an index; BundleError where it is not as `write_bundle` makes them."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError(f"{source}: {INDEX_NAME} is damaged (no JSON); copy the bundle again") from None
    fault = _index_fault(value)
    if fault is not None:
        raise BundleError(f"{source}: {INDEX_NAME} has {fault}; make the bundle again with this edgefsa")
    return Index(**value)


def _index_fault(value: Any) -> str | None:
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        return f"format {str(found)[:20]}, and this edgefsa reads {FORMAT}"
    if set(value) != set(Index.__dataclass_fields__):
        return "other fields than an index has"
    if not all(isinstance(value[name], str) and is_file_name(value[name]) for name in ("engine", "edgefsa", "wheel")):
        return "an engine, edgefsa or wheel that is no name"
    members, wheel = value["members"], value["wheel"]
    if not wheel.endswith(".whl") or not isinstance(members, dict) or not all(map(_is_listed, members.values())):
        return "members without their bytes and SHA-256"
    unknown = [name for name in members if name not in (*_REQUIRED, *_OPTIONAL, wheel)]
    if unknown:
        return f"the member {unknown[0]!r}, which no bundle has"
    missing = [name for name in (*_REQUIRED, wheel) if name not in members]
    return f"no {missing[0]}" if missing else None


def _is_listed(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"bytes", "sha256"}:
        return False
    return type(value["bytes"]) is int and isinstance(value["sha256"], str)
