"""Samples are decoded once, as many as there is room for, and by one process."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from edgefsa.data.readers import Dataset, Sample, open_dataset
from edgefsa.data.sample_store import SampleStore

BYTES = 6 * 8 * 4  # of a frame and its label


class Reader:
    """Counts how often it reads a sample of 6 x 8 pixels."""

    def __init__(self, value: int = 0) -> None:
        self.value, self.reads = value, 0

    def __call__(self) -> Sample:
        self.reads += 1
        frame = np.full((6, 8, 3), self.value, np.uint8)
        return Sample(str(self.value), frame, np.full((6, 8), self.value, np.uint8))


def test_a_kept_sample_is_read_once_and_cannot_be_changed() -> None:
    store, entry, reader = SampleStore(BYTES), object(), Reader(5)
    first = store.sample(entry, reader)
    assert store.sample(entry, reader) is first and reader.reads == 1
    assert (first.frame == 5).all() and first.label is not None
    for array in (first.frame, first.label):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_what_does_not_fit_is_read_each_time() -> None:
    store, entries, reader = SampleStore(2 * BYTES + 1), [object() for _ in range(3)], Reader()
    for _ in range(2):
        for entry in entries:
            store.sample(entry, reader)
    assert len(store) == 2 and reader.reads == 4
    assert store.sample(entries[2], reader).frame.flags.writeable


def test_a_sample_without_a_label_counts_its_frame_alone() -> None:
    store = SampleStore(6 * 8 * 3)
    store.sample(object(), lambda: Sample("a", np.zeros((6, 8, 3), np.uint8), None))
    assert len(store) == 1


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_forked_process_reads_what_is_kept_and_adds_nothing() -> None:
    store, kept, other = SampleStore(10 * BYTES), object(), object()
    store.sample(kept, Reader())

    def child(sender) -> None:
        readers = Reader(), Reader()
        for entry, reader in zip((kept, other), readers, strict=True):
            store.sample(entry, reader)
            store.sample(entry, reader)
        sender.send((len(store), [reader.reads for reader in readers]))

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender,))
    process.start()
    assert receiver.recv() == (1, [0, 2])
    process.join()


def test_a_data_set_gives_the_same_samples_out_of_a_store() -> None:
    plain = open_dataset("synthetic", "val", 3)
    store = SampleStore(2**30)
    kept = plain.kept_in(store)
    assert isinstance(kept[1:], Dataset) and len(store) == 0
    for _ in range(2):
        for mine, theirs in zip(kept, plain, strict=True):
            assert mine.name == theirs.name
            np.testing.assert_array_equal(mine.frame, theirs.frame)
            np.testing.assert_array_equal(mine.label, theirs.label)
    assert len(store) == 3 and kept[1:][0] is kept[1]
    assert kept.spelt_as(plain.class_set)[0] is kept[0]
    assert kept.fingerprint() == plain.fingerprint()
