"""The feature maps that the kernels are measured on, and the bytes that have to move for each."""

from __future__ import annotations

from dataclasses import dataclass

# (channels, height, width) of the maps.
SIZES = ((512, 128, 256), (64, 256, 512))
BATCHES = (1, 8)
CLASSES, UPSAMPLING = 19, 4
K, RADIUS, RECURRENCE = 8, 2, 2
LAMBDAS = (0.7, 0.8, 0.9)
HALF_BYTES, INDEX_BYTES = 2, 4


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
    def map_bytes(self) -> int:
        """Bytes of the map in FP16."""
        return self.batch * self.channels * self.height * self.width * HALF_BYTES

    @property
    def label(self) -> str:
        """As a table names it."""
        return f"{self.batch} x {self.channels} x {self.height} x {self.width}"


def sizes() -> list[Size]:
    """List every size that is measured."""
    return [Size(batch, *shape) for shape in SIZES for batch in BATCHES]


def bytes_moved(size: Size) -> dict[str, int]:
    """Return the bytes that each kernel reads and writes, each counted once."""
    pixels = size.batch * size.height * size.width
    upsampling = pixels * (CLASSES * HALF_BYTES + UPSAMPLING**2 * INDEX_BYTES)
    return {
        "truncated DCT": size.map_bytes,
        "inverse DCT": 2 * size.map_bytes,
        "spectral mask": 2 * size.map_bytes,
        "upsample + argmax": upsampling,
        "upsample + argmax of noise": upsampling,
        "frame preparation": pixels * UPSAMPLING**2 * 3 * (1 + HALF_BYTES),
        "attention block": 3 * size.map_bytes,
    }
