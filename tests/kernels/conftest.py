"""Fixtures of the kernel tests: operators compiled for the host, once each per session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.kernels import device_operator
from tests.kernels.emulation.build import Operator, build_launchers, build_operator, compiler, objects_folder
from tests.kernels.emulation.run import EmulatedOperator

Emulate = Callable[[Operator], EmulatedOperator]


@pytest.fixture(scope="session")
def objects() -> Path:
    """The folder of what is compiled for the host."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    return objects_folder()


@pytest.fixture(scope="session")
def emulate(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulate:
    """Return an operator compiled for the host, at its first use; or one on a GPU, see device_operator.py."""
    built: dict[str, EmulatedOperator] = {}

    def of(operator: Operator) -> EmulatedOperator:
        if device_operator.VARIABLE in os.environ:
            on_device = device_operator.DeviceOperator(operator, Path(os.environ[device_operator.VARIABLE]))
            return cast(EmulatedOperator, on_device)
        if operator.name not in built:
            library = build_operator(operator, objects, tmp_path_factory.mktemp(operator.name))
            built[operator.name] = EmulatedOperator(operator, library)
        return built[operator.name]

    return of


@pytest.fixture(scope="session")
def launchers(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of all kernels under their C names, for the host."""
    return build_launchers(objects, tmp_path_factory.mktemp("launchers"))
