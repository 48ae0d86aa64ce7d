"""The feature maps that the kernels are measured on, their types and formats, and the bytes that have to move."""

from __future__ import annotations

from dataclasses import dataclass

# (channels, height, width) of the maps.
SIZES = ((512, 128, 256), (64, 256, 512))
BATCHES = (1, 8)
CLASSES, UPSAMPLING = 19, 4
K, RADIUS, RECURRENCE = 8, 2, 2
LAMBDAS = (0.7, 0.8, 0.9)
INDEX_BYTES = 4


@dataclass(frozen=True)
class Variant:
    """A type and format of maps, as numbers of the kernels' types.h."""

    label: str
    type: int
    format: int
    element_bytes: int


HALF_LINEAR = Variant("FP16 linear", 1, 0, 2)
HALF_HWC8 = Variant("FP16 kHWC8", 1, 1, 2)
INT8_LINEAR = Variant("INT8 linear", 2, 0, 1)
MAP_VARIANTS = (HALF_LINEAR, HALF_HWC8, INT8_LINEAR)
FLOAT_VARIANTS = (HALF_LINEAR, HALF_HWC8)  # of kernels that take no bytes


@dataclass(frozen=True)
class Size:
    """One feature map."""

    batch: int
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> list[int]:
        """[N, C, H, W]."""
        return [self.batch, self.channels, self.height, self.width]

    @property
    def elements(self) -> int:
        """Values of the map."""
        return self.batch * self.channels * self.height * self.width

    @property
    def label(self) -> str:
        """As a table and the command line name it."""
        return "x".join(map(str, self.shape))


def sizes() -> list[Size]:
    """List every size that is measured."""
    return [Size(batch, *shape) for shape in SIZES for batch in BATCHES]


def bytes_moved(size: Size, variant: Variant) -> dict[str, int]:
    """Return the bytes that each kernel reads and writes, each counted once, for the kernels that have the variant.

    kHWC8 pads logits of 19 classes to 24.
    """
    pixels = size.batch * size.height * size.width
    classes = 24 if variant is HALF_HWC8 else CLASSES
    upsampling = pixels * (classes * variant.element_bytes + UPSAMPLING**2 * INDEX_BYTES)
    floats = {"upsample + argmax": upsampling, "upsample + argmax of noise": upsampling}
    map_bytes = size.elements * variant.element_bytes
    maps = {
        "truncated DCT": map_bytes,
        "inverse DCT": 2 * map_bytes,
        "spectral mask": 2 * map_bytes,
        "attention block": 3 * map_bytes,
    }
    return maps | (floats if variant in FLOAT_VARIANTS else {})
