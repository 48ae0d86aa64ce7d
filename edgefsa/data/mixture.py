"""Frames of several data sets and conditions together, for a calibration that covers all that a camera will see."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from edgefsa.data.conditions import UnderCondition
from edgefsa.data.readers import Dataset, name_without_folders, open_dataset
from edgefsa.media.frames import FrameSet


@dataclass(frozen=True)
class Mixture:
    """What is calibrated on beside the frames of a data set, with the same share for each.

    `also` are further data sets as on the command line; `conditions`, names of CONDITIONS, are those that the frames of
    every data set are seen under besides.
    """

    also: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.also or self.conditions)

    def open(self, data: str, split: str) -> MixedFrames:
        """Open a split of `data` and of the others; DataError or InputError where one cannot be."""
        return MixedFrames([open_dataset(spec, split) for spec in (data, *self.also)], self.conditions)


class MixedFrames:
    """Opened data sets, and the conditions that their frames are seen under besides; `sets` are all of these."""

    def __init__(self, datasets: Sequence[Dataset], conditions: Sequence[str]) -> None:
        self._datasets, self._conditions = datasets, conditions
        self.sets: list[FrameSet] = []
        for dataset in datasets:
            self.sets += [dataset, *(UnderCondition(dataset, condition) for condition in conditions)]

    @property
    def name(self) -> str:
        """What they are, without the folders that they lie in: "camvid:day, images:yard, also night, rain"."""
        names = ", ".join(name_without_folders(dataset.name) for dataset in self._datasets)
        return f"{names}, also {', '.join(self._conditions)}" if self._conditions else names

    @property
    def notes(self) -> list[str]:
        """What a reader should know of how the data sets are split."""
        return [note for dataset in self._datasets for note in dataset.split_notes]

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex): the data set's own where there is but one, seen as it is."""
        prints = [dataset.fingerprint() for dataset in self._datasets]
        if len(self.sets) == 1:
            return prints[0]
        return hashlib.sha256("\n".join([*prints, *self._conditions]).encode()).hexdigest()
