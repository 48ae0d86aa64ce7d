"""The live view in a browser: a sink that serves what a run shows."""

from __future__ import annotations

from edgefsa.serve.sink import DEFAULT_PORT, ServeSink

__all__ = ["DEFAULT_PORT", "ServeSink"]
