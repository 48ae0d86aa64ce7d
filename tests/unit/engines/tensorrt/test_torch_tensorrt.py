"""The target torch-tensorrt with its converter played: names and signature are those that were read in its sources.

torch_tensorrt_api.json has them for two versions: what the package exports, the keywords of Input, and the parameters
of the one function that is called.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgefsa.artifacts import Manifest
from edgefsa.engines import open_engine
from edgefsa.engines.target import TargetOptions
from edgefsa.engines.tensorrt import torch_tensorrt as module
from edgefsa.engines.tensorrt.torch_tensorrt import TorchTensorRtTarget
from edgefsa.errors import BuildError, InputError, PrecisionError
from edgefsa.export import program
from edgefsa.export.program import CameraProgram, Product
from edgefsa.machine import Gpu
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build
from tests.unit.engines.tensorrt.test_adopted import PLAN, PlayedPlan, plan

API = json.loads((Path(__file__).parent / "torch_tensorrt_api.json").read_text())
CONVERT = "convert_exported_program_to_serialized_trt_engine"
__all__ = ["plan"]


def camera(facts: dict[str, Any], half: bool) -> CameraProgram:
    """What `export.program` makes of the tiny network, as far as the target looks at it."""
    frames = SimpleNamespace(meta={"val": torch.zeros((1, *tiny.SIZE_HW, 3), dtype=torch.uint8)})
    exported: Any = SimpleNamespace(graph=SimpleNamespace(find_nodes=lambda op: [frames]))
    return CameraProgram(exported, tuple(Product(name, name, "f16" if half else "f32") for name in tiny.CONVOLUTIONS))


def signature_of(version: str) -> inspect.Signature:
    names = API[version][CONVERT]
    kinds = inspect.Parameter
    positional = [kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=None) for name in names["positional"]]
    keyword = [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in names["keyword"]]
    return inspect.Signature([*positional, *keyword])


@pytest.fixture(params=list(API))
def converter(request: pytest.FixtureRequest, plan: PlayedPlan, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Torch-TensorRT of a version on a machine with a GPU; its calls are remembered."""
    signature, calls = signature_of(request.param), SimpleNamespace(given=[], error=None)

    def convert(*arguments: Any, **keywords: Any) -> bytes:
        calls.given.append(signature.bind(*arguments, **keywords).arguments)
        if calls.error:
            raise calls.error
        return PLAN

    def make_input(**keywords: Any) -> Any:
        assert set(keywords) <= set(API[request.param]["Input"])
        return SimpleNamespace(**keywords)

    package = ModuleType("torch_tensorrt")
    package.Input = make_input  # type: ignore[attr-defined]
    package.dynamo = SimpleNamespace(**{CONVERT: convert})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_tensorrt", package)
    monkeypatch.setattr(module, "_torch_tensorrt_version", lambda: request.param)
    monkeypatch.setattr(module, "gpus", lambda: (Gpu("NVIDIA L4", "8.9", 24_000),))
    monkeypatch.setattr(module.TensorRtTarget, "version", lambda self: "11.0.0.114")
    monkeypatch.setattr(program, "camera_program", camera)
    plan.tensors = {"frames": ((1, *tiny.SIZE_HW, 3), "UINT8"), "output0": ((1, *tiny.SIZE_HW), "INT32")}
    plan.give = tiny.reference_masks
    return calls


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_is_built_proved_and_opened_without_torch_tensorrt(
    converter: Any, build: Build, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = build(precision, "torch-tensorrt")
    (given,) = converter.given
    assert given["require_full_compilation"] is True and given["disable_tf32"] is True
    (frames,) = given["arg_inputs"]
    assert frames.shape == (1, *tiny.SIZE_HW, 3) and frames.dtype == torch.uint8
    manifest = Manifest.read(report.engine)
    assert (report.engine / "engine.plan").read_bytes() == PLAN and manifest.proof["evidence"] == "network"
    assert manifest.proof["numbers"]["converted_to_engine"]["agreement"] > 0.999
    monkeypatch.delitem(sys.modules, "torch_tensorrt")
    given_frames = np.random.default_rng(2).integers(0, 256, (1, *tiny.SIZE_HW, 3), dtype=np.uint8)
    with open_engine(report.engine) as session:
        masks = session.run(given_frames)
    assert masks.dtype == np.uint8 and np.array_equal(masks, tiny.reference_masks(given_frames))


def test_an_operator_that_is_not_converted_fails_the_build(converter: Any, build: Build) -> None:
    converter.error = RuntimeError("Conversion of function aten::baddbmm not currently supported!\nmore")
    with pytest.raises(BuildError, match="cannot compile this network: Conversion of function aten::baddbmm not"):
        build("fp32", "torch-tensorrt")


def test_int8_is_for_other_targets(converter: Any, build: Build) -> None:
    with pytest.raises(PrecisionError, match="it builds fp32 and fp16"):
        build("int8", "torch-tensorrt")


def test_an_open_batch_is_refused() -> None:
    with pytest.raises(InputError, match="takes one number of frames, not 1:4:8; give --batch N"):
        TorchTensorRtTarget().check_request(TargetOptions(), "fp32", {"batch": 8, "batches": [1, 4, 8]})


@pytest.mark.parametrize(
    ("version", "words"),
    [("", "is not installed; pip install 'torch-tensorrt>=2.13'"), ("2.12.1", "2.12.1 is older than 2.13")],
)
def test_why_it_cannot_build(monkeypatch: pytest.MonkeyPatch, version: str, words: str) -> None:
    monkeypatch.setattr(module, "_torch_tensorrt_version", lambda: version)
    assert words in str(TorchTensorRtTarget().unbuildable())


def test_a_package_that_cannot_be_imported_says_why(converter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(module.importlib, "import_module", fail)
    assert "cannot be imported (Torch not compiled with CUDA enabled)" in str(TorchTensorRtTarget().unbuildable())


def _chain(node: ast.AST) -> str:
    return f"{_chain(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("version", list(API))
def test_every_name_that_is_taken_from_torch_tensorrt_is_in_its_sources(version: str) -> None:
    source = ast.parse(Path(module.__file__).read_text())
    taken = {chain for node in ast.walk(source) if (chain := _chain(node)).startswith("torch_tensorrt.")}
    known = {f"torch_tensorrt.{name}" for name in API[version]["torch_tensorrt"]}
    known |= {f"torch_tensorrt.dynamo.{name}" for name in API[version]["torch_tensorrt.dynamo"]}
    assert taken and taken <= known
    check: Callable[..., Any] = signature_of(version).bind
    with pytest.raises(TypeError, match="enabled_precisions"):
        check(None, enabled_precisions={torch.half})
