"""The releases of JetPack and what they bring."""

from __future__ import annotations

import pytest

from edgefsa.machine.jetpack import ADDED_TENSORRT, NEWEST, OLDEST, brought_by, jetpack_of, version_numbers


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        *[("39.2.2", "7.2.2"), ("39.2.1", "7.2.1"), ("39.2.0", "7.2"), ("39.2", "7.2"), ("39.9.9", "7")],
        *[("38.4.0", "7.1"), ("38.2", "7.0"), ("38.2.1", "7.0"), ("38.3", "7")],
        *[("36.5.0", "6.2.2"), ("36.4.7", "6.2.1"), ("36.4.4", "6.2.1"), ("36.4.3", "6.2"), ("36.4", "6.1")],
        *[("36.4.0", "6.1"), ("36.3.0", "6.0"), ("36.4.5", "6"), ("36.9.1", "6"), ("36.40", "6")],
        *[("35.6.0", "5.1.4"), ("35.4.1", "5.1.2"), ("35.4", "5"), ("35.1", "5"), ("32.7.1", "4.6.1"), ("32.1", "4")],
        *[("99.1", None), ("3", None)],
    ],
)
def test_jetpack_of_a_jetson_linux_release(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


@pytest.mark.parametrize(
    ("jetpack", "tensorrt", "cuda", "python"),
    [
        ("6.0", "8.6", "12.2", "3.10"),
        ("6.1", "10.3", "12.6", "3.10"),
        ("6.2.3", "10.3", "12.6", "3.10"),
        ("7.0", "10.13", "13.0", "3.12"),
        ("7.1", "10.13", "13.0", "3.12"),
        ("7.2.2", "10.16", "13.2", "3.12"),
    ],
)
def test_what_a_jetpack_brings(jetpack: str, tensorrt: str, cuda: str, python: str) -> None:
    brought = brought_by(jetpack)
    assert brought is not None and (brought.tensorrt, brought.cuda, brought.python) == (tensorrt, cuda, python)


@pytest.mark.parametrize("jetpack", ["5.1.4", "6", "7", "8.0", ""])
def test_of_another_nothing_is_made_up(jetpack: str) -> None:
    assert brought_by(jetpack) is None


def test_the_first_and_the_last_of_the_table_are_known() -> None:
    assert brought_by(OLDEST) is not None and brought_by(NEWEST) is not None
    assert all(brought_by(jetpack) is not None for jetpack in ADDED_TENSORRT)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("10.16.2.10-1+cuda13.2", (10, 16, 2, 10)),
        ("1:1.21.5-1ubuntu22.04.1", (1, 21, 5)),
        ("6.2+b77", (6, 2)),
        ("2.5.3", (2, 5, 3)),
        ("", ()),
        ("unknown", ()),
    ],
)
def test_the_numbers_of_a_version(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers
