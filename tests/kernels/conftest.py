"""Fixtures of the kernel tests: operators compiled for the host, once each per session."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.kernels.emulation.build import PLUGINS, Operator, build_emulator, build_operator, compiler
from tests.kernels.emulation.run import EmulatedOperator

Emulate = Callable[[Operator], EmulatedOperator]
Plant = Callable[[Operator, str, str, str], EmulatedOperator]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The emulator's object files."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    return build_emulator(tmp_path_factory.mktemp("emulator"))


@pytest.fixture(scope="session")
def emulate(emulator: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> Emulate:
    """Give an operator compiled for the host; it is compiled at its first use."""
    built: dict[str, EmulatedOperator] = {}

    def of(operator: Operator) -> EmulatedOperator:
        if operator.name not in built:
            library = build_operator(operator, emulator, tmp_path_factory.mktemp(operator.name))
            built[operator.name] = EmulatedOperator(operator, library)
        return built[operator.name]

    return of


@pytest.fixture
def plant(emulator: Sequence[Path], tmp_path: Path) -> Plant:
    """Give an operator compiled from a copy of the sources in which one text of one file stands for another."""

    def of(operator: Operator, file: str, text: str, replacement: str) -> EmulatedOperator:
        plugins = tmp_path / "plugins"
        shutil.copytree(PLUGINS / "kernels", plugins / "kernels", dirs_exist_ok=True)
        path = plugins / "kernels" / file
        source = path.read_text()
        assert source.count(text) == 1, f"{file} holds `{text}` {source.count(text)} times, not once"
        path.write_text(source.replace(text, replacement))
        return EmulatedOperator(operator, build_operator(operator, emulator, tmp_path / "planted", plugins))

    return of
