"""Baselines from elsewhere: each fault is named in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.verify.baseline import read_baseline
from tests.unit.verify.reports import facts, report


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return report(facts("net", "int8", 10.0, 0.6), facts("bare", "fp32", 40.0, None), threads=2).write(tmp_path)[0]


def test_what_was_written_is_read(written: Path) -> None:
    found, net = read_baseline(written), facts("net", "int8", 10.0, 0.6)
    assert found.date == "2026-01-02" and found.machine["threads"] == 2 and found.machine["cpu"] == "A <fast> CPU"
    assert found.data == report().data
    assert list(found.times) == ["net", "bare"] and list(found.accuracy) == ["net"]
    assert net.details is not None
    assert np.array_equal(found.accuracy["net"].hits, net.details.hits)
    assert np.array_equal(found.accuracy["net"].unions, net.details.unions)
    assert found.accuracy["net"].frames == net.details.names
    assert found.times["net"].frame_to_mask_ms == pytest.approx(net.times_ms["frame_to_mask"], abs=1e-4)


def change(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    """A function that puts `value` at a place of a report, or takes the place away for `...`."""

    def changed(whole: dict[str, Any]) -> None:
        *parents, last = path
        holder: Any = whole
        for parent in parents:
            holder = holder[parent]
        if value is ...:
            del holder[last]
        else:
            holder[last] = value

    return changed


FRAMES = ("engines", 0, "frames")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (change(("format",), ...), "no format, as reports of earlier versions, this edgefsa reads 1"),
        (change(("format",), 99), "format 99, this edgefsa reads 1"),
        (change(("engines",), ...), "is no report of edgefsa"),
        (change(("engines",), {}), "engines has '{}', no list"),
        (change(("engines", 0), "net"), r"engines\[0\] has 'net', no object"),
        (change(("engines", 0, "name"), 7), r"engines\[0\].name has '7', no text"),
        (change(("engines", 1, "name"), "net"), "two engines with the name 'net'"),
        (change(("engines", 0, "batch"), True), "net.batch has True"),
        (change(("engines", 0, "times_ms"), ...), "net.times_ms has 'None', no object"),
        (change(("engines", 0, "times_ms", "frame_to_mask", 3), "10"), "net.times_ms.frame_to_mask"),
        (change(("engines", 0, "times_ms", "frame_to_mask", 3), -1.0), "net.times_ms.frame_to_mask"),
        (change(("engines", 0, "times_ms", "yardstick"), []), "net.times_ms.yardstick"),
        (change(("engines", 0, "times_ms", "yardstick"), [3.0]), "100 rounds and 1 of the yardstick"),
        (change(("machine",), []), r"machine has '\[\]', no object"),
        (change(("date",), None), "date has 'None', no text"),
        (change(("data", "classes"), "sky"), "data.classes has 'sky', no list"),
        (change(("data", "fingerprint"), ...), "data.fingerprint has 'None', no text"),
        (change((*FRAMES, "names"), ["a"]), "no pixel counts of 1 frames by 3 classes"),
        (change((*FRAMES, "hits", 0), [1]), "rows of several lengths"),
        (change((*FRAMES, "hits", 0, 0), 10**9), "more hits than pixels"),
        (change((*FRAMES, "hits", 0, 0), -1), "no pixel counts"),
        (change((*FRAMES, "hits", 0, 0), 1.5), "no pixel counts"),
        (change((*FRAMES, "hits", 0, 0), 10**30), "no pixel counts"),
        (change((*FRAMES, "unions"), None), "net.frames.unions has 'None', no list"),
        (change(FRAMES, 3), "net.frames has '3', no object"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(
    written: Path, fault: Callable[[dict[str, Any]], None], words: str
) -> None:
    value = json.loads(written.read_text())
    fault(value)
    written.write_text(json.dumps(value))
    with pytest.raises(InputError, match=words) as caught:
        read_baseline(written)
    message = str(caught.value)
    assert str(written) in message and "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1, 2]", "is no report of edgefsa"),
        (b'{"a": 1}', "is no report of edgefsa"),
    ],
)
def test_a_foreign_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_baseline(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the baseline .*no such file"):
        read_baseline(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"cannot read the baseline .*directory"):
        read_baseline(tmp_path)


def test_a_cut_file_is_named_at_every_length(written: Path) -> None:
    whole = written.read_bytes()
    for length in range(0, len(whole) - 2, len(whole) // 37):
        written.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not JSON"):
            read_baseline(written)
