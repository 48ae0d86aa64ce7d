"""The command line. Each command is thin: it reads options, calls the public API, and prints.

Nothing heavy is imported at the top of a command's file, so that `edgefsa --help` answers at once and a command that
only runs an engine never loads torch or onnx.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands import (
    adopt,
    bench,
    build,
    bundle,
    deploy,
    live,
    quantize,
    segment,
    selftest,
    service,
    train,
    verify,
)

# In the order of `edgefsa --help`.
COMMANDS: dict[str, Callable[..., int | None]] = {
    "models": build.models,
    "train": train.train,
    "export": build.export,
    "calibrate": build.calibrate,
    "build": build.build,
    "adopt": adopt.adopt,
    "run": live.run,
    "serve": live.serve,
    "predict": segment.predict,
    "eval": verify.evaluate,
    "bench": bench.bench,
    "report": verify.report,
    "parity": verify.parity,
    "drift": verify.drift,
    "inspect": verify.inspect,
    "bundle": bundle.bundle,
    "unpack": bundle.unpack,
    "verify": bundle.verify,
    "deploy": bundle.deploy,
    "doctor": deploy.doctor,
    "plugins": deploy.plugins,
    "selftest": selftest.selftest,
}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(quantize.app, name="quantize")
app.add_typer(service.app, name="service")


def _version(show: bool) -> None:
    if show:
        from edgefsa import __version__

        console.emit(__version__, as_json=False, text=f"edgefsa {__version__}")
        raise typer.Exit


@app.callback()
def edgefsa(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """From a FsaNet or SPANet checkpoint to a real-time segmentation engine, with proof of its cost and its gain."""


def main() -> None:
    """Run the command line (the `edgefsa` program)."""
    console.run(lambda: app(standalone_mode=False))


if __name__ == "__main__":
    main()
