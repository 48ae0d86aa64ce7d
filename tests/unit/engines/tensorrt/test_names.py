"""No name of TensorRT's Python API is used that one of the supported versions lacks, but behind a check for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefsa.engines.tensorrt.options import HARDWARE_LEVELS
from tests.unit.engines.tensorrt.api_uses import MODULE, NAMED, RETURNED, Use, uses_of
from tests.unit.engines.tensorrt.api_uses import OURS as OURS_RETURN
from tests.unit.engines.tensorrt.played_machine import VERSIONS

ROOT = Path(__file__).parents[4]
OURS = "edgefsa/engines/tensorrt"
RTX = "tensorrt_rtx-1.7.1.116"
LISTS = (*(f"tensorrt-{version}" for version in VERSIONS), RTX)
# What only one of the two runtimes is used for.
RTX_ALONE = (f"{OURS}/rtx.py", f"{OURS}/plan_check.py")
TENSORRT_ALONE = (f"{OURS}/plugins", "tests/gpu")
# Where a name is looked up that is made elsewhere, and in which class.
COMPUTED = {
    ("edgefsa/engines/tensorrt/builder.py", "NetworkDefinitionCreationFlag"),
    ("edgefsa/engines/tensorrt/limits.py", "HardwareCompatibilityLevel"),
    ("edgefsa/engines/tensorrt/rtx.py", "ComputeCapability"),
    ("tests/gpu/test_engine.py", "NetworkDefinitionCreationFlag"),
}


def sources() -> list[str]:
    """Every source of ours, by its path in the checkout."""
    found = [*ROOT.glob("edgefsa/**/*.py"), *ROOT.glob("tests/gpu/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def lists_for(path: str) -> tuple[str, ...]:
    if path.startswith(RTX_ALONE):
        return (RTX,)
    return LISTS[:-1] if path.startswith(TENSORRT_ALONE) else LISTS


def listed_in(shared_dir: Path, name: str) -> dict[str, list[str]]:
    return dict(json.loads((shared_dir / "tensorrt-api" / f"{name}.json").read_text()))


def missing(uses: list[Use], listed: dict[str, list[str]]) -> set[tuple[str, str]]:
    """The names that a version lacks, of those that no check stands before."""
    lacking = {
        (use.owner, use.name)
        for use in uses
        if not use.guarded and use.name not in (listed if use.owner == MODULE else listed.get(use.owner, []))
    }
    return {(owner, name) for owner, name in lacking if owner == MODULE or owner in listed}


@pytest.fixture(scope="module")
def read() -> dict[str, list[Use]]:
    """What each source uses; names hold what they say where TensorRT is all that a file deals with."""
    found = {}
    for path in sources():
        holds = path.startswith((OURS, "tests/gpu/test_engine", "tests/gpu/test_tensorrt"))
        found[path] = uses_of((ROOT / path).read_text(), names_hold=holds and not path.endswith("memory.py")).found
    return {path: uses for path, uses in found.items() if uses}


@pytest.mark.parametrize("name", LISTS)
def test_only_names_of_each_version_are_used(shared_dir: Path, read: dict[str, list[Use]], name: str) -> None:
    listed = listed_in(shared_dir, name)
    faults = {path: missing(uses, listed) for path, uses in read.items() if name in lists_for(path)}
    assert {path: names for path, names in faults.items() if names} == {}


def test_the_sources_are_really_read(shared_dir: Path, read: dict[str, list[Use]]) -> None:
    used = {(use.owner, use.name) for uses in read.values() for use in uses}
    assert len(used) > 80
    assert {
        ("IExecutionContext", "execute_async_v3"), ("IBuilderConfig", "set_timing_cache"), ("ILayer", "get_output"),
        ("ITensor", "dtype"), ("BuilderFlag", "STRIP_PLAN"), ("ParserError", "desc"), ("OnnxParser", "parse"),
        ("Runtime", "engine_host_code_allowed"), ("IOptimizationProfile", "set_shape"), (MODULE, "IProgressMonitor"),
        ("Refitter", "refit_cuda_engine"), ("IPluginRegistry", "load_library"), ("DeviceType", "DLA"),
    } <= used  # fmt: skip
    assert {*NAMED.values(), *RETURNED.values(), *OURS_RETURN.values()} <= set(listed_in(shared_dir, LISTS[0]))
    assert "tests/gpu/test_engine.py" in read and f"{OURS}/session.py" in read


def test_names_that_are_made_elsewhere_are_known(shared_dir: Path) -> None:
    """Creation flags are held to each version by the played one; levels are looked for before they are taken."""
    found = {
        (path, owner)
        for path in sources()
        for owner, _ in uses_of((ROOT / path).read_text(), names_hold=path.startswith(OURS)).computed
    }
    assert found == COMPUTED
    levels = {name for name, _, _ in HARDWARE_LEVELS.values()}
    assert levels <= set(listed_in(shared_dir, LISTS[2])["HardwareCompatibilityLevel"])
    flags = {version: listed_in(shared_dir, version)["NetworkDefinitionCreationFlag"] for version in LISTS}
    assert all("STRONGLY_TYPED" in names for names in flags.values())


PLANTED = """
import tensorrt as trt

def build(builder, tensorrt, logger):
    config = builder.create_builder_config()
    {line}
"""


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("trt.Bilder(logger)", (MODULE, "Bilder")),
        ("tensorrt.OnnxParsers", (MODULE, "OnnxParsers")),
        ("config.set_flag(trt.BuilderFlag.FP17)", ("BuilderFlag", "FP17")),
        ("config.progress_monitors = None", ("IBuilderConfig", "progress_monitors")),
        ("trt.Builder(logger).create_networks(0)", ("Builder", "create_networks")),
        ("[layer.metadatas for layer in layers_of(builder.create_network(0))]", ("ILayer", "metadatas")),
        ("getattr(trt.BuilderFlag, 'STRIPPED')", ("BuilderFlag", "STRIPPED")),
        ("[getattr(trt.BuilderFlag, name) for name in ('REFIT', 'FITTED')]", ("BuilderFlag", "FITTED")),
        ("flags = trt.BuilderFlag; flags.TF33", ("BuilderFlag", "TF33")),
        ("trt.BuilderFlag.INT8 if hasattr(trt.BuilderFlag, 'FP16') else None", ("BuilderFlag", "INT8")),
    ],
)
def test_a_planted_name_is_found(shared_dir: Path, line: str, fault: tuple[str, str]) -> None:
    uses = uses_of(PLANTED.format(line=line), names_hold=True).found
    assert missing(uses, listed_in(shared_dir, "tensorrt-11.4.0.106")) == {fault}


@pytest.mark.parametrize(
    "line",
    [
        "config.set_flag(trt.BuilderFlag.FP16) if hasattr(trt.BuilderFlag, 'FP16') else None",
        "config.set_flag(trt.BuilderFlag.TF32); config.progress_monitor = None",
        "logger.anything; len(config.plugins_to_serialize).real",
    ],
)
def test_what_is_there_or_looked_for_is_no_fault(shared_dir: Path, line: str) -> None:
    uses = uses_of(PLANTED.format(line=line), names_hold=True).found
    assert missing(uses, listed_in(shared_dir, "tensorrt-11.4.0.106")) == set()
