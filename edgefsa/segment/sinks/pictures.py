"""Folders of pictures: overlays and masks, or masks alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefsa.media.labels import write_label
from edgefsa.media.pictures import write_image
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class MaskSink(Sink):
    """Writes NAME.png for each frame: class indices as an indexed PNG with the palette.

    `outputs` lists the files; of a live run, which has no end, the folder alone.
    """

    name = "masks"

    def __init__(self, folder: str | Path, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.folder = Path(folder)
        self._live = False

    def start(self, run: Run) -> None:
        """Take note of whether the run is live."""
        self._live = run.live

    def write(self, frame: SegmentedFrame) -> None:
        """Write the file."""
        self._add(self._write_mask(frame, f"{frame.source.name}.png"))

    def _write_mask(self, frame: SegmentedFrame, name: str) -> Path:
        return write_label(self.folder / name, frame.segmentation.mask, frame.segmentation.palette_rgb)

    def _add(self, path: Path) -> None:
        if not self._live:
            self.outputs.append(path)
        elif not self.outputs:
            self.outputs.append(self.folder)


class FolderSink(MaskSink):
    """Writes NAME_overlay.jpg and NAME_mask.png (class indices, with the palette) for each frame."""

    name = "pictures"

    def write(self, frame: SegmentedFrame) -> None:
        """Write the two files."""
        overlay = frame.segmentation.overlay(frame.source.frame, self.style)
        self._add(write_image(self.folder / f"{frame.source.name}_overlay.jpg", overlay))
        self._add(self._write_mask(frame, f"{frame.source.name}_mask.png"))
