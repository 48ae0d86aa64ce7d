"""The kernels that fit frames to an engine and masks back, against what the CPU does: bit by bit."""

from __future__ import annotations

import pytest
import torch

from edgefsa.engines.tensorrt.frame_kernels import tables_of
from edgefsa.media.fit import geometry
from edgefsa.metadata import FITS
from tests.gpu.launching import Launcher

# Equal sizes, means of areas by whole factors and others, bilinear down and up; rows of whole words and not.
SIZES = [
    ((48, 64), (48, 64)),
    ((96, 128), (48, 64)),
    ((1080, 1920), (360, 480)),
    ((720, 1280), (512, 1024)),
    ((37, 53), (64, 96)),
    ((60, 80), (41, 47)),
]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("frame_hw", "size_hw"), SIZES)
def test_frames_and_masks_are_fitted_as_on_the_cpu(
    launcher: Launcher, frame_hw: tuple[int, int], size_hw: tuple[int, int], fit: str
) -> None:
    torch.manual_seed(sum(size_hw))
    made = geometry(fit, frame_hw, size_hw)
    arrays, numbers = tables_of(made)
    tables = {name: torch.from_numpy(array).to(launcher.device) for name, array in arrays.items()}
    frame = torch.randint(0, 256, (*frame_hw, 3), device=launcher.device, dtype=torch.uint8)
    image = torch.zeros(*size_hw, 3, device=launcher.device, dtype=torch.uint8)
    whole = {name: tables.pop(name) for name in ("rows", "columns")}
    launcher.run("FramePreparation", frame=frame, image=image, **tables, **numbers)
    assert torch.equal(image.cpu(), torch.from_numpy(made.to_engine(frame.cpu().numpy())))
    mask, restored = image[..., 0].contiguous(), torch.zeros(frame_hw, device=launcher.device, dtype=torch.uint8)
    kept = {name: numbers[name] for name in numbers if name.split("_")[0] in ("frame", "height", "width", "seen")}
    launcher.run("MaskRestoration", mask=mask, restored=restored, ignore_index=255, **whole, **kept)
    assert torch.equal(restored.cpu(), torch.from_numpy(made.mask_to_frame(mask.cpu().numpy(), 255)))
