"""Plans of other tools as engines: adoption, and a session on a GPU that NumPy plays."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgefsa.adopt import AdoptRequest, adopt_plan
from edgefsa.artifacts import Manifest
from edgefsa.engines import inspect_engine, open_engine
from edgefsa.engines.registry import choose_target, target_of
from edgefsa.engines.tensorrt import adopted
from edgefsa.errors import EngineError, InputError, TargetError
from edgefsa.media.tensors import InputForm
from edgefsa.segment import Segmenter
from tests.unit.engines.tensorrt.gpu_fakes import PlayedGpu, play_gpu
from tests.unit.engines.tensorrt.test_plan_file import HEADER, PLAN, with_header

SIZE_HW = (64, 96)
FORM = InputForm(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


class PlayedPlan:
    """A plan that takes float NCHW and gives as logits what its two classes like: red, and what is not red."""

    num_io_tensors = 2

    def __init__(self, gpu: PlayedGpu) -> None:
        self.gpu = gpu
        self.tensors: dict[str, tuple[tuple[int, ...], str]] = {
            "images": ((1, 3, *SIZE_HW), "FLOAT"),
            "output0": ((1, 2, *SIZE_HW), "FLOAT"),
        }
        self.give = lambda image: np.stack([image[:, 0], -image[:, 0]], axis=1)

    def create_execution_context(self) -> Any:
        addresses: dict[str, int] = {}

        def view(name: str) -> np.ndarray:
            shape, kind = self.tensors[name]
            dtype = np.dtype({"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "UINT8": np.uint8}[kind])
            block = (ctypes.c_uint8 * (int(np.prod(shape)) * dtype.itemsize)).from_address(addresses[name])
            return np.ctypeslib.as_array(block).view(dtype).reshape(shape)

        given, output = list(self.tensors)[:2]

        def run(stream: int) -> bool:
            self.gpu.work("engine", lambda: np.copyto(view(output), self.give(view(given)), casting="unsafe"))
            return True

        return SimpleNamespace(
            set_tensor_address=addresses.__setitem__, execute_async_v3=run, get_tensor_shape=self.get_tensor_shape
        )

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name][0]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name][1])

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == next(iter(self.tensors)) else 2


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedPlan]:
    """The plan that the played package tensorrt loads, on a machine with a GPU."""
    gpu = play_gpu(monkeypatch, "cuda.bindings").gpu
    package, played = ModuleType("tensorrt"), PlayedPlan(gpu)
    package.Runtime = lambda logger: SimpleNamespace(  # type: ignore[attr-defined]
        deserialize_cuda_engine=lambda data: played if data == PLAN else None
    )
    package.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})  # type: ignore[attr-defined]
    package.TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    monkeypatch.setattr(adopted.TensorRtTarget, "unusable", lambda self: None)
    yield played
    assert gpu.is_empty()


def adopt(tmp_path: Path, data: bytes = PLAN, **changes: Any) -> Path:
    """Adopt a plan; what the user says of it may be changed."""
    path = tmp_path / "other.engine"
    path.write_bytes(data)
    given = {"num_classes": 2, "size_hw": SIZE_HW, **changes}
    form, onnx = given.pop("form", FORM), given.pop("onnx", None)
    result = adopt_plan(path, AdoptRequest(form, **given), tmp_path / "engines", onnx=onnx, overwrite=True)
    return Path(result["engine"])


def frames(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)


def test_a_bare_plan_gives_logits_of_prepared_frames(plan: PlayedPlan, tmp_path: Path) -> None:
    engine = adopt(tmp_path)
    assert engine.name == "other-tensorrt-adopted-64x96-logits" and (engine / "engine.plan").read_bytes() == PLAN
    with open_engine(engine) as session:
        first, second = frames(1), frames(2)
        tickets = [session.submit(first), session.submit(second)]
        logits = [session.collect(ticket) for ticket in tickets]
    for given, found in zip((first, second), logits, strict=True):
        red = ((given[..., 2] / 255.0 - 0.5) / 0.2).astype(np.float32)
        assert found.dtype == np.float32 and np.array_equal(found, np.stack([red, -red], axis=1))
    with Segmenter(engine) as segmenter:
        mask = segmenter.segment(first[0]).mask
    assert np.array_equal(mask, first[0, ..., 2] / 255.0 < 0.5)


def test_ultralytics_header_says_what_the_user_need_not(plan: PlayedPlan, tmp_path: Path) -> None:
    engine = adopt(tmp_path, with_header(HEADER), num_classes=None, size_hw=None)
    manifest = Manifest.read(engine)
    assert manifest.model["classes"] == ["sky", "road"] and manifest.model["size_hw"] == [64, 96]
    assert (engine / "engine.plan").read_bytes() == PLAN, "the header is not the plan's"
    assert manifest.versions["tensorrt"] == "10.13.3.9"


@pytest.mark.parametrize("kind", ["INT32", "FLOAT", "UINT8"])
@pytest.mark.parametrize("shape", [(1, *SIZE_HW), (1, 1, *SIZE_HW)])
def test_class_indices_of_any_type_are_masks(
    plan: PlayedPlan, tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    plan.tensors["output0"] = (shape, kind)
    plan.give = lambda image: (image[:, 1] > 0).reshape(shape)
    with open_engine(adopt(tmp_path, outputs="masks")) as session:
        masks = session.run(frames())
    assert masks.dtype == np.uint8 and np.array_equal(masks, frames()[..., 1] / 255.0 > 0.4)


def test_half_channels_last_in_and_out(plan: PlayedPlan, tmp_path: Path) -> None:
    plan.tensors = {"images": ((1, *SIZE_HW, 3), "HALF"), "output0": ((1, *SIZE_HW, 2), "HALF")}
    plan.give = lambda image: image[..., :2]
    with open_engine(adopt(tmp_path, form=InputForm("nhwc", "float16", "bgr"))) as session:
        logits = session.run(frames())
    wanted = (frames() / 255.0).astype(np.float16)[..., :2].transpose(0, 3, 1, 2)
    assert logits.dtype == np.float32 and np.array_equal(logits, wanted)


@pytest.mark.parametrize(
    ("tensors", "changes", "words"),
    [
        ({"images": ((1, 3, 32, 96), "FLOAT")}, {}, r"takes float32 \[1, 3, 32, 96\], and it was adopted as float32"),
        ({"images": ((1, 3, *SIZE_HW), "HALF")}, {}, "takes float16 .* adopt it again with --size, --batch"),
        ({"images": ((-1, 3, *SIZE_HW), "FLOAT")}, {}, "the tensor images of the dynamic shape"),
        ({"output0": ((1, 7, *SIZE_HW), "FLOAT")}, {}, r"gives float32 \[1, 7, 64, 96\], and .* logits of 2 classes"),
        (
            {"output0": ((1, 2, *SIZE_HW), "FLOAT")},
            {"outputs": "masks"},
            r"adopted as giving class indices \[1, 64, 96\]",
        ),
        ({"images": ((1, 3, *SIZE_HW), "FP8")}, {}, "the tensor images of type FP8"),
    ],
)
def test_a_plan_that_is_something_else_is_refused_when_it_is_adopted(
    plan: PlayedPlan, tmp_path: Path, tensors: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    plan.tensors |= tensors
    plan.give = lambda image: np.float32(0)
    with pytest.raises(EngineError, match=words):
        adopt(tmp_path, **changes)
    assert not list((tmp_path / "engines").iterdir())


def test_several_outputs_are_refused_by_name(plan: PlayedPlan, tmp_path: Path) -> None:
    plan.tensors["output1"] = ((1, 32, 16, 24), "FLOAT")
    plan.num_io_tensors = 3
    with pytest.raises(EngineError, match="the inputs images and the outputs output0, output1, and one of each"):
        adopt(tmp_path)


@pytest.mark.parametrize(
    ("data", "changes", "kind", "words"),
    [
        (PLAN, {"size_hw": None}, InputError, "how large its frames are; give --size"),
        (PLAN, {"num_classes": None}, InputError, "does not name its classes; give --classes"),
        (with_header({**HEADER, "task": "segment"}), {}, EngineError, "is made for 'segment', and class masks"),
        (
            with_header({**HEADER, "names": {"5": "sky"}}),
            {"num_classes": None},
            InputError,
            "does not name its classes",
        ),
        (with_header({**HEADER, "imgsz": [1 << 40, 3]}), {"size_hw": None}, InputError, "how large its frames are"),
    ],
)
def test_what_is_missing_is_asked_for(
    tmp_path: Path, data: bytes, changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        adopt(tmp_path, data, **changes)
    assert not (tmp_path / "engines").exists()


def test_headers_of_older_versions_write_lists_as_python_does(tmp_path: Path) -> None:
    header = {"task": "semantic", "imgsz": "[64, 96]", "batch": "1", "names": "{0: 'sky', 1: 'road'}"}
    model = Manifest.read(adopt(tmp_path, with_header(header), num_classes=None, size_hw=None)).model
    assert model["classes"] == ["sky", "road"] and model["size_hw"] == [64, 96]


def test_without_a_gpu_it_is_adopted_and_says_so_when_it_is_opened(tmp_path: Path) -> None:
    engine = adopt(tmp_path)
    summary = inspect_engine(engine)["summary"]
    assert summary["precision"] == "unknown: another tool made the engine"
    assert summary["prepared"].startswith("float32 NCHW RGB, (pixel / 255 - [0.5, 0.4, 0.3])")
    with pytest.raises(TargetError, match="cannot run on this machine"):
        open_engine(engine)
    with pytest.raises(EngineError, match="make one of it with `edgefsa adopt`"):
        open_engine(tmp_path / "other.engine")


def test_nothing_is_built_for_it_and_auto_says_why() -> None:
    target = target_of("tensorrt-adopted")
    assert "edgefsa adopt" in str(target.unbuildable())
    assert choose_target("fp32")[0] not in ("tensorrt-adopted", "tensorrt-rtx-adopted")
    with pytest.raises(TargetError, match="builds nothing"):
        target.build(SimpleNamespace())  # type: ignore[arg-type]
