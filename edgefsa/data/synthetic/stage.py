"""What every painter holds: the canvas, the camera's view, and the light."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from edgefsa.data.synthetic.camera import Points, View
from edgefsa.data.synthetic.canvas import Canvas, Colour, Pixels
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.weather import Weather

_UP = np.array([0.0, 1.0, 0.0])


class Stage:
    """Paints lit surfaces that are given in camera coordinates; also keeps the lamps that shine afterwards."""

    def __init__(self, canvas: Canvas, view: View, weather: Weather) -> None:
        self.canvas = canvas
        self.view = view
        self.weather = weather
        self._glows: list[tuple[Points, float, Colour, int]] = []

    @cached_property
    def sun(self) -> Points:
        """The unit vector to the sun in camera coordinates."""
        return self.weather.sun_direction(self.view.heading)

    def light(self, normal: Points) -> Colour:
        """Return the light (B, G, R factors) on a surface with that unit normal."""
        direct = max(0.0, float(normal @ self.sun))
        sky = 0.8 + 0.2 * float(normal[1])
        sun, ambient = self.weather.sun, self.weather.ambient
        return (
            ambient[0] * sky + sun[0] * direct,
            ambient[1] * sky + sun[1] * direct,
            ambient[2] * sky + sun[2] * direct,
        )

    def lit(self, colour: Colour, normal: Points) -> Colour:
        """Return a surface's colour in this light."""
        light = self.light(normal)
        return (min(255.0, colour[0] * light[0]), min(255.0, colour[1] * light[1]), min(255.0, colour[2] * light[2]))

    def lit_round(self, colour: Colour) -> Colour:
        """Return the mean colour of something round (a pole, a person) in this light."""
        towards = np.array([self.sun[0] * 0.5, 0.35, -0.75])
        return self.lit(colour, towards / np.linalg.norm(towards))

    def glow(self, pixel: Points, radius: float, colour: Colour, surface: int) -> None:
        """Let a lamp at a pixel shine (radius in canvas pixels) if its surface still shows there in the end."""
        self._glows.append((pixel, radius, colour, surface))

    def visible_glows(self) -> list[tuple[Points, float, Colour]]:
        """Return the lamps that nothing was painted over: pixel, radius, colour."""
        rows, columns = self.canvas.pixels.shape[:2]
        shown = []
        for pixel, radius, colour, surface in self._glows:
            u, v = round(float(pixel[0])), round(float(pixel[1]))
            if 0 <= u < columns and 0 <= v < rows and self.canvas.pixels[v, u, 3] == surface:
                shown.append((pixel, radius, colour))
        return shown

    def polygon(self, points: Points, colour: Colour, surface: int) -> None:
        """Fill a polygon of camera coordinates [N, 3] with a colour as it is."""
        self.canvas.fill(self.view.outline(points), colour, surface)

    def panel(self, origin: Points, along: Points, up: Points, texture: Pixels, size_m: Points, label: Label) -> None:
        """Paint a textured rectangle from `origin` along two unit vectors; `size_m` is (width, height)."""
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size_m
        self.patch(origin, along, up, texture, size_m, corners, label)

    def patch(
        self, origin: Points, along: Points, up: Points, texture: Pixels, size_m: Points, corners: Points, label: Label
    ) -> None:
        """Paint the polygon `corners` [N, 2] (metres along, up) of a textured rectangle, lit by its normal."""
        points = origin + corners[:, :1] * along + corners[:, 1:] * up
        outline = self.view.outline(points)
        if outline is None:
            return
        normal = cross(along, up)
        if normal @ origin > 0:
            normal = -normal
        light = self.light(unit(normal))
        height, width = texture.shape[:2]
        from_texture = np.array([[size_m[0] / width, 0, 0], [0, -size_m[1] / height, size_m[1]], [0, 0, 1.0]])
        to_pixels = self.view.homography(origin, along, up) @ from_texture
        surface = self.canvas.surface(label, self.view.plane(origin, normal))
        self.canvas.warp(texture, to_pixels, outline, surface, light)


def unit(vector: Points) -> Points:
    """Return the unit vector of that direction."""
    return np.asarray(vector / np.linalg.norm(vector))


def cross(first: Points, second: Points) -> Points:
    """Return the cross product of two vectors [3] (NumPy's own is slow on so few numbers)."""
    a, b, c = first.tolist()
    d, e, f = second.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])
