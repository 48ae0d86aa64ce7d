"""CamVid's class indices, as the painters use them."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    """The class of a pixel; the order is that of edgefsa.data.classes.CAMVID."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    SIDEWALK = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10
    UNLABELLED = 11
