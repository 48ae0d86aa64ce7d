"""The data sets of a run: what is trained on, what is held back, and their one list of classes."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgefsa.data.classes import ClassSet, name_key
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.data.sample_store import SampleStore
from edgefsa.data.survey import Survey
from edgefsa.errors import DataError, InputError
from edgefsa.machine.memory import memory
from edgefsa.train.settings import TrainSettings

_SHARE_OF_MEMORY = 0.25


@dataclass(frozen=True)
class TrainingData:
    """Training sets with their shares of a batch, and the val sets by the name that the log gives them."""

    train: tuple[Dataset, ...]
    shares: tuple[float, ...]
    val: dict[str, Dataset]
    class_set: ClassSet

    def kept_in_memory(self, processes: int = 1) -> TrainingData:
        """Return the same with the training samples kept once they were read, in a quarter of the free memory at most.

        `processes` on this machine share that. Without fork each loading process would hold all; then nothing is kept.
        """
        free = memory()
        # Asked for so that nothing is decided for the program that this is part of.
        starts = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
        if free is None or starts != "fork":
            return self
        store = SampleStore(int(free.available_mb * 2**20 * _SHARE_OF_MEMORY / processes))
        return replace(self, train=tuple(item.kept_in(store) for item in self.train))

    def fingerprints(self) -> dict[str, str]:
        """Return a SHA-256 over the contents of each data set."""
        train = {f"train {name}": item.fingerprint() for name, item in _named(self.train).items()}
        return train | {f"val {name}": item.fingerprint() for name, item in self.val.items()}

    def check_files(self, say: Callable[[str], None]) -> None:
        """Read every file once, a pass in front of the run's many, and say what was guessed of the labels.

        Raises DataError with the names of the files that cannot be read, or the first label that does not fit.
        """
        unreadable: list[str] = []
        for dataset in (*self.train, *self.val.values()):
            survey = Survey(dataset)
            survey.read_all()
            unreadable += survey.unreadable
            for note in (*dataset.notes, *survey.notes()):
                say(f"note: {note}")
        if unreadable:
            files = "1 file" if len(unreadable) == 1 else f"{len(unreadable)} files"
            raise DataError(f"{files} cannot be trained or evaluated on; mend or remove them: {'; '.join(unreadable)}")

    def check_apart(self) -> None:
        """Raise DataError where a val set holds a frame that is trained on."""
        for val, train in itertools.product(self.val.values(), self.train):
            if shared := val.shared_with(train):
                raise DataError(
                    f"{val.name} gives the same frames for training and for val ({len(shared)}, {shared[0]} first); "
                    "put them into train/ and val/ folders, or name others with --val-data"
                )


def open_training_data(settings: TrainSettings) -> TrainingData:
    """Open the data sets; InputError where their classes differ, DataError where one cannot be used."""
    train = tuple(open_dataset(spec, "train") for spec in settings.data)
    val = _named([open_dataset(spec, "val", settings.val_limit) for spec in settings.val_data or settings.data[:1]])
    kinds = {_class_keys(item.class_set): item.name for item in (*train, *val.values())}
    if len(kinds) > 1:
        raise InputError(f"{' and '.join(kinds.values())} have different classes; train on data sets of one class list")
    classes = train[0].class_set
    spelt = {name: item.spelt_as(classes) for name, item in val.items()}
    shares = settings.shares or (1.0,) * len(train)
    return TrainingData(tuple(item.spelt_as(classes) for item in train), shares, spelt, classes)


def _class_keys(class_set: ClassSet) -> tuple[int, tuple[str, ...]]:
    return class_set.ignore_index, tuple(name_key(name) for name in class_set.names)


def _named(datasets: tuple[Dataset, ...] | list[Dataset]) -> dict[str, Dataset]:
    """Name each by its kind, "camvid", the next of that kind "camvid 2"."""
    named: dict[str, Dataset] = {}
    for dataset in datasets:
        kind = dataset.name.partition(":")[0]
        number = sum(name.split()[0] == kind for name in named) + 1
        named[kind if number == 1 else f"{kind} {number}"] = dataset
    return named


def name_without_folders(spec: str) -> str:
    """Name a data set in a file that travels: its kind and its own folder's name, not where it lay."""
    kind, colon, place = spec.partition(":")
    return kind + colon + Path(place).name
