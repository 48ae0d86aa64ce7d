from __future__ import annotations

import json

import pytest

from edgefsa import console
from edgefsa.errors import EngineError, InputError


@pytest.mark.parametrize(("text", "size"), [("360x480", (360, 480)), ("8X16", (8, 16)), (None, None)])
def test_a_size_is_height_then_width(text: str | None, size: tuple[int, int] | None) -> None:
    assert console.size_from_text(text) == size


@pytest.mark.parametrize("text", ["0x480", "360x0", "360", "360x", "axb", "-8x16", "360x480x3", ""])
def test_a_size_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="HEIGHTxWIDTH") as caught:
        console.size_from_text(text)
    assert "\n" not in str(caught.value)


def test_numbers_stand_to_the_right_in_a_table() -> None:
    lines = console.table(["name", "ms"], [["a", "1.5"], ["bb", "10.25"]]).splitlines()
    assert lines == ["name     ms", "----  -----", "a       1.5", "bb    10.25"]


def test_facts_are_told_in_words_without_hashes_and_empty_things() -> None:
    values = {"engine": "e/x", "weights": {"kind": "trained", "sha256": "ab"}, "seconds": 1.23456, "ranges": None}
    assert console.facts(values) == "engine   e/x\nweights  kind trained\nseconds  1.235"


def test_a_mistake_of_the_user_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise EngineError("this is wrong;\n do that")

    with pytest.raises(SystemExit) as caught:
        console.run(fail)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: this is wrong; do that\n"


def test_a_missing_package_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    with pytest.raises(SystemExit) as caught:
        console.run(fail)
    assert caught.value.code == 2
    assert "edgefsa[build]" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden() -> None:
    def fail() -> None:
        raise ModuleNotFoundError("No module named 'edgefsa.nothing'", name="edgefsa.nothing")

    with pytest.raises(ModuleNotFoundError):
        console.run(fail)


def test_an_operating_system_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    with pytest.raises(SystemExit) as caught:
        console.run(fail)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: /somewhere: no space left on device\n"


def test_results_go_to_standard_output_and_news_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console.message("news")
    console.emit({"a": 1}, as_json=True, text="unused")
    captured = capsys.readouterr()
    assert captured.err == "news\n"
    assert json.loads(captured.out) == {"a": 1}


def test_random_weights_are_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    console.warn_if_random({"kind": "trained"})
    assert capsys.readouterr().err == ""
    console.warn_if_random({"kind": "random"})
    assert "random" in capsys.readouterr().err


def test_progress_is_silent_within_the_first_second(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("work") as show:
        for done in range(100):
            show(done, 100)
    assert capsys.readouterr().err == ""
