"""What a deployment asks of boards that are not at hand: a board is played by its answers, which measure nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefsa.deploy.remote import DeployRequest, deploy, rollback
from edgefsa.errors import DeployError

DESKTOP = {"python": "3.12.3", "has_venv": True, "has_bundle": False, "jetson": False, "nvidia": False, "root": "/r"}
DOCTOR = {"targets": {"tensorrt": {"builds": False}}, "plugins": {"why_not": "no library"}}
WITH_TENSORRT = {**DOCTOR, "targets": {"tensorrt": {"builds": True}}}


class PlayedBoard:
    """Answers as the script on the board does, and keeps what it was asked; `fails` maps a step to its reason."""

    host, python = "user@board", "python3"

    def __init__(self, facts: dict[str, Any], doctor: dict[str, Any], before: tuple[str, ...] = ()) -> None:
        self.facts, self.doctor, self.before = facts, doctor, before
        self.asked: list[tuple[str, ...]] = []
        self.fails: dict[str, list[str]] = {}

    def __enter__(self) -> PlayedBoard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send_script(self) -> None:
        self.asked.append(("send_script",))

    def call(self, task: str, *arguments: str, input: Any = None) -> Any:
        self.asked.append((task, *arguments))
        step = arguments[1] if task in ("run", "again") else task
        if self.fails.get(step):
            raise DeployError(self.fails[step].pop(0))
        outputs = {"doctor": self.doctor, "engine": {"engine": "engines/e"}, "check": {"agreement": 1.0}, "bench": []}
        if task in ("run", "again"):
            output = json.dumps(outputs.get(step, {}))
            return {"output": output, "seconds": 1.0, "before": task == "run" and step in self.before}
        answers = {"facts": self.facts, "before": {"current": "b", "previous": "a"}, "switch": {"current": "b"}}
        return answers.get(task, {})

    def words(self, step: str) -> tuple[str, ...]:
        """What the board was asked in a step, the last time."""
        return next(words for words in reversed(self.asked) if step in words[:3])


@pytest.fixture
def deployed(bundle_file: Path) -> Callable[..., dict[str, Any]]:
    def run(board: PlayedBoard, **settings: Any) -> dict[str, Any]:
        return deploy(DeployRequest(bundle_file, **settings), board)  # type: ignore[arg-type]

    return run


@pytest.mark.parametrize(
    ("facts", "target", "extras"),
    [
        ({}, "auto", "cpu,onnx,serve"),
        ({"nvidia": True}, "auto", "tensorrt,onnx,serve"),
        ({"nvidia": True}, "openvino", "cpu,onnx,serve"),
        ({"jetson": True}, "auto", "jetson,serve"),
        ({"jetson": True}, "tensorrt", "jetson,serve"),
        ({"jetson": True}, "onnxruntime", "onnxruntime,onnx,serve"),
        ({}, "tensorrt-rtx", "rtx,onnx,serve"),
    ],
)
def test_the_extras_of_a_board(deployed: Callable[..., Any], facts: dict, target: str, extras: str) -> None:
    board = PlayedBoard({**DESKTOP, **facts}, DOCTOR)
    deployed(board, target=target)
    assert board.words("install")[5] == extras
    board = PlayedBoard({**DESKTOP, **facts}, DOCTOR)
    deployed(board, target=target, extra="mine", pip_options=("--pre",))
    assert board.words("install")[5:] == ("mine", "--pre")


def test_a_board_that_cannot_begin_says_so(deployed: Callable[..., Any]) -> None:
    with pytest.raises(
        DeployError, match=r"^step connect on user@board: .*python3 is 3\.8\.10, and edgefsa needs 3\.10"
    ):
        deployed(PlayedBoard({**DESKTOP, "python": "3.8.10"}, DOCTOR))
    with pytest.raises(DeployError, match="cannot make a venv; install it: sudo apt install python3-venv"):
        deployed(PlayedBoard({**DESKTOP, "has_venv": False}, DOCTOR))


def test_plugins_are_built_where_tensorrt_can_take_them(deployed: Callable[..., Any]) -> None:
    for doctor, settings, built in (
        (WITH_TENSORRT, {}, True),
        (WITH_TENSORRT, {"plugins": "library"}, True),
        (WITH_TENSORRT, {"plugins": "none"}, False),
        (WITH_TENSORRT, {"plugins": "kernels"}, False),
        (WITH_TENSORRT, {"target": "openvino"}, False),
        ({**WITH_TENSORRT, "plugins": {"why_not": None}}, {}, False),
        (DOCTOR, {}, False),
    ):
        board = PlayedBoard(DESKTOP, doctor)
        deployed(board, **settings)
        assert any("plugins" in words[2:3] for words in board.asked) is built, (doctor, settings)


def test_without_the_plugins_the_bodies_serve_and_the_report_says_so(deployed: Callable[..., Any]) -> None:
    board = PlayedBoard(DESKTOP, WITH_TENSORRT)
    board.fails["plugins"] = ["exit status 2: error: nvcc is not here"]
    assert "nvcc is not here" in deployed(board)["notes"][0]
    board.fails["plugins"] = ["exit status 2: error: nvcc is not here"]
    with pytest.raises(DeployError, match="step plugins on user@board: edgefsa plugins --build: exit status 2"):
        deployed(board, plugins="library")


def test_an_engine_that_does_not_pass_any_more_is_built_and_measured_again(deployed: Callable[..., Any]) -> None:
    board = PlayedBoard(DESKTOP, DOCTOR, before=("engine", "bench"))
    board.fails["check"] = ["it was built with another TensorRT"]
    assert "built with another TensorRT" in deployed(board)["notes"][0]
    assert board.words("engine")[0] == board.words("bench")[0] == "again"

    fresh = PlayedBoard(DESKTOP, DOCTOR)
    fresh.fails["check"] = ["it does not pass"]
    with pytest.raises(DeployError, match=r"step check on user@board: .*it does not pass"):
        deployed(fresh)
    assert not any(words[0] == "switch" for words in fresh.asked), "what was in use stays"


def test_releases_and_venvs_are_shared_only_where_all_is_the_same(deployed: Callable[..., Any]) -> None:
    def places(facts: dict[str, Any], **settings: Any) -> tuple[str, str]:
        board = PlayedBoard({**DESKTOP, **facts}, DOCTOR)
        deployed(board, **settings)
        return board.words("install")[1:3]  # type: ignore[return-value]

    release, venv = places({})
    assert places({}) == (release, venv)
    assert places({}, target="openvino") == (places({}, target="openvino")[0], venv), "same extras, another release"
    assert places({}, target="openvino")[0] != release
    assert places({}, pip_options=("--pre",)) == (release, places({}, pip_options=("--pre",))[1])
    for other in (places({}, pip_options=("--pre",)), places({"python": "3.13.1"}), places({}, extra="cpu")):
        assert other[1] != venv


def test_going_back_checks_first() -> None:
    board = PlayedBoard(DESKTOP, DOCTOR)
    rollback(board)  # type: ignore[arg-type]
    assert [words[0] for words in board.asked] == ["send_script", "before", "again", "rollback"]
    assert board.asked[2][1:] == (
        "releases/a",
        "check",
        "venv/bin/edgefsa",
        "verify",
        "bundle",
        "--engine",
        "engine",
        "--json",
    )
    assert board.asked[3] == ("rollback", "b", "a")
    board.fails["check"] = ["it does not pass"]
    with pytest.raises(DeployError, match=r"step check on user@board: .*it does not pass"):
        rollback(board)  # type: ignore[arg-type]
    assert board.asked[-1][0] == "again"
