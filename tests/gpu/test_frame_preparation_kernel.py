"""The kernel that makes a network's input of camera frames, against float64."""

from __future__ import annotations

import pytest
import torch

from tests.gpu.launching import DTYPES, LAYOUTS, TOLERANCE, Launcher, laid_out, plain, relative_l2


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize(
    ("frame_hw", "size"), [((48, 64), (48, 64)), ((7, 13), (7, 13)), ((37, 53), (64, 96)), ((60, 80), (41, 48))]
)
def test_frame_preparation(
    launcher: Launcher, frame_hw: tuple[int, int], size: tuple[int, int], kind: int, layout: int
) -> None:
    torch.manual_seed(sum(size))
    frames = torch.randint(0, 256, (3, *frame_hw, 3), device=launcher.device, dtype=torch.uint8)
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    image = laid_out(torch.ones(3, 3, *size, device=launcher.device, dtype=DTYPES[kind]), layout)
    launcher.run(
        "FramePreparation", frames=frames, image=image, type=kind, format=layout, batch=3,
        frame_height=frame_hw[0], frame_width=frame_hw[1], height=size[0], width=size[1], mean_rgb=mean, std_rgb=std,
    )  # fmt: skip
    rgb = frames.flip(3).permute(0, 3, 1, 2).double()
    large = torch.nn.functional.interpolate(rgb, size, mode="bilinear", align_corners=False)
    offset, scale = (
        torch.tensor(values, device=launcher.device, dtype=torch.float64).view(3, 1, 1) for values in (mean, std)
    )
    assert relative_l2(plain(image, 3, layout), (large - offset) / scale) < TOLERANCE[kind]
