"""The commands about a service: install, show, status, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import EnginePath, JsonFlag

app = typer.Typer(no_args_is_help=True, help="Run an engine live as a systemd service, from boot on.")

Name = Annotated[str, typer.Option(metavar="NAME", help="What the service is called.")]
System = Annotated[bool, typer.Option("--system/--user", help="For the whole machine, from boot on, or for you alone.")]


@app.command()
def install(
    engine: EnginePath,
    source: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            envvar="EDGEFSA_SOURCE",
            help="What it runs on: 0, csi://0, rtsp:, ...; kept in a file that only you (or root) can read.",
        ),
    ],
    name: Name = "edgefsa",
    system: System = False,
    run_as: Annotated[
        str | None, typer.Option(metavar="USER", help="Whom a --system service runs as; the one who calls sudo.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="The port of the live view.")] = 8080,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on; any but 127.0.0.1 makes a token.")
    ] = "127.0.0.1",
    flag: Annotated[
        list[str] | None,
        typer.Option(metavar="FLAG", help="A further option of `edgefsa serve`, as --flag=--loop; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the unit; write and start nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a service of the same name.")] = False,
    json: JsonFlag = False,
) -> None:
    """Have systemd run an engine live: from now on, from boot on, and again whenever it fails or hangs.

    Example: sudo .venv/bin/edgefsa service install engines/ENGINE --source csi://0 --system --host 0.0.0.0
    """
    from edgefsa.deploy.service import ServiceRequest, install_service

    request = ServiceRequest(
        engine=engine,
        source=source,
        name=name,
        system=system,
        user=run_as,
        host=host,
        port=port,
        flags=tuple(flag or ()),
    )
    service = install_service(request, dry_run=dry_run, overwrite=overwrite)
    if dry_run:
        console.emit(service.as_dict(), as_json=json, text=service.text.rstrip())
        return
    found = {"service": name, "unit": service.unit, "settings": service.settings, "token": service.token}
    console.emit(service.as_dict(), as_json=json, text=console.facts(found))
    if service.token:
        console.message("note: a browser needs this token; it is not shown again")
    if not system:
        console.message("note: it runs while you are logged in; `loginctl enable-linger` starts it at boot")


@app.command()
def show(name: Name = "edgefsa", system: System = False, json: JsonFlag = False) -> None:
    """Show an installed service's unit, and the names of its settings without their values.

    Example: edgefsa service show
    """
    from edgefsa.deploy.service import installed_service

    service = installed_service(name, system=system)
    console.emit(service.as_dict(), as_json=json, text=f"# {service.unit}\n{service.text.rstrip()}")


@app.command()
def status(name: Name = "edgefsa", system: System = False, json: JsonFlag = False) -> None:
    """Say what systemd knows of a service: its state, its own words, how often it was started anew.

    Example: edgefsa service status
    """
    from edgefsa.deploy.service import service_status

    found = service_status(name, system=system)
    console.emit(found, as_json=json, text=console.facts(found))


@app.command()
def remove(name: Name = "edgefsa", system: System = False, json: JsonFlag = False) -> None:
    """Stop a service and delete its unit and its settings; its recordings stay.

    Example: edgefsa service remove
    """
    from edgefsa.deploy.service import remove_service

    removed: list[str] = remove_service(name, system=system)
    console.emit({"removed": removed}, as_json=json, text="\n".join(f"removed {Path(path)}" for path in removed))
