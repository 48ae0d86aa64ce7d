"""Class lists, data set readers and the synthetic street scenes."""

from __future__ import annotations

from edgefsa.data.classes import CAMVID, CITYSCAPES, CLASS_SETS, ClassSet, class_set_for
from edgefsa.data.readers import Dataset, Sample, open_dataset

__all__ = ["CAMVID", "CITYSCAPES", "CLASS_SETS", "ClassSet", "Dataset", "Sample", "class_set_for", "open_dataset"]
