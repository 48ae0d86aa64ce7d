"""Mistakes planted in a copy of the kernels, and their runs in a process of its own, which they may bring down."""

from __future__ import annotations

import functools
import multiprocessing
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.emulation.build import PLUGINS, Operator, build_operator
from tests.kernels.emulation.run import EmulatedOperator, EmulationError

Check = Callable[[EmulatedOperator], None]
RIGHT, CRASHED = "right", "crashed"


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


class Mutants:
    """Operators compiled from a copy of their sources with mistakes in it, of which one is made at a time.

    All mistakes go into one build, for compiling takes longest. The checks run one after another in a process beside
    the test's, since a wild write of a kernel may end it; then another one takes its place.
    """

    def __init__(self, mistakes: Mapping[str, Mistake], objects: Path, root: Path) -> None:
        self._numbers = {name: number for number, name in enumerate(mistakes, 1)}
        self._objects, self._root = objects, root
        self._libraries: dict[str, Path] = {}
        self._runner: ProcessPoolExecutor | None = None
        shutil.copytree(PLUGINS / "kernels", root / "kernels")
        for name, mistake in mistakes.items():
            path = root / "kernels" / mistake.file
            path.write_text(mistake.planted(path.read_text(), self._numbers[name]))

    def outcome(self, operator: Operator, check: Check, name: str | None = None) -> str:
        """Return RIGHT, CRASHED or the error of a check of an operator in which the mistake `name`, if any, is made.

        A check is picked up by its name in the other process: a function of a module, or a partial of one.
        """
        if operator.name not in self._libraries:
            folder = self._root / operator.name
            self._libraries[operator.name] = build_operator(operator, self._objects, folder, self._root)
        if self._runner is None:
            self._runner = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        number = 0 if name is None else self._numbers[name]
        try:
            return self._runner.submit(_outcome, operator, self._libraries[operator.name], number, check).result()
        except BrokenProcessPool:
            self.close()
            return CRASHED

    def close(self) -> None:
        """End the process beside the test's."""
        if self._runner is not None:
            self._runner.shutdown()
        self._runner = None


@functools.cache
def _loaded(operator: Operator, library: Path) -> EmulatedOperator:
    return EmulatedOperator(operator, library)


def _outcome(operator: Operator, library: Path, number: int, check: Check) -> str:
    emulated = _loaded(operator, library)
    emulated.make_mistake(number)
    try:
        check(emulated)
    except (EmulationError, AssertionError) as error:
        return str(error)
    return RIGHT
