"""`edgefsa plugins`: which library is used, and building one where something is missing."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from edgefsa.commands import deploy
from edgefsa.engines.tensorrt.plugins import build as plugin_build
from edgefsa.engines.tensorrt.plugins import library as plugin_library
from edgefsa.errors import PluginError


def test_without_tensorrt_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(plugin_library, "tensorrt_version", lambda: "")
    deploy.plugins(json=True)
    assert "tensorrt is not installed" in json.loads(capsys.readouterr().out)["why_not"]


def test_a_compute_capability_that_is_none_is_told() -> None:
    with pytest.raises(PluginError, match=r"the compute capability is 'sm_87'; give one as 8\.7"):
        deploy.plugins(compute_capability="sm_87")


def test_building_needs_tensorrt_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_build, "tensorrt_version", lambda: "")
    with pytest.raises(PluginError, match=r"pip install 'edgefsa\[tensorrt\]'"):
        deploy.plugins(build=True)
    monkeypatch.setattr(plugin_build, "tensorrt_version", lambda: "10.3.0")
    monkeypatch.setattr(plugin_build, "gpus", lambda: ())
    with pytest.raises(PluginError, match=r"name one with --compute-capability 8\.7"):
        deploy.plugins(build=True)


def test_it_builds_for_the_first_gpu_or_the_named_one(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, str, object]] = []

    def build_library(tensorrt: str, capability: str, *, include_dir: object) -> object:
        built.append((tensorrt, capability, include_dir))
        return SimpleNamespace(path="library.so")

    monkeypatch.setattr(plugin_build, "build_library", build_library)
    monkeypatch.setattr(plugin_build, "tensorrt_version", lambda: "10.3.0")
    monkeypatch.setattr(plugin_build, "gpus", lambda: (SimpleNamespace(compute_capability="8.7"),))
    plugin_build.build_for_this_machine()
    plugin_build.build_for_this_machine(capability="8.9", include_dir="/trt")
    assert built == [("10.3.0", "8.7", None), ("10.3.0", "8.9", "/trt")]
