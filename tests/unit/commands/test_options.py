"""Options in groups, and how their texts are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import NetworkOptions, batch_from_text, options_from_text, size_from_text
from edgefsa.errors import InputError


@pytest.mark.parametrize(("text", "size"), [("360x480", (360, 480)), ("8X16", (8, 16)), (None, None)])
def test_a_size_is_height_then_width(text: str | None, size: tuple[int, int] | None) -> None:
    assert size_from_text(text) == size


@pytest.mark.parametrize("text", ["0x480", "360x0", "360", "360x", "axb", "-8x16", "360x480x3", ""])
def test_a_size_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match="HEIGHTxWIDTH") as caught:
        size_from_text(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=2", 2), ("a=true", True), ("a=[0, 8]", [0, 8]), ("a=ccnet", "ccnet"), ("a=b=c", "b=c")],
)
def test_the_value_of_an_option_is_json_or_text(text: str, value: Any) -> None:
    assert options_from_text([text]) == {"a": value}


@pytest.mark.parametrize("text", ["a", "=2", "a="])
def test_an_option_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        options_from_text([text])


def test_network_options_become_a_request() -> None:
    options = NetworkOptions(checkpoint=Path("w.pth"), option=["k=4"], num_classes=3, size="64x96", batch="2")
    request = options.request("fsanet-edge")
    assert (request.name, request.checkpoint, request.options) == ("fsanet-edge", Path("w.pth"), {"k": 4})
    assert (request.num_classes, request.size_hw, request.batch, request.outputs) == (3, (64, 96), 2, "masks")


@pytest.mark.parametrize(("text", "batch"), [("4", 4), ("1:4:8", (1, 4, 8))])
def test_a_batch_is_a_number_or_three(text: str, batch: object) -> None:
    assert batch_from_text(text) == batch


@pytest.mark.parametrize("text", ["", "1:8", "a:b:c", "-1", "1:2:3:4"])
def test_a_batch_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--batch {text} is no number of frames"):
        batch_from_text(text)


@dataclass(frozen=True)
class _Colours:
    paper: Annotated[str, typer.Option("--paper", help="its own")]
    ink: Annotated[int, typer.Option(min=1)] = 7


def test_a_group_becomes_its_options_and_comes_back_filled() -> None:
    got: list[Any] = []

    @grouped
    def draw(colours: _Colours, name: Annotated[str, typer.Argument()], fast: bool = False) -> None:
        """Draw."""
        got.append((colours, name, fast))

    app = typer.Typer(add_completion=False)
    app.command()(draw)
    app(["there", "--paper", "white", "--ink", "3", "--fast"], standalone_mode=False)
    app(["here", "--paper", "grey"], standalone_mode=False)
    assert got == [(_Colours("white", 3), "there", True), (_Colours("grey", 7), "here", False)]
    with pytest.raises(Exception, match="paper"):
        app(["here"], standalone_mode=False)
