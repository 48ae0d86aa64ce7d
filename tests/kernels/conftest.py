"""Fixtures of the kernel tests: operators compiled for the host, once each per session."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.kernels.emulation.build import PLUGINS, Operator, build_operator, compiler, objects_folder
from tests.kernels.emulation.run import EmulatedOperator

Emulate = Callable[[Operator], EmulatedOperator]
Plant = Callable[[Operator, str, Mapping[str, tuple[str, str]], str], EmulatedOperator]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what is compiled for the host."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    return objects_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def emulate(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulate:
    """Give an operator compiled for the host; it is compiled at its first use."""
    built: dict[str, EmulatedOperator] = {}

    def of(operator: Operator) -> EmulatedOperator:
        if operator.name not in built:
            library = build_operator(operator, objects, tmp_path_factory.mktemp(operator.name))
            built[operator.name] = EmulatedOperator(operator, library)
        return built[operator.name]

    return of


@pytest.fixture(scope="module")
def plant(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Give an operator compiled from a copy of its sources with mistakes in it, of which one is made by its name.

    A mistake is a text of one file that stands there once, and another in its place. All mistakes go into one build,
    for compiling takes longest: in a replacement, PLANTED is true where this mistake is to be made.
    """
    built: dict[str, EmulatedOperator] = {}

    def of(operator: Operator, file: str, mistakes: Mapping[str, tuple[str, str]], name: str) -> EmulatedOperator:
        if operator.name not in built:
            root = tmp_path_factory.mktemp(f"planted{operator.name}")
            shutil.copytree(PLUGINS / "kernels", root / "kernels")
            path = root / "kernels" / file
            path.write_text(_with_mistakes(path.read_text(), mistakes))
            built[operator.name] = EmulatedOperator(operator, build_operator(operator, objects, root / "built", root))
        built[operator.name].make_mistake(1 + list(mistakes).index(name))
        return built[operator.name]

    return of


def _with_mistakes(source: str, mistakes: Mapping[str, tuple[str, str]]) -> str:
    for number, (text, replacement) in enumerate(mistakes.values(), 1):
        assert source.count(text) == 1, f"`{text}` stands {source.count(text)} times in the source, not once"
        source = source.replace(text, replacement.replace("PLANTED", f"(emulationPlanted == {number})"))
    return source
