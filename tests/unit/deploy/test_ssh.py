"""The connection to a board: which hosts are let through, how commands are quoted, and how it ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefsa.deploy.ssh import Board, check_host
from edgefsa.errors import DeployError, InputError
from tests.unit.deploy.sshd import LoopbackBoard, start_board, why_no_board


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackBoard]:
    reason = why_no_board()
    if reason is not None:
        pytest.skip(reason)
    started = start_board(tmp_path_factory.mktemp("board"))
    yield started
    started.process.terminate()
    started.process.wait()


@pytest.mark.parametrize(
    "host",
    [
        *("-oProxyCommand=touch evil", "user@-oProxyCommand=x", "-l", "", "@host", "user@", "a b", "a\nb", "a\tb"),
        *("host;reboot", "$(id)", "`id`", "host|id", "host&", "host>x", "user@ho'st", 'ho"st', "a\\b", "höst", "a/b"),
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="is no host") as caught:
        Board(host)
    assert repr(host) in str(caught.value)


@pytest.mark.parametrize(
    "host", ["orin", "user@orin", "orin.local", "nv-1@10.0.0.7", "user@[fe80::1%eth0]", "::1", "Orin_2"]
)
def test_hosts_and_names_of_the_configuration_pass(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize("folder", ["", "a\nb", "a\0b"])
def test_what_is_no_folder_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match="is no folder"):
        Board("orin", directory=folder)


@pytest.mark.parametrize("folder", ["plain", "with space", "$(touch evil)", "a'b\"c", "-rf", "`id`; id"])
def test_a_shell_sees_nothing_in_names(loopback: LoopbackBoard, folder: str) -> None:
    with Board(loopback.host, directory=folder, ssh_config=loopback.ssh_config) as board:
        board.send_script()
        facts = board.call("facts", "none; touch evil", "$(touch evil)")
    assert facts["root"] == str(loopback.home / folder)
    assert facts["current"] is None and facts["has_bundle"] is False
    assert (loopback.home / folder / "deploy.py").is_file() and not (loopback.home / "evil").exists()


def test_nothing_is_left_running(loopback: LoopbackBoard) -> None:
    with Board(loopback.host, directory="b", ssh_config=loopback.ssh_config) as board:
        assert any(str(loopback.ssh_config) in line for line in processes())
        board.send_script()
    until = time.monotonic() + 10
    while (left := [line for line in processes() if str(loopback.ssh_config) in line]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


def processes() -> list[str]:
    return [path.read_bytes().replace(b"\0", b" ").decode(errors="replace") for path in cmdlines()]


def cmdlines() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path


def test_what_fails_is_one_line(loopback: LoopbackBoard, tmp_path: Path) -> None:
    with Board(loopback.host, directory="b", python="python9", ssh_config=loopback.ssh_config) as board:
        board.send_script()
        with pytest.raises(DeployError, match=r"^python9 on board: .*python9.*not found$"):
            board.call("facts", "none", "")
    (loopback.home / "file").write_text("")
    said: list[str] = []
    blocked = Board(loopback.host, directory="file/x", ssh_config=loopback.ssh_config, say=said.append)
    with blocked, pytest.raises(DeployError, match=r"^sh on board: mkdir: .*Not a directory$"):
        blocked.send_script()
    assert said == [] or all("mkdir" in line for line in said)
    unknown = loopback.ssh_config.read_text().replace("known_hosts", "other_hosts")
    (tmp_path / "config").write_text(unknown)
    with (
        pytest.raises(DeployError, match="cannot reach board: Host key verification failed"),
        Board(loopback.host, ssh_config=tmp_path / "config"),
    ):
        pass


def test_a_connection_that_is_lost_says_how_to_go_on(loopback: LoopbackBoard) -> None:
    with Board(loopback.host, directory="b", ssh_config=loopback.ssh_config) as board:
        board.send_script()
        (loopback.home / "b" / "releases" / "x").mkdir(parents=True)
        with pytest.raises(DeployError, match=r"connection to board was lost.*it goes on where it was"):
            board.call("again", "releases/x", "step", "sh", "-c", f"kill {session_of(loopback)}; sleep 60")


def session_of(loopback: LoopbackBoard) -> str:
    """The process of sshd that serves the newest connection."""
    found = subprocess.run(["pgrep", "-n", "-P", str(loopback.process.pid)], capture_output=True, text=True, check=True)
    return found.stdout.strip()
