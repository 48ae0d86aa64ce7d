"""The commands and defaults of docs/training.md are those of the program."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from edgefsa import cli
from edgefsa.train import TrainSettings
from edgefsa.train.settings import OPTIMIZER_DEFAULTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text()
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
ROWS = re.findall(r"^\| `--([\w-]+)` \| (\S+) \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_every_command_is_understood(line: str) -> None:
    words = list(itertools.dropwhile(lambda word: "=" in word, shlex.split(line)))  # what is set before the command
    if words[0] == "python":
        shown = subprocess.run([sys.executable, ROOT / words[1], "--help"], check=True, capture_output=True, text=True)
        assert {word for word in words if word.startswith("-")} <= set(re.findall(r"(?<!\w)--?[\w-]+", shown.stdout))
        return
    if words[0] == "torchrun":
        assert words[words.index("-m") + 1] == "edgefsa.cli"
        words = words[words.index("-m") + 1 :]
    program = typer.main.get_command(cli.app)
    command = program.get_command(None, words[1])  # type: ignore[attr-defined]
    command.make_context(words[1], words[2:])  # raises where an option is unknown or has a value it cannot have


def test_every_default_is_the_program_s() -> None:
    command = typer.main.get_command(cli.app).get_command(None, "train")  # type: ignore[attr-defined]
    defaults = {option.opts[0].removeprefix("--"): option.default for option in command.params}
    rate, decay = OPTIMIZER_DEFAULTS["adamw"]
    computed = {"lr": rate, "weight-decay": decay, "epochs": TrainSettings.epochs}
    assert len(ROWS) > 10
    for name, shown in ROWS:
        value = computed.get(name, defaults[name])
        assert type(value)(shown) == value, name


def test_the_python_example_is_of_this_interface() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    call = next(
        node
        for node in ast.walk(ast.parse(example))
        if getattr(node, "func", None) and "TrainSettings" in ast.unparse(node.func)
    )
    settings: TrainSettings = eval(ast.unparse(call), {"TrainSettings": TrainSettings, "Path": Path})
    assert settings.model == "fsanet-edge" and settings.epochs == 60
