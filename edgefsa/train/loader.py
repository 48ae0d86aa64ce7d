"""Batches of augmented samples; batch number `step` is a pure function of the seed and the step.

So a run that resumes at step s sees exactly the batches that it would have seen without the break,
whatever the number of worker processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from edgefsa.data.readers import Dataset
from edgefsa.errors import DataError, InputError
from edgefsa.media.frames import Frame, Mask
from edgefsa.train.augment import Augmentation, augment, paste_classes
from edgefsa.verify.accuracy import label_of

Batch = tuple[torch.Tensor, torch.Tensor]


class TrainingBatches(TorchDataset[Batch]):
    """Item `step` is one batch: frames uint8 [N, h, w, 3] BGR and labels uint8 [N, h, w].

    Each data set gives a fixed number of a batch's samples, by its share; within a data set every
    sample is seen once before any is seen again, in an order drawn anew for each pass.
    `part` (i, n) takes the samples i, i + n, i + 2 n, ... of each batch of `batch_size`: the n parts make the whole.
    `rare_classes` are those that `augmentation` shows more often.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        shares: Sequence[float],
        batch_size: int,
        crop_hw: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
        part: tuple[int, int] = (0, 1),
        rare_classes: Sequence[int] = (),
    ) -> None:
        self._datasets = list(datasets)
        self._counts = split_batch(batch_size, shares)
        self._crop_hw = crop_hw
        self._augmentation = augmentation
        self._seed = seed
        self._part = part
        self._rare_classes = list(rare_classes)
        if batch_size % part[1]:
            raise InputError(f"a batch of {batch_size} cannot be split over {part[1]} processes; give a multiple")

    @property
    def steps_per_epoch(self) -> int:
        """How many batches show every sample of the first data set at least once."""
        return math.ceil(len(self._datasets[0]) / self._counts[0])

    def __getitem__(self, step: int) -> Batch:
        places = [
            (number, position)
            for number, count in enumerate(self._counts)
            for position in range(step * count, (step + 1) * count)
        ]
        first, parts = self._part
        views = [self._view(number, position) for number, position in places[first::parts]]
        frames, labels = (np.stack(part) for part in zip(*views, strict=True))
        return torch.from_numpy(frames), torch.from_numpy(labels)

    def _view(self, number: int, position: int) -> tuple[Frame, Mask]:
        """Return the view of a data set that stands at `position` of the run's endless order."""
        dataset = self._datasets[number]
        rng = np.random.default_rng((self._seed, number, position))
        settings, rare = self._augmentation, self._rare_classes
        sample = dataset[self._shuffled(number, position, len(dataset))]
        frame, label = sample.frame, label_of(sample)
        if settings.paste and rng.random() < settings.paste:
            donor = dataset[int(rng.integers(len(dataset)))]
            frame, label = paste_classes(frame, label, donor.frame, label_of(donor), rare, rng)
        return augment(frame, label, self._crop_hw, dataset.class_set.ignore_index, settings, rng, rare)

    def _shuffled(self, number: int, position: int, size: int) -> int:
        epoch, place = divmod(position, size)
        return int(np.random.default_rng((self._seed, number, epoch, size)).permutation(size)[place])


def batch_loader(
    batches: TrainingBatches, first_step: int, last_step: int, workers: int, *, pinned: bool = False
) -> Iterator[Batch]:
    """Load batches `first_step` (included) to `last_step` (left out) in order, ahead of their use.

    `pinned` puts them where a GPU fetches them from by itself. Raises DataError as the data sets do.
    """
    loader: DataLoader[Batch | DataError] = DataLoader(
        _ErrorsAsItems(batches),
        batch_size=None,
        sampler=range(first_step, last_step),
        num_workers=workers,
        worker_init_fn=_single_thread,
        prefetch_factor=3 if workers else None,
        pin_memory=pinned,
    )
    for item in loader:
        if isinstance(item, DataError):
            raise item
        yield item


class _ErrorsAsItems(TorchDataset["Batch | DataError"]):
    """Hands errors over as items: one that a worker process raises would come with its traceback as its text."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> Batch | DataError:
        try:
            return self._batches[step]
        except DataError as error:
            return error


def split_batch(batch_size: int, shares: Sequence[float]) -> list[int]:
    """Return how many samples of a batch each data set contributes (largest remainders round up).

    Raises InputError where a share is not positive or the batch is too small for each to give one.
    """
    if not shares or not all(0 < share < math.inf for share in shares):
        raise InputError(f"shares of the data sets are positive numbers, not {list(shares)}")
    exact = np.asarray(shares, np.float64) / np.sum(shares) * batch_size
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: batch_size - counts.sum()]] += 1
    if counts.min() < 1:
        raise InputError(f"a batch of {batch_size} split {list(shares)} leaves a data set out; give a larger batch")
    return [int(count) for count in counts]


def median_frequency_weights(
    datasets: Sequence[Dataset], shares: Sequence[float], num_classes: int, *, power: float = 0.5, limit: int = 400
) -> npt.NDArray[np.float32]:
    """Return one loss weight per class: (median frequency / its frequency) ** power, at most 10; float32 [K].

    A class's frequency is its share of the pixels of those frames that hold it (Eigen and Fergus,
    "Predicting Depth, Surface Normals and Semantic Labels", 2015, section 4.3.2). At most `limit`
    labels of each data set are counted; a class that is never seen weighs 1.
    """
    pixels, seen_in = np.zeros(num_classes), np.zeros(num_classes)
    for dataset, share in zip(datasets, shares, strict=True):
        indices = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int))
        for index in indices:
            label = label_of(dataset[int(index)])
            counts = np.bincount(label.ravel(), minlength=256)[:num_classes]
            counts = counts / max(1, counts.sum()) * share / len(indices)
            pixels += counts
            seen_in += (counts > 0) * share / len(indices)
    present = pixels > 0
    frequency = np.where(present, pixels / np.maximum(seen_in, 1e-12), 1)
    median = np.median(frequency[present]) if present.any() else 1.0
    weights = np.where(present, np.minimum((median / frequency) ** power, 10), 1)
    return weights.astype(np.float32)


def rare_classes(weights: npt.NDArray[np.float32]) -> list[int]:
    """Return the classes rarer than the median one, by their loss weights (float [K], above 1 for them)."""
    return [int(index) for index in np.flatnonzero(weights > 1)]


def _single_thread(_worker: int) -> None:
    cv2.setNumThreads(0)
