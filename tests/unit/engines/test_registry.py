"""Targets by name: ours, and those that another package adds by an entry point."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from edgefsa.engines import registry
from edgefsa.engines.cpu.onnxruntime import OnnxRuntimeTarget
from edgefsa.engines.target import Target, TargetOptions
from edgefsa.errors import InputError, TargetError
from tests.unit.engines.conftest import Build


class MirrorTarget(OnnxRuntimeTarget):
    """ONNX Runtime under another name."""

    name = "mirror"


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def add(name: str, value: str) -> None:
        point = EntryPoint(name, value, registry.ENTRY_POINT_GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
        registry.targets.cache_clear()

    yield add
    registry.targets.cache_clear()


def test_another_package_adds_a_target(add: Any, build: Build) -> None:
    add("mirror", f"{__name__}:MirrorTarget")
    assert list(registry.targets())[-1] == "mirror" and len(registry.targets()) == len(registry._OURS) + 1
    report = build("fp32", "mirror")
    assert report.target == "mirror" and report.engine.name == "tiny-mirror-fp32-32x48"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("openvino", f"{__name__}:MirrorTarget", "that name is taken"),
        ("auto", f"{__name__}:MirrorTarget", "that name is taken"),
        ("broken", "no_such_module:Target", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("reflection", f"{__name__}:MirrorTarget", "is no target reflection"),
        ("dictionary", "builtins:dict", "is no target dictionary"),
    ],
)
def test_a_target_that_cannot_be_one(add: Any, name: str, value: str, words: str) -> None:
    add(name, value)
    with pytest.raises(TargetError) as caught:
        registry.targets()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_auto_says_of_every_other_target_why_it_is_not_used() -> None:
    chosen, why = registry.choose_target("fp32")
    assert all(f"{name}: " in why for name in registry.targets() if name not in (chosen, "onnxruntime"))


@pytest.mark.parametrize("name", list(registry.targets()))
def test_options_are_checked_by_their_target(name: str) -> None:
    target: Target = registry.target_of(name)
    assert isinstance(target.options_from({}), TargetOptions)
    with pytest.raises(InputError, match=f"the target {name} has no option speed .*leave speed=9 out"):
        target.options_from({"speed": 9})
