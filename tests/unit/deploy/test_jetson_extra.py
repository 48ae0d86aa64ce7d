"""`pip install 'edgefsa[jetson]'` on a board brings what JetPack lacks and puts nothing over what it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.deploy.jetpack.play import BOARDS, Offer, edgefsa, installed_on, pip_install, project

EXTRAS = ["jetson", *(["jetson,serve"] if "serve" in project()["optional-dependencies"] else [])]  # type: ignore[operator]
JETPACKS_OWN = (
    "numpy",
    "torch",
    "torchvision",
    "tensorrt",
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
)


@pytest.mark.parametrize("extras", EXTRAS)
@pytest.mark.parametrize("jetpack", BOARDS)
def test_nothing_comes_over_jetpacks_own(jetpack: str, extras: str, tmp_path: Path) -> None:
    found = pip_install(BOARDS[jetpack], tmp_path, f"edgefsa[{extras}]")
    assert not [name for name in found if name in JETPACKS_OWN or name.startswith(("nvidia-", "tensorrt-"))]
    assert {"edgefsa", "onnx", "av", "pillow", "typer", "cuda-bindings"} <= found.keys()


@pytest.mark.parametrize(("jetpack", "cuda"), [("6.2", "12"), ("7.0", "13")])
def test_the_bindings_are_those_of_jetpacks_cuda(jetpack: str, cuda: str, tmp_path: Path) -> None:
    found = pip_install(BOARDS[jetpack], tmp_path, "edgefsa[jetson]")
    assert found["cuda-bindings"].split(".")[0] == cuda


@pytest.mark.parametrize(
    ("jetpack", "need", "comes"),
    [
        ("6.2", "onnx>=1.17", "numpy"),
        ("6.2", "onnxruntime>=1.20", "numpy"),
        ("7.0", "onnx>=1.17", "numpy"),
        ("7.0", "torch>=2.9", "torch"),
        ("7.0", "opencv-python-headless>=4.8", "opencv-python-headless"),
    ],
)
def test_what_would_come_without_the_bounds(jetpack: str, need: str, comes: str, tmp_path: Path) -> None:
    """The same play shows the harm where an extra lacks them, so it can show that there is none."""
    ours = edgefsa()
    without = [line for line in ours.requires_dist if not line.endswith("extra == 'jetson'")]
    careless = Offer(ours.name, ours.version, (*without, f"{need}; extra == 'jetson'"))
    found = pip_install(BOARDS[jetpack], tmp_path, "edgefsa[jetson]", project=careless)
    assert comes in found
    own = {item.name.lower(): item.version for item in installed_on(BOARDS[jetpack])}
    assert own.get(comes) != found[comes]
