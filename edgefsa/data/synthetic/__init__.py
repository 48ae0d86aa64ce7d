"""Synthetic street scenes with exact labels: what a fresh machine has to calibrate, test and show with."""

from __future__ import annotations

from edgefsa.data.synthetic.scene import GENERATOR_VERSION, render_clip, render_scene

__all__ = ["GENERATOR_VERSION", "render_clip", "render_scene"]
