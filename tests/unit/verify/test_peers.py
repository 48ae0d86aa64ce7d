"""The user's own figures: what is read, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgefsa.errors import InputError
from edgefsa.verify.peers import Peer, peer_letter, read_peers

PIDNET = {"name": "PIDNet-S", "miou_percent": 80.1, "frame_to_mask_ms": 8, "note": "test split"}


def written(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "peers.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_peers_are_read(tmp_path: Path) -> None:
    bare = {key: PIDNET[key] for key in ("miou_percent", "frame_to_mask_ms")}
    found = read_peers(written(tmp_path, {"peers": [PIDNET, {"name": "ENet", **bare}]}))
    assert found == (Peer("PIDNet-S", 80.1, 8.0, "test split"), Peer("ENet", 80.1, 8.0))
    assert read_peers(written(tmp_path, {"peers": []})) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "is not JSON"),
        ([PIDNET], "no object with a list of peers"),
        ({"peers": PIDNET}, "no object with a list of peers"),
        ({"peers": [], "more": 1}, "no object with a list of peers"),
        ({"peers": ["PIDNet"]}, "peer 1 is 'PIDNet', no object"),
        ({"peers": [PIDNET, {**PIDNET, "fps": 3}]}, "peer 2 has 'fps', which is none of name"),
        ({"peers": [{**PIDNET, "name": " "}]}, "peer 1 has no name"),
        ({"peers": [{**PIDNET, "note": 3}]}, "has the note 3, no text"),
        ({"peers": [{**PIDNET, "miou_percent": 101}]}, "miou_percent 101, no number above 0, at most 100"),
        ({"peers": [{**PIDNET, "miou_percent": "80"}]}, "miou_percent '80'"),
        ({"peers": [{**PIDNET, "miou_percent": True}]}, "miou_percent True"),
        ({"peers": [{**PIDNET, "frame_to_mask_ms": 0}]}, "frame_to_mask_ms 0, no number above 0"),
        ('{"peers": [{"name": "n", "miou_percent": 1, "frame_to_mask_ms": Infinity}]}', "frame_to_mask_ms inf"),
        ('{"peers": [{"name": "n", "miou_percent": NaN, "frame_to_mask_ms": 1}]}', "miou_percent nan"),
        ({"peers": [{"name": "n", "miou_percent": 1}]}, "frame_to_mask_ms None"),
        ({"peers": [PIDNET, PIDNET]}, "two peers with the name 'PIDNet-S'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, value: Any, words: str) -> None:
    path = written(tmp_path, value)
    with pytest.raises(InputError, match=words) as caught:
        read_peers(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*no such file"):
        read_peers(tmp_path / "none.json")


def test_letters_go_on_after_z() -> None:
    assert [peer_letter(place) for place in (0, 25, 26, 51, 52)] == ["a", "z", "aa", "zz", "aaa"]


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert read_peers(written(tmp_path, example))[0].name == "PIDNet-S"
