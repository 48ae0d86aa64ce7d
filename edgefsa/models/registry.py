"""The models by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from edgefsa.errors import InputError
from edgefsa.models.fsanet import fsanet_edge, fsanet_resnet
from edgefsa.models.spanet import VARIANTS, spanet
from edgefsa.models.spanet_edge import spanet_edge

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fsanet-edge": fsanet_edge,
    "fsanet-r18": partial(fsanet_resnet, depth=18),
    "fsanet-r34": partial(fsanet_resnet, depth=34),
    "fsanet-r50": partial(fsanet_resnet, depth=50),
    "fsanet-r101": partial(fsanet_resnet, depth=101),
    "spanet-edge": spanet_edge,
    **{f"spanet-{variant}": partial(spanet, variant=variant) for variant in VARIANTS},
}


def create_model(name: str, **options: Any) -> nn.Module:
    """Build a model by name, weights random, in training mode; its `.config` says what it takes.

    `num_classes` is 1 to 255 where the model segments, since masks are uint8; None stands for the default.
    Raises InputError for an unknown name, an unknown option, or a value that an option cannot have.
    """
    if name not in MODELS:
        raise InputError(f"no model is called {name!r}; choose one of {', '.join(MODELS)}")
    known = [item for item in inspect.signature(MODELS[name]).parameters if item not in ("name", "depth", "variant")]
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    if options.get("num_classes", 0) is None:
        del options["num_classes"]
    return MODELS[name](name=name, **options)
