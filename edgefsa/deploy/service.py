"""A systemd service that runs an engine live: installed, shown, looked after and removed again."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgefsa.artifacts import Manifest, atomic_file
from edgefsa.deploy.unit import ServiceUnit, check_name, device_groups, settings_text
from edgefsa.errors import InputError, OutputError

SOURCE_VARIABLE, TOKEN_VARIABLE = "EDGEFSA_SOURCE", "EDGEFSA_TOKEN"
LOOPBACK = "127.0.0.1"
# Device files of NVIDIA's drivers (desktop and Jetson), of cameras and of the display.
_DEVICE_PATTERNS = ("nv*", "nv*/**/*", "dri/*", "video*", "media*", "host1x*", "capture-*", "v4l2-nv*")
_GROUPS = ("video", "render")
# Where PrivateTmp= puts folders of the service's own.
_NOT_LASTING = ("/tmp", "/var/tmp")
_MODPROBE = Path("/usr/bin/nvidia-modprobe")
_SHOWN = ("LoadState", "ActiveState", "SubState", "StatusText", "NRestarts", "MainPID", "ActiveEnterTimestamp")

Systemctl = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class ServiceRequest:
    """What is to run: an engine on a source, shown in a browser at `host` and `port`; `flags` go to `edgefsa serve`.

    `system` installs for the whole machine, started at boot and run as `user`; else for the one who asks.
    """

    engine: Path
    source: str
    name: str = "edgefsa"
    system: bool = False
    user: str | None = None
    host: str = LOOPBACK
    port: int = 8080
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where systemd looks for units, and where a unit's settings lie."""

    units: Path
    settings: Path
    system: bool

    def unit(self, name: str) -> Path:
        """Return the path of a service's unit."""
        return self.units / f"{check_name(name)}.service"

    def settings_of(self, name: str) -> Path:
        """Return the path of the file with a service's source and token."""
        return self.settings / f"{check_name(name)}.env"


@dataclass(frozen=True)
class Service:
    """An installed service, or one that would be: its files, the unit's text, and the names of its settings.

    `token` is what a browser must know where one was made now: it is shown this once.
    """

    name: str
    unit: str
    text: str
    settings: str
    variables: tuple[str, ...]
    token: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "variables": list(self.variables)}


def place_of(*, system: bool, environment: Mapping[str, str] = os.environ) -> Place:
    """Return the folders of the system's units, or of this user's."""
    if system:
        return Place(Path("/etc/systemd/system"), Path("/etc/edgefsa"), system=True)
    config = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Place(config / "systemd/user", config / "edgefsa", system=False)


def install_service(
    request: ServiceRequest,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    environment: Mapping[str, str] = os.environ,
    systemctl: Systemctl | None = None,
) -> Service:
    """Write the unit and its settings, and have systemd start it now and at boot; `dry_run` only returns them.

    Raises EngineError where the engine is none, InputError for what no service or live view can have, OutputError where
    there is one of that name already and `overwrite` is false, or systemd refuses it.
    """
    place = place_of(system=request.system, environment=environment)
    token = _token(request, environment)
    _check_view(request, token)
    values = {SOURCE_VARIABLE: _lasting_source(request.source), **({TOKEN_VARIABLE: token} if token else {})}
    unit_path, settings_path = place.unit(request.name), place.settings_of(request.name)
    unit = _unit_of(request, settings_path, environment)
    made = token if token != environment.get(TOKEN_VARIABLE) else None
    service = Service(request.name, str(unit_path), unit.text(), str(settings_path), tuple(values), made)
    if dry_run:
        return service
    if unit_path.exists() and not overwrite:
        raise OutputError(f"{unit_path} exists already; give another --name, pass --overwrite, or remove that service")
    if request.system and os.geteuid() != 0:
        raise InputError("a service of the system is root's to install; put sudo before it, or use --user")
    control = systemctl or _systemctl(system=request.system)
    _write(settings_path, settings_text(values), mode=0o600)
    _write(unit_path, unit.text(), mode=0o644)
    control(["daemon-reload"])
    control(["enable", unit_path.name])
    control(["restart", unit_path.name])
    return service


def installed_service(name: str, *, system: bool, environment: Mapping[str, str] = os.environ) -> Service:
    """Return an installed service without the values of its settings; InputError where there is none."""
    place = place_of(system=system, environment=environment)
    path, settings = place.unit(name), place.settings_of(name)
    if not path.is_file():
        raise InputError(f"there is no service {name} ({path}); install it with `edgefsa service install`")
    lines: list[str] = []
    with contextlib.suppress(OSError):  # of the system's services only root reads them
        lines = settings.read_text(encoding="utf-8").splitlines()
    variables = tuple(line.partition("=")[0] for line in lines)
    return Service(name, str(path), path.read_text(encoding="utf-8"), str(settings), variables)


