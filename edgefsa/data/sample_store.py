"""Samples kept in memory, so that what is read over and over is decoded once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefsa.data.readers import Sample


class SampleStore:
    """Samples up to `limit_bytes` of pixels; what does not fit is read each time.

    Only the process that made it fills it: worker processes forked from that one share its memory, and each would hold
    a copy of its own of what it added.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._samples: dict[int, tuple[object, Sample]] = {}
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, entry: object, read: Callable[[], Sample]) -> Sample:
        """Return the sample of an entry, read now where it is not kept; its arrays are read-only where it is."""
        key = id(entry)  # which no other has while this one is kept beside its sample
        if key in self._samples:
            return self._samples[key][1]
        sample = read()
        arrays = [array for array in (sample.frame, sample.label) if array is not None]
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if size <= self._left and os.getpid() == self._owner and key not in self._samples:
                for array in arrays:
                    array.flags.writeable = False
                self._samples[key] = entry, sample
                self._left -= size
        return sample
