"""Files of plans: bare, behind Ultralytics' header, and what only looks like one; no length in them is trusted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgefsa.engines.tensorrt.plan_file import read_plan_file
from edgefsa.errors import EngineError

PLAN = b"ftrt" + bytes(20) + bytes([10, 13, 3, 9]) + b"the rest of it"
HEADER = {"task": "semantic", "imgsz": [64, 96], "batch": 1, "names": {"0": "sky", "1": "road"}, "args": {"half": True}}


def with_header(value: object, plan: bytes = PLAN) -> bytes:
    text = json.dumps(value).encode()
    return len(text).to_bytes(4, "little") + text + plan


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("data", "header"), [(PLAN, {}), (with_header(HEADER), HEADER)])
def test_the_plan_is_found(tmp_path: Path, data: bytes, header: dict[str, object]) -> None:
    found = read_plan_file(write(tmp_path, data))
    assert (found.runtime, found.version, found.header) == ("tensorrt", "10.13.3.9", header)
    found.copy_plan(tmp_path / "bare.plan")
    assert (tmp_path / "bare.plan").read_bytes() == PLAN
    assert ("Ultralytics" in found.in_words()["made by"]) is bool(header)


def test_a_real_plan_of_tensorrt_rtx_says_which_version_made_it(tmp_path: Path) -> None:
    tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx, which makes the plan")
    from edgefsa.engines.tensorrt.builder import PlanBuild

    build = PlanBuild(tensorrt_rtx, "TensorRT-RTX", ["STRONGLY_TYPED"])
    given = build.network.add_input("x", tensorrt_rtx.float32, (1, 4))
    build.network.mark_output(build.network.add_unary(given, tensorrt_rtx.UnaryOperation.ABS).get_output(0))
    build.config.num_compute_capabilities = 1
    build.config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM89, 0)
    found = read_plan_file(write(tmp_path, build.serialize()))
    assert (found.runtime, found.version) == ("tensorrt-rtx", tensorrt_rtx.__version__)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither a TensorRT plan nor an engine of Ultralytics"),
        (b"\xff\xff\xff\x7fabc", "its first 4 bytes ask for 2147483647 bytes, and the file has 7"),
        (b"\xff\xff\xff\xff" + PLAN, "ask for 4294967295 bytes"),
        ((1 << 20).to_bytes(4, "little") + bytes(1 << 20) + PLAN, "a header of 1048576 bytes that is no JSON object"),
        (with_header(["a", "list"]), "that is no JSON object"),
        ((40).to_bytes(4, "little") + b"[" * 40 + PLAN, "that is no JSON object"),
        (with_header(HEADER, b"ONNX or whatever else it may be"), "holds no TensorRT plan behind its header"),
        (with_header(HEADER, b""), "holds no TensorRT plan behind its header"),
        (PLAN[:20], "holds no TensorRT plan"),
        (b"PK\x03\x04" + bytes(100), "ask for 67324752 bytes, and the file has 104"),
    ],
)
def test_what_is_no_plan_is_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(EngineError) as caught:
        read_plan_file(write(tmp_path, data))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_deep_header_is_refused(tmp_path: Path) -> None:
    deep = b"[" * (10 * sys.getrecursionlimit())
    with pytest.raises(EngineError, match="no JSON object"):
        read_plan_file(write(tmp_path, len(deep).to_bytes(4, "little") + deep + PLAN))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such file or directory; check the path"):
        read_plan_file(tmp_path / "none.plan")
