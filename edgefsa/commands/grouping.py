"""Commands that take groups of options: a dataclass for each group, whose fields are the options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

Result = TypeVar("Result")


def grouped(command: Callable[..., Result]) -> Callable[..., Result]:
    """Return `command` with each parameter that is a dataclass replaced by the fields of that dataclass.

    This is what typer reads: fields are annotated as parameters are, and the command gets the filled-in dataclasses.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _parameters_of(kind)
        else:
            parameters.append(_keyword(parameter.name, kind, parameter.default))

    @functools.wraps(command)
    def flat(**values: Any) -> Result:
        filled = {name: kind(**_taken(values, kind)) for name, kind in groups.items()}
        return command(**values, **filled)

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _taken(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """Take the fields of a dataclass out of `values`."""
    return {field.name: values.pop(field.name) for field in dataclasses.fields(kind) if field.name in values}


def _parameters_of(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        _keyword(
            field.name,
            hints[field.name],
            inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
        )
        for field in dataclasses.fields(kind)
    ]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