def service_status(name: str, *, system: bool, systemctl: Systemctl | None = None) -> dict[str, str]:
    """Return what systemd knows of a service: `state`, `status` (its own words), `restarts`, `pid`, `since`."""
    check_name(name)
    text = (systemctl or _systemctl(system=system))(["show", f"{name}.service", f"--property={','.join(_SHOWN)}"])
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if found.get("LoadState") == "not-found":
        raise InputError(f"systemd knows no service {name}; install it with `edgefsa service install`")
    return {
        "service": name,
        "state": f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', 'unknown')})",
        "status": found.get("StatusText", ""),
        "restarts": found.get("NRestarts", ""),
        "pid": found.get("MainPID", "").removeprefix("0"),
        "since": found.get("ActiveEnterTimestamp", ""),
    }


def remove_service(
    name: str,
    *,
    system: bool,
    environment: Mapping[str, str] = os.environ,
    systemctl: Systemctl | None = None,
) -> list[str]:
    """Stop a service and delete its unit and settings; return the files that are gone. Recordings stay.

    Raises InputError where there is none, OutputError where it cannot be deleted.
    """
    service = installed_service(name, system=system, environment=environment)
    control = systemctl or _systemctl(system=system)
    control(["disable", "--now", Path(service.unit).name])
    removed = []
    for path in (Path(service.unit), Path(service.settings)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot delete {path}: {(error.strerror or str(error)).lower()}; use sudo") from error
        removed.append(str(path))
    control(["daemon-reload"])
    return removed


def _unit_of(request: ServiceRequest, settings: Path, environment: Mapping[str, str]) -> ServiceUnit:
    engine, python = _lasting_engine(request.engine)
    manifest = Manifest.read(engine)
    argus = request.source.startswith("csi") or "nvarguscamerasrc" in request.source
    if request.system and not argus and any(engine.resolve().is_relative_to(place) for place in _NOT_LASTING):
        raise InputError(f"{engine} lies where the service has a folder of its own and files do not last; move it")
    command = [python, "-m", "edgefsa.cli", "serve", str(engine)]
    command += ["--host", request.host, "--port", str(request.port), *request.flags]
    return ServiceUnit(
        name=request.name,
        engine=f"{engine.resolve().name} ({manifest.target})",
        command=command,
        settings=settings,
        system=request.system,
        user=_user(request, environment) if request.system else "",
        groups=[name for name in _GROUPS if _is_group(name)],
        devices=_devices(),
        argus=argus,
        uvm=request.system and _MODPROBE.is_file(),
    )


def _lasting_engine(path: Path) -> tuple[Path, str]:
    """Return an engine as it is found from any folder, and the Python that runs it.

    Under the link `current` of a deployment both go by that link: the service follows it from release to release.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 the links in it are to stay
    for folder in absolute.parents:
        python = folder / "venv" / "bin" / "python"
        if folder.is_symlink() and python.exists():
            return absolute, str(python)
    return path.resolve(), sys.executable


def _lasting_source(source: str) -> str:
    """Return a source as it is found from any folder: services start in /."""
    path = Path(source)
    return str(path.resolve()) if path.exists() else source


def _token(request: ServiceRequest, environment: Mapping[str, str]) -> str | None:
    given = environment.get(TOKEN_VARIABLE)
    return given or (None if request.host in (LOOPBACK, "::1", "localhost") else secrets.token_urlsafe(24))


def _check_view(request: ServiceRequest, token: str | None) -> None:
    """Raise InputError now for what the live view would refuse at each start: an address, a token, no packages."""
    from edgefsa.serve import ServeSink

    ServeSink(host=request.host, port=request.port, token=token)


def _user(request: ServiceRequest, environment: Mapping[str, str]) -> str:
    name = request.user or environment.get("SUDO_USER") or getpass.getuser()
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise InputError(f"this machine has no user {name}; give another --run-as") from None
    if user.pw_uid == 0:
        raise InputError("a service that reads from the network is not to run as root; name a user by --run-as")
    return name


def _is_group(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(grp.getgrnam(name))
    return False


def _devices(root: Path = Path("/dev"), proc_devices: Path = Path("/proc/devices")) -> list[str]:
    nodes = {path for pattern in _DEVICE_PATTERNS for path in root.glob(pattern) if path.is_char_device()}
    return device_groups(((str(path), os.major(path.stat().st_rdev)) for path in nodes), proc_devices.read_text())


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write a file whole, with its permissions before its content."""
    with atomic_file(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")
        partial.chmod(mode)


def _systemctl(*, system: bool) -> Systemctl:
    scope = [] if system else ["--user"]

    def control(arguments: Sequence[str]) -> str:
        command = ["systemctl", *scope, "--no-pager", *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        except FileNotFoundError:
            raise OutputError("this machine has no systemd (no systemctl); see the unit with --dry-run") from None
        except subprocess.TimeoutExpired:
            raise OutputError(f"`{' '.join(command)}` did not end; look with `edgefsa service status`") from None
        if done.returncode != 0:
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise OutputError(f"`{' '.join(command)}` failed: {reason}")
        return done.stdout

    return control
