"""What `edgefsa build` and `--help` print, without building anything."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from edgefsa import cli, console

WHY = "the first usable of tensorrt, openvino (tensorrt: the package tensorrt is not installed)"
RESULT = {"engine": "engines/x", "target": "openvino", "precision": "int8", "why": WHY, "weights": {"kind": "trained"}}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr("edgefsa.build.build_from_request", lambda request, **_: dict(RESULT))

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["edgefsa", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code
        return capsys.readouterr().out

    return call


def test_why_each_target_was_not_picked_is_said_where_it_is_asked_for(run: Any) -> None:
    short = run("build")
    assert "auto picked openvino" in short and "not installed" not in short
    assert WHY in run("build", "--verbose")
    assert json.loads(run("build", "--json"))["why"] == WHY
    assert console._for_a_program, "and no progress is shown"
    assert "auto" not in run("build", "--target", "openvino"), "there was nothing to pick"
    assert not console._for_a_program


@pytest.mark.parametrize(
    "command", [[], *([name] for name in cli.COMMANDS)], ids=lambda words: " ".join(words) or "all"
)
def test_help_fits_eighty_columns(run: Any, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    lines = run(*command, "--help").splitlines()
    assert max(map(len, lines)) <= 80
    options = re.findall(r"^│ \*? *(--[\w-]+)", "\n".join(lines), re.MULTILINE)
    assert len(options) == len(set(options)) and "--help" in options


@pytest.mark.parametrize("command", ["build", "train"])
def test_long_help_is_in_groups(run: Any, command: str) -> None:
    titles = [line.split("─")[1].strip() for line in run(command, "--help").splitlines() if line.startswith("╭")]
    assert titles[:2] == ["Arguments", "Options"] and {"Network", "INT8 and ranges"} <= set(titles)
