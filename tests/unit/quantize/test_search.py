"""The search on played networks, whose losses and times are known, against trying every set of blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.quantize.search import Found, Trial, search

BLOCKS = ("a", "b", "c", "d", "e", "f")


class Network:
    """Blocks with a loss in INT8 and a time that float costs; losses add up."""

    def __init__(self, losses: dict[str, float], costs: dict[str, float], noise_ms: float = 0.0) -> None:
        self.losses, self.costs, self.noise_ms = losses, costs, noise_ms
        self.measured: list[frozenset[str]] = []

    def __call__(self, in_float: frozenset[str]) -> Trial:
        self.measured.append(in_float)
        return self.trial(in_float)

    def trial(self, in_float: frozenset[str]) -> Trial:
        drop = sum(loss for name, loss in self.losses.items() if name not in in_float)
        return Trial(drop, sum(self.costs[name] for name in in_float), self.noise_ms)

    def first_pair(self) -> frozenset[str]:
        """The first set of two that was measured: it holds what the first step took."""
        return next(some for some in self.measured if len(some) == 2)

    def search(self, max_drop: float, budget: int = 100) -> Found:
        suspects = sorted(BLOCKS, key=lambda name: -self.losses[name])
        return search(BLOCKS, suspects, self, max_drop=max_drop, budget=budget)


def test_a_network_that_is_within_the_drop_takes_one_evaluation() -> None:
    network = Network(dict.fromkeys(BLOCKS, 0.01), dict.fromkeys(BLOCKS, 1.0))
    assert network.search(0.3) == Found((), network.trial(frozenset()), True, 1)
    assert network.measured == [frozenset()]


@pytest.mark.parametrize("seed", range(20))
def test_it_takes_as_few_blocks_as_any_set_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = dict(zip(BLOCKS, rng.exponential(0.5, len(BLOCKS)).tolist(), strict=True))
    network = Network(losses, dict.fromkeys(BLOCKS, 1.0))
    found = network.search(0.5)
    subsets = (frozenset(some) for size in range(len(BLOCKS) + 1) for some in itertools.combinations(BLOCKS, size))
    fewest = next(some for some in subsets if network.trial(some).drop <= 0.5)
    assert found.reached and network.trial(frozenset(found.in_float)).drop <= 0.5
    assert len(found.in_float) == len(fewest)
    assert len(network.measured) == len(set(network.measured)) == found.evaluations


def test_of_blocks_that_reach_the_goal_the_cheapest_is_taken() -> None:
    network = Network({**dict.fromkeys(BLOCKS, 0.0), "b": 1.0, "d": 0.9}, {**dict.fromkeys(BLOCKS, 1.0), "b": 5.0})
    assert network.search(1.0).in_float == ("d",)


def test_loss_is_weighed_against_time() -> None:
    losses = {**dict.fromkeys(BLOCKS, 0.0), "a": 3.0, "b": 2.0, "c": 2.0}
    network = Network(losses, {**dict.fromkeys(BLOCKS, 1.0), "a": 10.0})
    network.search(0.1)
    assert "b" in network.first_pair(), "2 points for 1 ms go before 3 points for 10 ms"


def test_times_within_the_noise_are_no_reason() -> None:
    """What costs nothing by chance must not go before what avoids a hundred times the loss."""
    losses = {**dict.fromkeys(BLOCKS, 0.0), "a": 10.0, "b": 0.1, "c": 0.05}
    network = Network(losses, {**dict.fromkeys(BLOCKS, 0.0), "a": 0.3}, noise_ms=0.5)
    network.search(0.04)
    assert "a" in network.first_pair()


def test_a_block_that_became_needless_is_put_back() -> None:
    """Together `b` and `c` do what `a` does, which alone looked the best, at a tenth of its time."""
    drops = {frozenset(): 5.0, frozenset("a"): 1.0, frozenset("b"): 3.0, frozenset("c"): 4.0}
    drops |= {frozenset("ab"): 0.8, frozenset("ac"): 0.9, frozenset("bc"): 0.1, frozenset("abc"): 0.0}
    costs = {"a": 0.5, "b": 0.4, "c": 0.4}

    def evaluate(in_float: frozenset[str]) -> Trial:
        return Trial(drops[in_float], sum(costs[name] for name in in_float), 0.0)

    found = search("abc", "abc", evaluate, max_drop=0.3, budget=20)
    assert (found.in_float, found.reached) == (("b", "c"), True)


@pytest.mark.parametrize("budget", [1, 2, 5, 9])
def test_the_budget_holds_and_what_was_reached_is_told(budget: int) -> None:
    network = Network(dict.fromkeys(BLOCKS, 1.0), dict.fromkeys(BLOCKS, 1.0))
    found = network.search(0.5, budget)
    assert len(network.measured) == found.evaluations == budget
    assert not found.reached
    assert found.trial == network.trial(frozenset(found.in_float))
    assert found.trial.drop == 6 - len(found.in_float)


def test_without_a_budget_nothing_can_be_said() -> None:
    with pytest.raises(InputError, match="a budget of 0 evaluations"):
        search(BLOCKS, BLOCKS, lambda _: Trial(0, 0, 0), max_drop=1, budget=0)
