"""The options that take trtexec's files about the layers of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.engines.tensorrt.layer_times import LayerTime

LAYERS = "Layers, by trtexec"

LayerInfo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[ENGINE=]FILE", help="trtexec's --exportLayerInfo of an engine; repeatable.", rich_help_panel=LAYERS
    ),
]
Profile = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[ENGINE=]FILE", help="trtexec's --exportProfile of an engine; repeatable.", rich_help_panel=LAYERS
    ),
]


def layer_times_from(
    engines: Sequence[Path], layer_info: Sequence[str], profile: Sequence[str]
) -> dict[str, list[LayerTime]]:
    """Return what trtexec's files say of the layers of engines, by the engines' names.

    A text is ENGINE=FILE, with the name of the engine's directory, or FILE where there is one engine. What layers run
    in is read from the engine where no file says it. Raises InputError for a file or an engine that cannot be.
    """
    from edgefsa.engines.session import read_layers
    from edgefsa.engines.tensorrt.layer_times import layer_times, read_layer_info, read_profile

    places = {engine.resolve().name: engine for engine in engines}
    infos = {name: read_layer_info(file) for name, file in _files_of(places, layer_info, "--layer-info").items()}
    times = {name: read_profile(file) for name, file in _files_of(places, profile, "--profile").items()}
    return {
        name: layer_times(infos[name] if name in infos else read_layers(places[name]), times.get(name, {}))
        for name in dict.fromkeys([*infos, *times])
    }


def _files_of(places: Mapping[str, Path], texts: Sequence[str], flag: str) -> dict[str, str]:
    files = {}
    for text in texts:
        name, equals, file = text.rpartition("=")
        name = Path(name).name if equals else next(iter(places)) if len(places) == 1 else ""
        if name not in places or name in files:
            raise InputError(
                f"{flag} {text} names no engine, or one twice; write ENGINE=FILE, once for each of {', '.join(places)}"
            )
        files[name] = file
    return files
