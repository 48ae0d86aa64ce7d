"""The commands that bring an engine to another machine: bundle, unpack, verify, deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import TARGET, EnginePath, JsonFlag
from edgefsa.errors import InputError

_SIGNING, _BOARD = "Signatures", "Board"

BundleFile = Annotated[
    Path, typer.Argument(metavar="NAME.edgefsa", help="A bundle of `edgefsa bundle`.", show_default=False)
]
AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Demand a signature of one of these, as ssh-keygen(1) lists allowed signers.",
        rich_help_panel=_SIGNING,
    ),
]
Plugins = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="CUDA plugins (tensorrt): auto, library, kernels (inside the engine) or none.",
        rich_help_panel=TARGET,
    ),
]


def bundle(
    engine: EnginePath,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The file to write; by default ENGINE.edgefsa here."),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY", help="Sign it with this ssh key, as ~/.ssh/id_ed25519.", rich_help_panel=_SIGNING),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Put all that another machine needs to build an engine, and to prove it, into one file.

    Example: edgefsa bundle engines/fsanet-edge-openvino-int8-360x480 -o street.edgefsa
    """
    from edgefsa.deploy.bundle import SUFFIX, write_bundle

    made = write_bundle(engine, output or Path(engine.resolve().name + SUFFIX), sign_with=sign)
    result = {
        "bundle": str(made.path),
        "bytes": made.path.stat().st_size,
        "engine": made.index.engine,
        "members": list(made.index.members),
        "signed_by": made.signed_by,
    }
    console.emit(result, as_json=json, text=console.facts(result))


def unpack(
    file: BundleFile,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The folder to make; by default the bundle's name."),
    ] = None,
    allowed_signers: AllowedSigners = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Unpack a bundle, once every file of it was checked; the folder appears whole or not at all.

    Example: edgefsa unpack street.edgefsa -o street
    """
    from edgefsa.deploy.bundle import unpack_bundle

    made = unpack_bundle(file, output or Path(file.stem), allowed_signers=allowed_signers, overwrite=overwrite)
    result = {"folder": str(made.path), "members": list(made.index.members), "signed_by": made.signed_by}
    console.emit(result, as_json=json, text=console.facts(result))


def verify(
    path: Annotated[Path, typer.Argument(metavar="NAME.edgefsa|DIR", help="A bundle, or the folder of one.")],
    allowed_signers: AllowedSigners = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Check the files, and build nothing.")] = False,
    engine: Annotated[
        Path | None, typer.Option(metavar="DIR", help="An engine that was built of it, to be compared.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to build for, or auto; the bundle's own.", rich_help_panel=TARGET),
    ] = None,
    plugins: Plugins = "auto",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Keep the engine in this folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an engine of the same name.")] = False,
    json: JsonFlag = False,
) -> None:
    """Check a bundle: its files, its signature, and an engine built of it here, held to its golden frames.

    Example: edgefsa verify street.edgefsa --target auto -o engines/
    """
    from edgefsa.deploy.verification import verify_bundle

    if engine is not None and (output is not None or target is not None):
        raise InputError(f"--engine {engine} is built already; leave --target and -o out")
    with console.progress("building") as progress:
        found = verify_bundle(
            path,
            allowed_signers=allowed_signers,
            files_only=files_only,
            engine=engine,
            target=target,
            plugins=plugins,
            output=output,
            overwrite=overwrite,
            say=console.message,
            progress=progress,
        )
    result = found.as_dict()
    shown = {
        "bundle": f"{found.bundle}, {found.members} members as they were made",
        "signed by": found.signed_by or "nobody",
        "engine": found.engine,
        "target": found.target,
        "golden": None
        if found.agreement is None or found.needed is None
        else f"{100 * found.agreement:.2f} % of the pixels agree, {100 * found.needed:.2f} % must",
        "not built": found.why_not,
    }
    console.emit(result, as_json=json, text=console.facts(shown))


def deploy(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="[NAME.edgefsa] HOST", help="The bundle, and the board as user@host or ssh's own name."),
    ],
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the release before; takes HOST alone.")] = (
        False
    ),
    target: Annotated[str, typer.Option(metavar="NAME", help="What to build for.", rich_help_panel=TARGET)] = "auto",
    plugins: Plugins = "auto",
    allowed_signers: AllowedSigners = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder that gets the report.")
    ] = Path("report"),
    bench_seconds: Annotated[float, typer.Option(min=0.1, metavar="S", help="How long to measure there.")] = 60.0,
    extra: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Extras of edgefsa to install there, as cpu,onnx; by the board and the target where left out.",
            rich_help_panel=_BOARD,
        ),
    ] = None,
    directory: Annotated[
        str,
        typer.Option(metavar="DIR", help="The folder there, absolute or from the home folder.", rich_help_panel=_BOARD),
    ] = "edgefsa-board",
    python: Annotated[
        str, typer.Option(metavar="NAME", help="The Python there that makes the venv.", rich_help_panel=_BOARD)
    ] = "python3",
    keep: Annotated[int, typer.Option(min=2, metavar="N", help="Releases to keep there.", rich_help_panel=_BOARD)] = 3,
    pip_option: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="An option of pip install there; repeatable.", rich_help_panel=_BOARD),
    ] = None,
    ssh_config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="In place of ~/.ssh/config.", rich_help_panel=_BOARD)
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Bring a bundle to a board over ssh: build its engine there, prove it, measure it, and put it into use.

    Interrupted, it goes on when it is run again; what is in use stays so until the new engine has passed.

    Example: edgefsa deploy street.edgefsa user@board
    """
    from edgefsa.deploy.deployment_report import report_text, write_report
    from edgefsa.deploy.remote import DeployRequest
    from edgefsa.deploy.remote import deploy as deploy_to
    from edgefsa.deploy.remote import rollback as roll_back
    from edgefsa.deploy.ssh import Board

    *bundles, host = arguments
    if len(bundles) != (0 if rollback else 1):
        wanted = "HOST alone" if rollback else "a bundle and a host"
        raise InputError(f"deploy got {len(arguments)} arguments ({' '.join(arguments)}); give {wanted}")
    board = Board(host, directory=directory, python=python, ssh_config=ssh_config, say=console.message)
    if rollback:
        back = roll_back(board, say=console.message)
        console.emit(back, as_json=json, text=console.facts(back))
        return
    request = DeployRequest(
        bundle=Path(bundles[0]),
        target=target,
        extra=extra,
        plugins=plugins,
        allowed_signers=allowed_signers,
        bench_seconds=bench_seconds,
        keep=keep,
        pip_options=tuple(pip_option or ()),
    )
    report = deploy_to(request, board, say=console.message)
    files = [str(path) for path in write_report(report, output)]
    console.emit({**report, "files": files}, as_json=json, text="\n".join([report_text(report), "", *files]))
