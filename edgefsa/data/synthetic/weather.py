"""Weather and light: what the sky, the sun and the air do to colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour


@dataclass(frozen=True)
class Weather:
    """Light and air; colours are (B, G, R) in 0 to 255, lights are factors on a surface's own colour.

    `sun_azimuth` and `sun_elevation` are radians (azimuth clockwise from the street's first direction);
    `fog_per_m` is the extinction coefficient; `wet`, `rain` and `dusk` run from 0 to 1.
    """

    name: str
    sun: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    cloud: Colour
    cloud_cover: float
    fog_per_m: float
    sun_azimuth: float = 0.0
    sun_elevation: float = 0.7
    wet: float = 0.0
    rain: float = 0.0
    dusk: float = 0.0
    cloud_offset: tuple[int, int] = (0, 0)

    def sun_direction(self, heading: float) -> Points:
        """Return the unit vector to the sun in the coordinates of a camera with that heading."""
        turn = self.sun_azimuth - heading
        flat = np.cos(self.sun_elevation)
        return np.array([np.sin(turn) * flat, np.sin(self.sun_elevation), np.cos(turn) * flat])

    @property
    def casts_shadows(self) -> bool:
        """Whether the sun is strong enough to draw shadows on the ground."""
        return max(self.sun) > 0.15


# How often each weather is drawn, and what it is like.
_KINDS: dict[str, tuple[float, Weather]] = {
    "sunny": (
        0.3,
        Weather(
            name="sunny",
            sun=(0.62, 0.72, 0.78),
            ambient=(0.66, 0.62, 0.58),
            zenith=(214, 152, 96),
            horizon=(250, 234, 212),
            cloud=(254, 253, 252),
            cloud_cover=0.4,
            fog_per_m=0.0008,
        ),
    ),
    "hazy sun": (
        0.16,
        Weather(
            name="hazy sun",
            sun=(0.4, 0.47, 0.52),
            ambient=(0.7, 0.69, 0.68),
            zenith=(244, 226, 202),
            horizon=(253, 250, 246),
            cloud=(255, 255, 254),
            cloud_cover=0.5,
            fog_per_m=0.002,
        ),
    ),
    "overcast": (
        0.3,
        Weather(
            name="overcast",
            sun=(0.1, 0.1, 0.1),
            ambient=(0.86, 0.85, 0.84),
            zenith=(232, 228, 224),
            horizon=(252, 251, 250),
            cloud=(214, 211, 208),
            cloud_cover=0.75,
            fog_per_m=0.0016,
        ),
    ),
    "dusk": (
        0.1,
        Weather(
            name="dusk",
            sun=(0.18, 0.3, 0.46),
            ambient=(0.46, 0.4, 0.38),
            zenith=(150, 104, 76),
            horizon=(140, 184, 236),
            cloud=(140, 138, 180),
            cloud_cover=0.5,
            fog_per_m=0.0016,
            dusk=1.0,
        ),
    ),
    "rain": (
        0.08,
        Weather(
            name="rain",
            sun=(0.02, 0.02, 0.02),
            ambient=(0.74, 0.73, 0.72),
            zenith=(192, 188, 184),
            horizon=(222, 220, 217),
            cloud=(176, 171, 166),
            cloud_cover=0.85,
            fog_per_m=0.005,
            wet=1.0,
            rain=1.0,
        ),
    ),
    "fog": (
        0.06,
        Weather(
            name="fog",
            sun=(0.04, 0.04, 0.04),
            ambient=(0.78, 0.77, 0.76),
            zenith=(220, 218, 216),
            horizon=(226, 224, 222),
            cloud=(224, 222, 220),
            cloud_cover=0.1,
            fog_per_m=0.017,
        ),
    ),
}


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw a weather with its sun, clouds and haze."""
    names = list(_KINDS)
    shares = np.array([_KINDS[name][0] for name in names])
    kind = _KINDS[names[int(rng.choice(len(names), p=shares / shares.sum()))]][1]
    low = kind.dusk > 0
    return replace(
        kind,
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        sun_elevation=float(rng.uniform(0.12, 0.3) if low else rng.uniform(0.35, 1.0)),
        fog_per_m=kind.fog_per_m * float(rng.uniform(0.6, 1.6)),
        cloud_cover=float(np.clip(kind.cloud_cover + rng.uniform(-0.3, 0.25), 0, 1)),
        wet=kind.wet if kind.wet else float(rng.choice([0.0, 0.5], p=[0.9, 0.1])) * (kind.name == "overcast"),
        cloud_offset=(int(rng.integers(0, 512)), int(rng.integers(0, 512))),
    )


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` with a `share` (0 to 1) of `second`."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
        first[2] + (second[2] - first[2]) * share,
    )


def scaled(colour: Colour, factor: float) -> Colour:
    """Make a colour lighter or darker; each channel stays within 0 to 255."""
    return (min(255.0, colour[0] * factor), min(255.0, colour[1] * factor), min(255.0, colour[2] * factor))
