"""Services: what systemd reads in the units, what it does with them, and that nothing secret can be read by others."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefsa.deploy import service as service_module
from edgefsa.deploy.service import ServiceRequest, install_service, installed_service, remove_service, service_status
from edgefsa.deploy.unit import ServiceUnit, check_name, device_groups, quoted_argument, settings_text
from edgefsa.errors import EngineError, InputError, OutputError
from tests.unit.deploy.systemd import Manager, running_manager, why_not

NASTY = [
    "two words",
    "100% of %h and %%",
    "$HOME ${HOME} $$",
    'say "so"',
    "it's",
    "C:\\new\\table",
    "\\x41 ends in \\",
    "gst:a ! b name='c d' ; e # f",
    "-+@!:",
    "",
    "Größe 大",
]
SECRET = "rtsp://admin:pa%24s\"w'o\\rd $x@10.0.0.9/stream"


@pytest.fixture(scope="module")
def engine(tiny_engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_engine, tmp_path_factory.mktemp("my engines") / tiny_engine.name))


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose home is the test's folder."""
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_manager(tmp_path_factory.mktemp("home")) as found:
        if found is None:
            pytest.skip("systemd does not start in a mount namespace of this machine")
        yield found


def test_a_service_follows_the_link_of_a_deployment(engine: Path, home: dict[str, str], tmp_path: Path) -> None:
    release = tmp_path / "board" / "releases" / "one"
    (release / "venv" / "bin").mkdir(parents=True)
    (release / "venv" / "bin" / "python").symlink_to(sys.executable)
    (release / "engine").symlink_to(engine)
    (tmp_path / "board" / "current").symlink_to(release)
    current = tmp_path / "board" / "current"
    found = install_service(
        ServiceRequest(engine=current / "engine", source="synthetic:1", name="follows"), environment=home, dry_run=True
    )
    assert f"{current}/venv/bin/python" in found.text and f"serve {current}/engine" in found.text.replace('"', "")
    assert str(engine) not in found.text, "the next release is another engine"


class Systemctl:
    """Takes note of what it is asked for."""

    def __init__(self, answer: str = "") -> None:
        self.asked: list[list[str]] = []
        self._answer = answer

    def __call__(self, arguments: Sequence[str]) -> str:
        self.asked.append(list(arguments))
        return self._answer


