"""The options of INT8 that several commands share: what is calibrated on, and what is searched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefsa.commands.options import INT8

if TYPE_CHECKING:
    from edgefsa.build import SearchRequest
    from edgefsa.data.mixture import Mixture

SEARCH_SPLIT, SEARCH_FRAMES = "train", 64
SEARCH = "Search for what INT8 leaves in float"

SearchSplit = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The split that blocks are judged on; eval and report take another, val, by default.",
        rich_help_panel=SEARCH,
    ),
]
SearchFrames = Annotated[
    int, typer.Option(min=1, metavar="N", help="How many frames of it, evenly spread.", rich_help_panel=SEARCH)
]


@dataclass(frozen=True)
class SearchOptions:
    """A recipe to replay, or the search for one."""

    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Leave in float what a recipe says: a TOML file, as the recipe.toml of an engine.",
            rich_help_panel=SEARCH,
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="POINTS",
            help="Search the fewest blocks to leave in float for INT8 to lose no more mIoU than this.",
            rich_help_panel=SEARCH,
        ),
    ] = None
    budget: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="How many engines the search may measure.", rich_help_panel=SEARCH),
    ] = 40
    search_split: SearchSplit = SEARCH_SPLIT
    search_frames: SearchFrames = SEARCH_FRAMES

    def request(self) -> SearchRequest | None:
        """Return what is to be searched, or None."""
        from edgefsa.build import SearchRequest

        if self.max_drop is None:
            return None
        return SearchRequest(self.max_drop, self.budget, self.search_split, self.search_frames)


@dataclass(frozen=True)
class MixtureOptions:
    """What is calibrated on beside --data, with the same share for each."""

    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Calibrate on frames of this data set too: images:DIR, ...; repeatable.",
            rich_help_panel=INT8,
        ),
    ] = None
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Calibrate on the frames under made-up conditions too: night, rain, fog, blur, with commas.",
            rich_help_panel=INT8,
        ),
    ] = None

    def mixture(self) -> Mixture:
        """Return them as a calibration takes them; InputError for an unknown condition."""
        from edgefsa.data.conditions import conditions_from_text
        from edgefsa.data.mixture import Mixture

        return Mixture(tuple(self.also or ()), conditions_from_text(self.augment))
