from __future__ import annotations

from pathlib import Path

import pytest

from edgefsa.errors import InputError
from edgefsa.verify.sensitivity.store import TrialStore

FACTS = {"graph": "g", "size_hw": [3, 4]}


def test_what_was_put_is_there_in_another_process(tmp_path: Path) -> None:
    store = TrialStore(FACTS, tmp_path)
    store.put("engine", ["b", "a"], {"ms": 1.5})
    store.put("engine", [], {"ms": 1.0})
    store.put("logits", ["a", "b"], 40.25)
    again = TrialStore(dict(reversed(FACTS.items())), tmp_path)
    assert again.get("engine", {"a", "b"}) == {"ms": 1.5}
    assert again.get("engine", ()) == {"ms": 1.0}
    assert again.get("logits", ["b", "a"]) == 40.25
    assert again.get("logits", ["a"]) is None
    assert len(again) == 3


def test_other_facts_have_measurements_of_their_own(tmp_path: Path) -> None:
    TrialStore(FACTS, tmp_path).put("engine", [], 1)
    other = TrialStore({**FACTS, "graph": "h"}, tmp_path)
    assert other.get("engine", []) is None
    other.put("engine", [], 2)
    assert TrialStore(FACTS, tmp_path).get("engine", []) == 1


def test_nothing_is_left_between_two_writes(tmp_path: Path) -> None:
    store = TrialStore(FACTS, tmp_path)
    for index in range(3):
        store.put("engine", [str(index)], index)
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}', '{"format": 1, "records": [3]}', "\udce4"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = TrialStore(FACTS, tmp_path).path
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match="cannot be read") as caught:
        TrialStore(FACTS, tmp_path)
    assert str(path) in str(caught.value) and "remove it" in str(caught.value)
