from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefsa import console
from edgefsa.errors import EngineError, InputError


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Screen]:
    """Make standard output and standard error one terminal of so many columns."""

    def of_width(columns: int) -> Screen:
        found = Screen()
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr("sys.stdout", found)
        monkeypatch.setattr("sys.stderr", found)
        return found

    return of_width


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only the test moves, in seconds; the display's too."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


LONG = "engines/a-network-with-a-long-name-openvino-int8-360x480"


def test_numbers_stand_to_the_right_in_a_table() -> None:
    lines = console.table(["name", "ms"], [["a", "1.5"], ["bb", "10.25"]]).splitlines()
    assert lines[0].split() == ["name", "ms"] and set(lines[1]) <= {"─", " "}
    assert [line.split() for line in lines[2:]] == [["a", "1.5"], ["bb", "10.25"]]
    assert len({len(lines[index]) for index in (0, 2, 3)}) == 1, "numbers end in one column"


def test_a_table_for_a_file_is_plain_and_whole() -> None:
    text = console.table(["engine", "detail"], [[LONG, "x" * 300]])
    assert f"{LONG}   {'x' * 300}" in text.splitlines() and "\033" not in text


def test_a_table_fits_the_terminal_and_loses_nothing(screen: Callable[[int], Screen]) -> None:
    screen(50)
    text = console.table(["engine", "ms", "fps"], [[LONG, "10.25", "97.6"], ["[bold]b[/bold]", "3.00", "333.3"]])
    assert "\033[1m" in text, "the header is bold"
    lines = re.sub(r"\033\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 50
    assert "10.25" in lines[2].split() and "97.6" in lines[2].split(), "numbers stay whole"
    folded = "".join(line.split("  ")[0].strip() for line in lines[2:])
    assert LONG in folded and "[bold]b[/bold]" in folded, "names are no markup"


def test_colour_can_be_refused(screen: Callable[[int], Screen], monkeypatch: pytest.MonkeyPatch) -> None:
    screen(50)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[3" not in console.table(["a"], [["1"]])


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


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_question_is_asked_of_a_person(
    answer: str, agreed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, so that results stay alone on standard output; no answer is no."""

    class Person(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Person(answer))
    assert console.confirm("Go on?") is agreed
    shown = capsys.readouterr()
    assert "Go on?" in shown.err and shown.out == ""


def test_where_nobody_can_answer_a_question_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(InputError, match="give --yes"):
        console.confirm("Go on?")


def test_random_weights_are_said_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    console.warn_if_random({"kind": "trained"})
    assert capsys.readouterr().err == ""
    console.warn_if_random({"kind": "random"})
    assert "random" in capsys.readouterr().err


def test_progress_is_silent_within_the_first_second(screen: Callable[[int], Screen], clock: list[float]) -> None:
    found = screen(80)
    with console.progress("work") as show:
        for done in range(100):
            show(done, 100)
    assert "work" not in found.getvalue()


def test_progress_says_how_far_it_is_and_the_time_left(screen: Callable[[int], Screen], clock: list[float]) -> None:
    found = screen(80)
    with console.progress("calibrating") as show:
        for done in range(1, 41):
            clock[0] += 1.0
            show(done, 100)
        console.message("news")
    shown = found.getvalue()
    assert "calibrating" in shown and "40/100" in shown and "01:00" in shown and "left" in shown
    assert "news" in shown


def test_progress_within_progress_is_a_further_line(screen: Callable[[int], Screen], clock: list[float]) -> None:
    found = screen(80)
    with console.progress("building") as outer:
        clock[0] += 2.0
        outer(1, 4)
        with console.progress("calibrating") as inner:
            clock[0] += 2.0
            inner(8, 0)
    assert "building" in found.getvalue() and "8/?" in found.getvalue()


def test_nothing_moves_in_a_file_or_for_a_program(
    screen: Callable[[int], Screen], clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        with console.progress("work") as show:
            clock[0] += 60.0
            show(1, 2)

    work()
    assert capsys.readouterr().err == ""
    found = screen(80)
    console.for_a_program(True)
    try:
        work()
    finally:
        console.for_a_program(False)
    assert found.getvalue() == ""


# A script that is copied to a board by itself and answers on its standard output; the sink whose lines may go there.
OTHERS_THAT_PRINT = ("deploy/onboard.py", "segment/sinks/records.py")


def test_only_the_console_prints() -> None:
    package = Path(console.__file__).parent
    for path in package.rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        names = {function.id for function in calls if isinstance(function, ast.Name)}
        assert "print" not in names or path.relative_to(package).as_posix() in ("console.py", *OTHERS_THAT_PRINT), path


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, edgefsa.cli; print(sorted({'rich', 'numpy', 'cv2', 'torch', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