def verify(path: Path, *, system: bool) -> str:
    """What `systemd-analyze verify` has to say."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze; install the package systemd")
    command = ["systemd-analyze", "verify", "--man=no", *([] if system else ["--user"]), str(path)]
    runtime = path.parent / "runtime"
    runtime.mkdir()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)})
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit status {done.returncode}")


@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
@pytest.mark.parametrize("source", ["csi://0", "rtsp://u:p@h/s"])
def test_systemd_finds_no_fault_in_the_units(
    engine: Path, home: dict[str, str], tmp_path: Path, source: str, system: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_NOT_LASTING", ())
    request = ServiceRequest(engine, source, system=system, user="daemon", flags=("--loop", *NASTY))
    service = install_service(request, dry_run=True, environment=home)
    path = tmp_path / "edgefsa.service"
    path.write_text(service.text)
    assert verify(path, system=system) == ""
    path.write_text(service.text.replace("Restart=always", "Restart=whenever"))
    shutil.rmtree(tmp_path / "runtime")
    assert "whenever" in verify(path, system=system)  # it does read them


def test_systemd_hands_over_arguments_and_settings_as_they_were(manager: Manager, tmp_path: Path) -> None:
    """Every one of them through a real systemd, to a real process."""
    found, script = tmp_path / "found.json", tmp_path / "print.py"
    script.write_text(
        "import json, os, sys\n"
        "values = {name: value for name, value in os.environ.items() if name.startswith('VALUE_')}\n"
        f"json.dump([sys.argv[1:-2], values], open({str(found)!r}, 'w'))\n"
    )
    settings = tmp_path / "a file.env"
    values = {f"VALUE_{index}": text for index, text in enumerate(NASTY)}
    settings.write_text(settings_text(values))
    unit = ServiceUnit("nasty", "100% %n", [sys.executable, str(script), *NASTY], settings)
    units = Path(manager.environment["HOME"]) / ".config/systemd/user"
    units.mkdir(parents=True, exist_ok=True)
    text = unit.text().replace("Type=notify", "Type=oneshot").replace("Restart=always", "Restart=no")
    (units / "nasty.service").write_text(text.replace("WatchdogSec=60\n", ""))
    manager.systemctl("daemon-reload")
    manager.systemctl("start", "nasty.service")
    assert json.loads(found.read_text()) == [NASTY, values]
    assert manager.property("nasty.service", "Description") == "edgefsa, 100% %n"


def some_frames(folder: Path) -> Path:
    """Write a few pictures, which can be played at once."""
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((64, 96, 3), 80 * index, np.uint8))
    return folder


def test_a_service_lives_through_crashes_and_hangs_until_it_is_removed(manager: Manager, engine: Path) -> None:
    """The commands as a user types them, a real systemd, a real engine, a real browser's address."""
    pytest.importorskip("edgefsa.serve")
    home = Path(manager.environment["HOME"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def edgefsa(*arguments: str) -> dict[str, Any]:
        done = manager.run([sys.executable, "-m", "edgefsa.cli", "service", *arguments, "--name", "live", "--json"])
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def healthy(seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return True
            time.sleep(0.2)
        return False

    def restarted() -> bool:
        once = manager.wait("live.service", "NRestarts", "1") == "1"
        return once and manager.wait("live.service", "ActiveState", "active") == "active"

    def pid() -> int:
        return int(manager.property("live.service", "MainPID"))

    def changed(settings: str) -> Path:
        folder = home / ".config/systemd/user/live.service.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "soon.conf").write_text(f"[Service]\nRestartSec=0.1\n{settings}")
        return folder

    changed("")
    address = ("--port", str(port), "--flag=--loop", "--flag=--rate=5")
    edgefsa("install", str(engine), "--source", str(some_frames(home / "my frames")), *address)
    assert edgefsa("status")["state"] == "active (running)"  # systemd waited for READY
    assert healthy()
    command = Path(f"/proc/{pid()}/cmdline").read_bytes()
    assert str(engine).encode() in command and b"my frames" not in command  # `ps` shows no source
    os.kill(pid(), signal.SIGKILL)
    assert restarted()
    hangs = changed("WatchdogSec=4\nTimeoutAbortSec=1\n")
    manager.systemctl("daemon-reload")
    manager.systemctl("restart", "live.service")
    assert manager.wait("live.service", "StatusText", "1").endswith("dropped")  # masks, a rate, times
    assert edgefsa("status")["restarts"] == "0"
    os.kill(pid(), signal.SIGSTOP)
    assert restarted()
    shutil.rmtree(hangs)
    assert edgefsa("show")["variables"] == ["EDGEFSA_SOURCE"]
    assert len(edgefsa("remove")["removed"]) == 2
    assert manager.property("live.service", "ActiveState") == "inactive"  # not failed: it ended as on Ctrl-C
    assert not healthy(0.1)


@pytest.mark.parametrize("text", ["a\nExecStartPre=/bin/sh", "a\rb", "a\0b", "\x1b[31m"])
def test_what_would_begin_another_line_is_refused(text: str) -> None:
    for quote in (quoted_argument, lambda value: settings_text({"NAME": value})):
        with pytest.raises(InputError, match="control character"):
            quote(text)


@pytest.mark.parametrize("name", ["", "../x", "a b", "a.service", "-x", "a/b", "x" * 65])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no name for a service"):
        check_name(name)


def test_secrets_are_in_a_file_of_the_owner_alone(engine: Path, home: dict[str, str], tmp_path: Path) -> None:
    control = Systemctl()
    request = ServiceRequest(engine, SECRET, host="0.0.0.0")
    service = install_service(request, environment=home, systemctl=control)
    settings, unit = Path(service.settings), Path(service.unit)
    assert settings.is_relative_to(tmp_path) and unit.is_relative_to(tmp_path)
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert service.token and service.variables == ("EDGEFSA_SOURCE", "EDGEFSA_TOKEN")
    for secret in ("admin", "rd $x", service.token):
        assert secret not in unit.read_text()
    assert service.token in settings.read_text()
    assert control.asked == [["daemon-reload"], ["enable", "edgefsa.service"], ["restart", "edgefsa.service"]]
    again = installed_service("edgefsa", system=False, environment=home)
    assert again.token is None and again.variables == service.variables and again.text == service.text


def test_a_token_of_the_environment_is_kept_and_loopback_needs_none(engine: Path, home: dict[str, str]) -> None:
    request = ServiceRequest(engine, "0", host="0.0.0.0")
    known = install_service(request, environment={**home, "EDGEFSA_TOKEN": "a" * 32}, dry_run=True)
    assert known.token is None and "EDGEFSA_TOKEN" in known.variables
    assert install_service(replace(request, host="127.0.0.1"), environment=home, dry_run=True).variables == (
        "EDGEFSA_SOURCE",
    )


def test_nothing_is_replaced_unasked_and_everything_goes_again(
    engine: Path, home: dict[str, str], tmp_path: Path
) -> None:
    request = ServiceRequest(engine, "0", name="front")
    service = install_service(request, environment=home, systemctl=Systemctl())
    with pytest.raises(OutputError, match="exists already"):
        install_service(request, environment=home, systemctl=Systemctl())
    install_service(replace(request, port=8081), environment=home, systemctl=Systemctl(), overwrite=True)
    assert "--port 8081" in Path(service.unit).read_text()
    control = Systemctl()
    removed = remove_service("front", system=False, environment=home, systemctl=control)
    assert removed == [service.unit, service.settings]
    assert control.asked == [["disable", "--now", "front.service"], ["daemon-reload"]]
    assert not [path for path in (tmp_path / "config").rglob("*") if path.is_file()]
    with pytest.raises(InputError, match="there is no service front"):
        remove_service("front", system=False, environment=home, systemctl=control)


def test_what_no_service_can_have_is_refused(
    engine: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match="no engine directory"):
        install_service(ServiceRequest(tmp_path, "0"), environment=home, dry_run=True)
    with pytest.raises(InputError, match="no user nobody-of-that-name"):
        install_service(ServiceRequest(engine, "csi://0", system=True, user="nobody-of-that-name"), dry_run=True)
    with pytest.raises(InputError, match="not to run as root"):
        install_service(ServiceRequest(engine, "csi://0", system=True, user="root"), dry_run=True)
    with pytest.raises(InputError, match="the token has 5 characters"):
        install_service(ServiceRequest(engine, "0"), environment={**home, "EDGEFSA_TOKEN": "short"}, dry_run=True)
    with pytest.raises(InputError, match="no address of this machine"):
        install_service(ServiceRequest(engine, "0", host="no such host"), environment=home, dry_run=True)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [name for name in sys.modules if name.startswith("edgefsa.serve")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"edgefsa\[serve\]"):
        install_service(ServiceRequest(engine, "0"), environment=home, dry_run=True)
    with pytest.raises(InputError, match="no service nothing"):
        service_status("nothing", system=False, systemctl=Systemctl("LoadState=not-found\n"))


def test_paths_in_the_source_are_found_from_any_folder(
    engine: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drive.mp4").touch()
    monkeypatch.chdir(tmp_path)
    service = install_service(ServiceRequest(engine, "drive.mp4"), environment=home, systemctl=Systemctl())
    assert str(tmp_path / "drive.mp4") in Path(service.settings).read_text()


def test_devices_are_allowed_by_their_drivers_and_those_of_misc_one_by_one() -> None:
    """Many unrelated drivers share "misc"; a number of a block device is no character device's."""
    text = "Character devices:\n 10 misc\n 81 video4linux\n226 drm\n195 nvidia\n511 nvgpu-pci\n\n"
    text += "Block devices:\n499 loop\n"
    nodes = [("/dev/nvmap", 10), ("/dev/nvidia0", 195), ("/dev/nvgpu/igpu0/ctrl", 511), ("/dev/nvx", 499)]
    assert device_groups(nodes, text) == [
        *("/dev/nvmap", "/dev/nvx", "char-drm", "char-media", "char-nvgpu-pci", "char-nvidia", "char-video4linux"),
    ]


def test_an_engine_in_a_folder_that_the_service_does_not_see_is_refused(engine: Path, home: dict[str, str]) -> None:
    request = ServiceRequest(engine, "0", system=True, user="daemon")
    if not engine.is_relative_to("/tmp"):
        pytest.skip("needs a folder of tests in /tmp")
    with pytest.raises(InputError, match="do not last"):
        install_service(request, environment=home, dry_run=True)


def test_argus_cameras_see_the_systems_tmp(engine: Path, home: dict[str, str]) -> None:
    def private_tmp(source: str) -> str:
        request = ServiceRequest(engine, source, system=True, user="daemon")
        text = install_service(request, environment=home, dry_run=True).text
        return next(line for line in text.splitlines() if line.startswith("PrivateTmp="))

    assert private_tmp("csi://0") == private_tmp("gst:nvarguscamerasrc ! x") == "PrivateTmp=no"
