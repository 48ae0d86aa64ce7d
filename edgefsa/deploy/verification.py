"""Whether what a bundle promises holds on this machine: its files, its signature, and an engine built of it here.

Building needs onnx and onnxruntime; nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgefsa.artifacts import Manifest, atomic_directory, atomic_file
from edgefsa.deploy.bundle import Bundle, read_bundle, unpack_bundle
from edgefsa.engines import choose_target, open_engine
from edgefsa.engines.directory import engine_name
from edgefsa.engines.golden import golden_agreement
from edgefsa.engines.names import RANGES_NAME, RECIPE_NAME, SOURCE_NAME, TIMING_CACHE_NAME
from edgefsa.engines.registry import AUTO, target_of
from edgefsa.engines.tensorrt.timing_cache import timing_cache_path
from edgefsa.errors import EngineError, InputError, OutputError
from edgefsa.manifest_fields import is_file_name

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Verification:
    """What was checked of a bundle.

    `members` is how many files have the hash that the index says; `signed_by` as in `Bundle`. `agreement` is the share
    of the golden frames' pixels, 0 to 1, in which the engine of `target` has the class of the truth, `needed` the
    least that passes; all three are None where no engine was run, and `why_not` says why. `engine` is where the engine
    is kept, `build` what its build reported.
    """

    bundle: str
    members: int
    signed_by: str | None
    why_not: str | None = None
    target: str | None = None
    agreement: float | None = None
    needed: float | None = None
    engine: str | None = None
    build: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        return asdict(self)


def verify_bundle(
    path: str | Path,
    *,
    allowed_signers: str | Path | None = None,
    files_only: bool = False,
    engine: str | Path | None = None,
    target: str | None = None,
    plugins: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    say: Say = lambda line: None,
    progress: Progress | None = None,
) -> Verification:
    """Check a bundle's file or unpacked folder, then build its engine and hold it to the golden frames.

    `target` is what to build for, the bundle's own by default where that runs here; `plugins` as in `build`. The
    engine is kept in the folder `output` where one is given, once it has passed; `engine` names one to compare in
    place of building. Raises BundleError for the files and the signature, what `build_engine` raises, and EngineError
    where fewer pixels agree than the bundle's manifest asks for.
    """
    with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
        if Path(path).is_dir():
            bundle = read_bundle(path, allowed_signers=allowed_signers)
        else:
            bundle = unpack_bundle(path, Path(scratch) / "bundle", allowed_signers=allowed_signers)
        manifest = Manifest.read(bundle.path)
        checked = Verification(str(path), len(bundle.index.members), bundle.signed_by)
        if files_only:
            return replace(checked, why_not="only the files were asked for")
        if engine is not None:
            return _with_agreement(checked, bundle, manifest, Path(engine))
        if target is None and (reason := _unbuildable(manifest.target)):
            return replace(checked, why_not=reason)
        chosen = choose_target(manifest.precision)[0] if target == AUTO else target or manifest.target
        place = Path(scratch if output is None else output) / engine_name(manifest.model, chosen, manifest.precision)
        options = {"plugins": plugins} if plugins and chosen == "tensorrt" else {}
        with atomic_directory(place, overwrite=overwrite) as partial:
            # Beside the folder that is to appear, so that an engine which does not pass goes away with it.
            built = _build(bundle, manifest, chosen, options, partial.parent / "built", say, progress)
            result = _with_agreement(checked, bundle, manifest, Path(built["engine"]))
            for file in Path(built["engine"]).iterdir():
                file.rename(partial / file.name)
    kept = None if output is None else str(place)
    return replace(result, engine=kept, build={**built, "engine": kept})


def _unbuildable(target: str) -> str | None:
    reason = target_of(target).unbuildable() or target_of(target).unusable()
    return None if reason is None else f"{target} cannot build and run here: {reason}"


def _build(
    bundle: Bundle,
    manifest: Manifest,
    target: str,
    options: dict[str, Any],
    output: Path,
    say: Say,
    progress: Progress | None,
) -> dict[str, Any]:
    from edgefsa.build import BuildRequest, ModelRequest, build_from_request

    _keep_timings(bundle.path, manifest)
    ranges = bundle.path / RANGES_NAME
    quantization = manifest.quantization or {}
    asked = quantization.get("weight_bits_why") == "asked for"
    request = BuildRequest(
        source=str(bundle.path / SOURCE_NAME),
        model=ModelRequest(),
        precision=manifest.precision,
        target=target,
        output=output,
        ranges=ranges if ranges.is_file() else None,
        skip=tuple(quantization.get("skip", ())),
        recipe=bundle.path / RECIPE_NAME if quantization.get("search") else None,
        weight_bits=quantization.get("weight_bits") if asked else None,
        target_options=options,
    )
    return build_from_request(request, say=say, progress=progress)


def _keep_timings(folder: Path, manifest: Manifest) -> None:
    """Let a build on the same TensorRT and GPU begin with the bundle's timings, where this machine has none of its own.

    The file has the name of the GPU it was measured on, so no other GPU's build looks at it.
    """
    timings, version = folder / TIMING_CACHE_NAME, manifest.versions.get("tensorrt", "")
    capabilities, gpu = manifest.device.get("compute_capabilities"), manifest.device.get("gpu")
    if not (timings.is_file() and is_file_name(version) and capabilities and gpu):
        return
    place = timing_cache_path(version, gpu, capabilities[0])
    if not place.exists():
        # A cache that cannot be written costs the build time and nothing else.
        with contextlib.suppress(OutputError), atomic_file(place) as partial:
            shutil.copyfile(timings, partial)


def _with_agreement(checked: Verification, bundle: Bundle, manifest: Manifest, engine: Path) -> Verification:
    """Run an engine on the bundle's golden frames; EngineError where it is not near enough to their truth."""
    needed = float(manifest.golden["agreement"])
    own = Manifest.read(engine)
    if own.model["size_hw"] != manifest.model["size_hw"] or own.model["classes"] != manifest.model["classes"]:
        raise InputError(f"{engine} is of another model than {bundle.path}; give an engine that was built of it")
    with open_engine(engine) as session:
        share = golden_agreement(session, bundle.path, manifest.golden)
    if share < needed:
        raise EngineError(
            f"{engine.name} has the class of the golden frames in {100 * share:.2f} % of the pixels, and the bundle "
            f"asks for {100 * needed:.2f} %; build it for another target or precision"
        )
    return replace(checked, target=own.target, agreement=share, needed=needed, engine=str(engine))
