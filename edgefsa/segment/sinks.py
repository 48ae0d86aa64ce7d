"""Where masks go: a folder of overlays and masks, or a video. What is written appears whole or not at all."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import atomic_file
from edgefsa.media.labels import write_label
from edgefsa.media.pictures import write_image
from edgefsa.media.recording import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from edgefsa.media.recording import VideoWriter, check_fps, form_of
from edgefsa.segment.overlay import OverlayStyle

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class Sink(ABC):
    """Takes frames with their masks; a context manager. `outputs` lists the files once they are whole.

    The pipeline calls `start`, `write` and `poll` in one thread, which is the main one where `in_main_thread` is true,
    and enters and leaves the sink in another. A sink that wants `every_frame` gets all that there is time for; one that
    does not (a view) only the newest. `name` is what figures and messages call it.
    """

    name = "sink"
    every_frame = True
    in_main_thread = False

    def __init__(self, style: OverlayStyle | None = None) -> None:
        self.style = style or OverlayStyle()
        self.outputs: list[Path] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def start(self, run: Run) -> None:  # noqa: B027 most sinks need nothing of it
        """Take note of the run that the frames belong to, with its controls and figures; called before the first."""

    @abstractmethod
    def write(self, frame: SegmentedFrame) -> None:
        """Take one frame; OutputError where it cannot be written."""

    def poll(self) -> None:  # noqa: B027 most sinks have nothing to do meanwhile
        """Do what is due between frames; called at least some ten times a second."""


class FolderSink(Sink):
    """Writes NAME_overlay.jpg and NAME_mask.png (class indices, with the palette) for each frame."""

    name = "folder"

    def __init__(self, folder: str | Path, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.folder = Path(folder)

    def write(self, frame: SegmentedFrame) -> None:
        """Write the two files."""
        segmentation = frame.segmentation
        overlay = segmentation.overlay(frame.source.frame, self.style)
        base = self.folder / frame.source.name
        self.outputs.append(write_image(f"{base}_overlay.jpg", overlay))
        self.outputs.append(write_label(f"{base}_mask.png", segmentation.mask, segmentation.palette_rgb))


class VideoSink(Sink):
    """Writes overlays as a video, each shown at its frame's own time (see `media.recording.VideoWriter`).

    `fps` is the nominal rate. The file appears when the sink is left without an error.
    """

    name = "video"

    def __init__(self, path: str | Path, fps: float, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.path = Path(path)
        self.fps = check_fps(fps)
        form_of(self.path)
        self._stack = contextlib.ExitStack()
        self._writer: VideoWriter | None = None

    def write(self, frame: SegmentedFrame) -> None:
        """Append one frame."""
        overlay = frame.segmentation.overlay(frame.source.frame, self.style)
        if self._writer is None:
            with contextlib.ExitStack() as stack:  # without an encoder nothing is left behind
                writer = VideoWriter(stack.enter_context(atomic_file(self.path)), self.fps)
                stack.callback(writer.abandon)
                writer.write(overlay, frame.source.time_s)
                self._writer, self._stack = writer, stack.pop_all()
        else:
            self._writer.write(overlay, frame.source.time_s)

    def __exit__(self, *error: Any) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        if error[0] is not None:
            self._stack.__exit__(*error)  # the writer is abandoned, and atomic_file drops the file
            return
        with self._stack:
            writer.close()
        self.outputs.append(self.path)
