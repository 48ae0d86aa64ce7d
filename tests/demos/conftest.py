"""The engine that demos run on: the one that commands are tested with."""

from __future__ import annotations

from tests.commands.conftest import built as built
