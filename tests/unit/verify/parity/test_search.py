"""Which block is named, on stages that are made up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgefsa.engines.golden import Bound
from edgefsa.errors import TargetError
from edgefsa.graph.blocks import Block
from edgefsa.verify.parity.search import first_block, nearest
from edgefsa.verify.parity.stages import Frames, Tensors
from edgefsa.verify.parity.tally import Seen

FRAMES = np.zeros((1, 8, 8, 3), np.uint8)
BOUND = Bound(0.04, 0.98)
REFERENCE = {
    name: np.random.default_rng(i).normal(size=(1, 4, 8, 8)) for i, name in enumerate(("a", "b", "c", "logits"))
}
BLOCKS = [
    Block("one", ("n1",), ("a",), "a", (), ("n1",)),
    Block("two", ("n2",), ("b",), "b", ("a",), ("n2",)),
    Block("three", ("n3",), ("c",), "c", ("b", "a"), ("n3",)),
    Block("four", ("n4",), ("logits",), "logits", ("c",), ("n4",)),
]


class MadeUp:
    """A stage whose tensors are the reference's, each off by its own relative error."""

    source = ""

    def __init__(self, errors: dict[str, float], name: str = "engine", fuses: bool = False) -> None:
        self.name, self.fuses, self._errors = name, fuses, errors
        self.asked: list[list[str]] = []

    def run(self, frames: Frames) -> Seen:
        return Seen(self._tensor("logits"), np.zeros((1, 8, 8), np.uint8))

    def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
        self.asked.append(list(names))
        return {name: [self._tensor(name)] for name in names}

    def _tensor(self, name: str) -> np.ndarray:
        return REFERENCE[name] * (1 + self._errors.get(name, 0.0))


def named(errors: dict[str, float]) -> str:
    found, _ = first_block(MadeUp(errors), MadeUp({}), BLOCKS, FRAMES, BOUND, beyond=True)
    return found.block.name


@pytest.mark.parametrize(
    ("errors", "block"),
    [
        ({"b": 0.3, "c": 0.3, "logits": 0.4}, "two"),
        # It grows slowly up to the bound; the fault is where it grew most.
        ({"a": 0.003, "b": 0.03, "c": 0.035, "logits": 0.05}, "two"),
        ({"a": 0.01, "b": 0.015, "c": 0.02, "logits": 0.3}, "four"),
        ({"c": np.inf, "logits": np.nan}, "three"),
        # Rounding behind exact values is no fault, however much larger than nothing it is.
        ({"a": 1e-6, "b": 2e-6, "c": 2e-6, "logits": 0.3}, "four"),
    ],
)
def test_the_block_whose_own_error_is_the_largest_is_named(errors: dict[str, float], block: str):
    assert named(errors) == block


def test_an_engine_that_taps_change_is_tapped_one_at_a_time():
    class Disturbed(MadeUp):
        """Its fault goes away where `a` is tapped."""

        def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
            healthy = MadeUp({}) if "a" in names else MadeUp(self._errors)
            self.asked.append(list(names))
            return healthy.tensors(names, frames)

    engine = Disturbed({"b": 0.3, "c": 0.3, "logits": 0.4}, fuses=True)
    found, note = first_block(engine, MadeUp({}, "converted"), BLOCKS, FRAMES, BOUND, beyond=True)
    assert found.block.name == "two" and "1 of 4 taps change the engine's result" in note
    assert len(engine.asked) == 5


def test_an_engine_within_its_bound_is_not_tapped_one_at_a_time():
    """What a tap may change there is what rounding may; beyond that nothing is said of its inside."""

    class Moved(MadeUp):
        def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
            return MadeUp({"b": 0.01, "logits": self._errors["tapped"]}).tensors(names, frames)

    for error, seen in ((0.03, True), (0.06, False)):
        engine = Moved({"logits": 0.01, "tapped": error}, fuses=True)
        found, note = first_block(engine, MadeUp({}), BLOCKS, FRAMES, BOUND, beyond=False)
        assert (found is not None) == seen and ("changes its result" in note) != seen


def test_an_engine_that_shows_nothing_inside_has_no_block():
    class Closed(MadeUp):
        def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
            raise TargetError("an engine of tensorrt shows nothing but its outputs")

    found, note = first_block(Closed({}, fuses=True), MadeUp({}), BLOCKS, FRAMES, BOUND, beyond=True)
    assert found is None and "nothing but its outputs" in note


def test_a_tensor_that_no_submodule_returns_is_passed_over():
    class Module(MadeUp):
        """It never shows `b`, which a function and no submodule makes."""

        def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
            shown = [REFERENCE[name] for name in ("a", "c", "logits")]
            return dict.fromkeys(names, shown)

    module = Module({}, "module")
    found, _ = first_block(MadeUp({"logits": 0.3}), module, BLOCKS, FRAMES, BOUND, beyond=True)
    assert found.block.name == "four"
    # Where nothing behind it is right either, it is the place to look.
    found, _ = first_block(MadeUp({"b": 0.3, "c": 0.3, "logits": 0.3}), module, BLOCKS, FRAMES, BOUND, beyond=True)
    assert found.block.name == "two"


def test_the_nearest_of_several_tensors_is_taken():
    value = np.ones((2, 3))
    error, other = nearest(value, [np.zeros((2, 3)), np.full((2, 3), 1.01), np.ones((3, 2))])
    assert error == pytest.approx(0.01 / 1.01) and other[0, 0] == 1.01
    assert nearest(value, [np.ones(5)])[0] == np.inf
