"""What a segmentation model says of itself, and the check of the sizes it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from edgefsa.errors import InputError

Task = Literal["segmentation", "classification", "features"]
IMAGENET_MEAN_RGB = (123.675, 116.28, 103.53)
IMAGENET_STD_RGB = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class ModelConfig:
    """The facts of a model that data, export and training need.

    `size_hw` is the default input size; every side must be a multiple of `size_multiple`
    and at least `size_min`. Mean and
    standard deviation are of RGB on the scale 0 to 255. `create_model(name, **options)` builds the model again.
    """

    name: str
    family: str
    num_classes: int
    task: Task = "segmentation"
    size_hw: tuple[int, int] = (360, 480)
    size_multiple: int = 1
    size_min: int = 8
    mean_rgb: tuple[float, float, float] = IMAGENET_MEAN_RGB
    std_rgb: tuple[float, float, float] = IMAGENET_STD_RGB
    options: dict[str, Any] = field(default_factory=dict)

    def check_size(self, size_hw: tuple[int, int]) -> None:
        """Raise InputError where the model cannot take inputs of `size_hw`."""
        if min(size_hw) < self.size_min or any(side % self.size_multiple for side in size_hw):
            multiples = f"multiples of {self.size_multiple}, " if self.size_multiple > 1 else ""
            raise InputError(
                f"{self.name} cannot take {size_hw[0]}x{size_hw[1]}; "
                f"give a height and a width that are {multiples}at least {self.size_min}"
            )

    def check_input(self, x: Tensor) -> None:
        """Raise InputError where x is not [N, 3, H, W] of a size that the model takes."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise InputError(f"{self.name} takes [N, 3, H, W], not {list(x.shape)}; give normalised RGB images")
        self.check_size((int(x.shape[2]), int(x.shape[3])))
