"""Folders of pictures: masks that are indices, overlays that are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgefsa.errors import OutputError
from edgefsa.media.pictures import read_image
from edgefsa.segment import FolderSink, MaskSink, OverlayStyle, Sink
from tests.unit.segment.fakes import PALETTE
from tests.unit.segment.sinks.frames import run_of, segmented

PLAIN = OverlayStyle(alpha=0.0, legend=False, contours=False)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_holds_an_overlay_and_a_mask_for_each_frame(tmp_path: Path) -> None:
    with FolderSink(tmp_path / "out", PLAIN) as sink:
        for index in range(2):
            sink.write(segmented(index))
    names = ["f0_overlay.jpg", "f0_mask.png", "f1_overlay.jpg", "f1_mask.png"]
    assert [path.name for path in sink.outputs] == names
    assert names_in(tmp_path / "out") == sorted(names)
    frame = segmented(1)
    assert np.array_equal(np.asarray(Image.open(sink.outputs[3])), frame.segmentation.mask)
    assert np.abs(read_image(sink.outputs[2]).astype(int) - frame.source.frame).mean() < 3


def test_a_mask_is_an_indexed_png_that_viewers_show_in_its_colours(tmp_path: Path) -> None:
    with MaskSink(tmp_path) as sink:
        sink.write(segmented(3))
    assert names_in(tmp_path) == ["f3.png"]
    with Image.open(tmp_path / "f3.png") as image:
        assert image.mode == "P"
        mask = segmented(3).segmentation.mask
        assert np.array_equal(np.asarray(image), mask)
        assert np.array_equal(np.asarray(image.convert("RGB")), np.array(PALETTE, np.uint8)[mask])


@pytest.mark.parametrize(("kind", "files"), [(MaskSink, 1), (FolderSink, 2)])
@pytest.mark.parametrize("live", [False, True])
def test_a_live_run_which_has_no_end_does_not_remember_every_file(
    tmp_path: Path, kind: type[FolderSink], files: int, live: bool
) -> None:
    sink: Sink = kind(tmp_path)
    sink.start(run_of(live=live))
    for index in range(9):
        sink.write(segmented(index))
    assert len(names_in(tmp_path)) == 9 * files
    assert sink.outputs == [tmp_path] if live else len(sink.outputs) == 9 * files


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file"):
        MaskSink(tmp_path / "file" / "masks").write(segmented(0))
