"""What an engine directory must satisfy before it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import edgefsa
from edgefsa.artifacts import Manifest
from edgefsa.engines.precision import UNKNOWN
from edgefsa.engines.target import Target
from edgefsa.errors import EngineError, TargetError
from edgefsa.machine import Cpu, gpus
from edgefsa.metadata import batches_of

_REBUILD = "rebuild it here with `edgefsa build`"


def engine_name(model: dict[str, Any], target: str, precision: str) -> str:
    """Return the directory's name: model-target-precision-HxW, with the batch and "logits" where they are unusual.

    Where the batch is open it names the fewest and the most frames, as batch1to8. A precision that is not known is left
    out.
    """
    height, width = model["size_hw"]
    kind = target if precision == UNKNOWN else f"{target}-{precision}"
    name = f"{model['model']}-{kind}-{height}x{width}"
    batches = batches_of(model)
    if batches.most != 1:
        name += f"-batch{batches.most if batches.fixed else f'{batches.fewest}to{batches.most}'}"
    return name if model["outputs"] == "masks" else f"{name}-{model['outputs']}"


def check_directory(directory: Path, manifest: Manifest, target: Target, *, files: bool = True) -> None:
    """Raise EngineError or TargetError, saying what differs and how to mend it, where an engine cannot run here.

    Compared are the tool's and the runtime's versions, the CPU features that the build's proof rests on or the GPU's
    compute capability, and (with `files`) the hash of every file.
    """
    _check_versions(directory, manifest, target)
    reason = target.unusable()
    if reason is not None:
        raise TargetError(f"{directory.name} cannot run on this machine: {reason}")
    _check_cpu(directory, manifest, target.cpu())
    _check_gpu(directory, manifest)
    if files:
        manifest.check_files(directory)


def _check_versions(directory: Path, manifest: Manifest, target: Target) -> None:
    built = manifest.versions.get("edgefsa", "unknown")
    if _leading(built, 2) != _leading(edgefsa.__version__, 2):
        raise EngineError(
            f"{directory.name} was built by edgefsa {built}, and this is {edgefsa.__version__}; {_REBUILD}"
        )
    built, here = manifest.versions.get(target.package, "unknown"), target.version()
    if here and not _serves(built, here, target.version_parts, bool(manifest.device.get("version_compatible"))):
        raise EngineError(f"{directory.name} was built with {target.package} {built}, and here is {here}; {_REBUILD}")


def _serves(built: str, here: str, parts: int, compatible: bool) -> bool:
    """Return whether a runtime opens what another version of it built; a compatible one opens what is older."""
    if not compatible:
        return _leading(built, parts) == _leading(here, parts)
    then, now = ([int(part) for part in _leading(version, 2) if part.isdigit()] for version in (built, here))
    return then[:1] == now[:1] and then <= now


def _leading(version: str, parts: int) -> list[str]:
    return version.split(".")[:parts]


def _check_cpu(directory: Path, manifest: Manifest, here: Cpu) -> None:
    needed = manifest.device.get("cpu_features", [])
    architecture = manifest.device.get("architecture", here.architecture)
    if needed and architecture != here.architecture:
        raise EngineError(f"{directory.name} was built for {architecture}, and this is {here.architecture}; {_REBUILD}")
    missing = [feature for feature in needed if feature not in here.features]
    if missing:
        raise EngineError(
            f"{directory.name} was proved on a CPU with {', '.join(missing)} ({manifest.device.get('cpu')}), which "
            f"this one ({here.name}) lacks; {_REBUILD}"
        )


def _check_gpu(directory: Path, manifest: Manifest) -> None:
    made_for = manifest.device.get("compute_capabilities", [])
    if not made_for or not gpus():
        return
    here = gpus()[0]
    least = manifest.device.get("compute_capability_from")
    if least is not None and _capability(here.compute_capability) >= _capability(least):
        return
    if here.compute_capability not in made_for:
        named = f" ({manifest.device['gpu']})" if manifest.device.get("gpu") else ""
        raise EngineError(
            f"{directory.name} was built for compute capability {', '.join(made_for)}{named}, and here is "
            f"{here.compute_capability} ({here.name}); {_REBUILD}"
        )


def _capability(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
