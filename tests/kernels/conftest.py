"""Fixtures of the kernel tests: operators compiled for the host, once each per session."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from tests.kernels import device_operator
from tests.kernels.emulation.build import (
    PLUGINS,
    Operator,
    build_launchers,
    build_operator,
    compiler,
    objects_folder,
)
from tests.kernels.emulation.run import EmulatedOperator

Emulate = Callable[[Operator], EmulatedOperator]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what is compiled for the host."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    return objects_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def emulate(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulate:
    """Return an operator compiled for the host, at its first use; or one on a GPU, see device_operator.py."""
    built: dict[str, EmulatedOperator] = {}

    def of(operator: Operator) -> EmulatedOperator:
        if device_operator.VARIABLE in os.environ:
            on_device = device_operator.DeviceOperator(operator, Path(os.environ[device_operator.VARIABLE]))
            return cast(EmulatedOperator, on_device)
        if operator.name not in built:
            library = build_operator(operator, objects, tmp_path_factory.mktemp(operator.name))
            built[operator.name] = EmulatedOperator(operator, library)
        return built[operator.name]

    return of


@pytest.fixture(scope="session")
def launchers(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of all kernels under their C names, for the host."""
    return build_launchers(objects, tmp_path_factory.mktemp("launchers"))


@dataclass(frozen=True)
class Mistake:
    """A text of a file below plugins/kernels, and what stands in its place where the mistake is made.

    `occurrence` says which of the places is meant where the text stands in several; None asks for a single one. In
    `replacement`, PLANTED is true (1) where this mistake is to be made, and false (0) otherwise.
    """

    file: str
    text: str
    replacement: str
    occurrence: int | None = None

    def planted(self, source: str, number: int) -> str:
        """Return the source with this mistake in it, which is made where emulationPlanted is `number`."""
        places = [match.start() for match in re.finditer(re.escape(self.text), source)]
        assert len(places) == 1 or self.occurrence is not None, (
            f"`{self.text}` stands {len(places)} times in {self.file}"
        )
        start = places[self.occurrence or 0]
        replacement = self.replacement.replace("PLANTED", f"(emulationPlanted == {number})")
        return source[:start] + replacement + source[start + len(self.text) :]


Plant = Callable[[Operator, Mapping[str, Mistake], str | None], EmulatedOperator]


@pytest.fixture(scope="module")
def plant(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """Return an operator compiled from a copy of its sources with mistakes in it, of which one is made, by its name.

    All mistakes go into one build, for compiling takes longest.
    """
    built: dict[str, EmulatedOperator] = {}
    root = tmp_path_factory.mktemp("planted")

    def of(operator: Operator, mistakes: Mapping[str, Mistake], name: str | None) -> EmulatedOperator:
        if not (root / "kernels").exists():
            shutil.copytree(PLUGINS / "kernels", root / "kernels")
            for number, mistake in enumerate(mistakes.values(), 1):
                path = root / "kernels" / mistake.file
                path.write_text(mistake.planted(path.read_text(), number))
        if operator.name not in built:
            library = build_operator(operator, objects, root / operator.name, root)
            built[operator.name] = EmulatedOperator(operator, library)
        built[operator.name].make_mistake(0 if name is None else 1 + list(mistakes).index(name))
        return built[operator.name]

    return of
