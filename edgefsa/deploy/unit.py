"""The text of a systemd service that runs an engine live, and of the file of settings that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefsa.errors import InputError

# systemd takes a whole process for hung that sends no sign of life for so long; it sends one twice as often.
WATCHDOG_S = 60
_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True)
class ServiceUnit:
    """What a unit is written from.

    `command` is the program with its arguments, `settings` the file with its environment. `user`, `groups` and
    `devices` (`DeviceAllow=` specifiers) are for a unit of the system; a user's own has none of them. `argus` keeps
    the system's /tmp, where the daemon of CSI cameras on a Jetson has its socket; `uvm` has nvidia-modprobe make the
    device that CUDA needs on a desktop.
    """

    name: str
    engine: str
    command: Sequence[str]
    settings: Path
    system: bool = False
    user: str = ""
    groups: Sequence[str] = ()
    devices: Sequence[str] = ()
    argus: bool = False
    uvm: bool = False

    def text(self) -> str:
        """Return the unit file."""
        lines = [*_head(self), *_service(self), *_confined(self), *(_of_system(self) if self.system else ())]
        target = "multi-user.target" if self.system else "default.target"
        return "\n".join([*lines, "", "[Install]", f"WantedBy={target}", ""])


def _head(unit: ServiceUnit) -> list[str]:
    network = ["Wants=network-online.target", "After=network-online.target"] if unit.system else []
    return [
        "# Written by `edgefsa service install`; `edgefsa service remove` takes it away again.",
        "[Unit]",
        f"Description=edgefsa, {quoted_specifiers(unit.engine)}",
        *network,
        # A camera that is away for an hour must not leave the service off for good.
        "StartLimitIntervalSec=0",
        "",
    ]


def _service(unit: ServiceUnit) -> list[str]:
    return [
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        *(["ExecStartPre=+-/usr/bin/nvidia-modprobe -u -c=0"] if unit.uvm else []),
        f"ExecStart={' '.join(quoted_argument(argument) for argument in unit.command)} --output %S/{unit.name}",
        "# The source, which may hold a password, and the browser's token: readable by the owner alone.",
        f"EnvironmentFile={quoted_specifiers(str(unit.settings))}",
        "Environment=PYTHONUNBUFFERED=1",
        f"Environment=CUDA_CACHE_PATH=%C/{unit.name}/cuda GST_REGISTRY=%C/{unit.name}/gstreamer.bin",
        "# As Ctrl-C: the frames at hand are finished, and recordings completed.",
        "KillSignal=SIGINT",
        "KillMode=mixed",
        "Restart=always",
        "RestartSec=5",
        "TimeoutStartSec=180",
        "TimeoutStopSec=30",
        f"WatchdogSec={WATCHDOG_S}",
        "StandardOutput=journal",
        "StandardError=journal",
        f"SyslogIdentifier={unit.name}",
        f"StateDirectory={unit.name}",
        f"CacheDirectory={unit.name}",
        "UMask=0077",
        "",
    ]


def _confined(unit: ServiceUnit) -> list[str]:
    return [
        "# Confinement. Writable memory may be run: CUDA, TensorRT and OpenVINO compile while they run.",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RestrictNamespaces=yes",
        "SystemCallArchitectures=native",
        "# Netlink: devices that come and go, and which addresses there are.",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ]


def _of_system(unit: ServiceUnit) -> list[str]:
    """What needs the system's manager: a user's own has no right to make namespaces on every distribution."""
    if unit.argus:
        private = ["# CSI cameras are reached through nvargus-daemon's socket in /tmp.", "PrivateTmp=no"]
    else:
        private = ["PrivateTmp=yes"]
    return [
        f"User={unit.user}",
        *([f"SupplementaryGroups={' '.join(unit.groups)}"] if unit.groups else []),
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        *private,
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "# The cameras, and the GPU's devices as they were on this machine when the unit was written.",
        "DevicePolicy=closed",
        *[f"DeviceAllow={device} rw" for device in unit.devices],
    ]


def check_name(name: str) -> str:
    """Return a service's name; InputError where systemd or a file system would read something else into it."""
    if not _SERVICE_NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a service; use letters, digits, - and _, at most 64 of them")
    return name


def quoted_specifiers(text: str) -> str:
    """Return one line of text as a unit file's plain value: % stands for itself."""
    _check_line(text)
    return text.replace("%", "%%")


def quoted_argument(text: str) -> str:
    """Return an argument as ExecStart= reads it: nothing in it is split, expanded or unescaped."""
    _check_line(text)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def settings_text(values: Mapping[str, str]) -> str:
    """Return an EnvironmentFile= with these variables; nothing in a value is expanded."""
    return "".join(f"{_variable(name)}={_quoted_value(value)}\n" for name, value in values.items())


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise InputError(f"{name!r} is no name for a variable; use A-Z, 0-9 and _")
    return name


def _quoted_value(text: str) -> str:
    _check_line(text)
    escaped = re.sub(r'(["\\`$])', r"\\\1", text)
    return f'"{escaped}"'


def _check_line(text: str) -> None:
    control = next((letter for letter in text if ord(letter) < 32 or ord(letter) == 127), None)
    if control is not None:
        raise InputError(f"{text!r} has the control character {control!r}, which no unit file can hold; leave it out")


def device_groups(nodes: Iterable[tuple[str, int]], proc_devices: str) -> list[str]:
    """Return the DeviceAllow= specifiers of character devices, each a path with its major number.

    `proc_devices` is the text of /proc/devices. Devices go by their driver's group, which also covers those to come;
    of the group "misc", which many unrelated drivers share, and of drivers without a name each device stands alone.
    Cameras and the display's render nodes are always in it: they may be plugged in later.
    """
    names = dict(_drivers(proc_devices))
    found = {"char-video4linux", "char-drm", "char-media"}
    for path, major in nodes:
        driver = names.get(major, "misc")
        found.add(path if driver == "misc" else f"char-{driver}")
    return sorted(found)


def _drivers(proc_devices: str) -> Iterable[tuple[int, str]]:
    for line in proc_devices.partition("Block devices:")[0].splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdigit() and name:
            yield int(number), name
