"""The one exception tree of edgefsa.

Each message is one line that says what was wrong, with the value, and what to do about it.
The command line prints the message and exits with status 2; a traceback is a bug of ours.
"""


class EdgeFsaError(Exception):
    """Base of every error that a user can cause and mend."""


class InputError(EdgeFsaError):
    """An argument, an option or a size that cannot be used."""


class SourceError(EdgeFsaError):
    """An image, folder, video or camera that cannot be read, or an output that cannot be written."""


class DataError(EdgeFsaError):
    """A data set whose layout, images or labels cannot be used."""


class UnreadableError(DataError):
    """A file of a data set that cannot be read or decoded; the other files may be used without it."""


class CheckpointError(EdgeFsaError):
    """A checkpoint that is unreadable, unsafe, or belongs to another model."""


class TrainingError(EdgeFsaError):
    """A training run that cannot go on: its loss is no number."""


class ExportError(EdgeFsaError):
    """A model that cannot be exported, or whose ONNX file does not repeat the model."""


class GraphError(EdgeFsaError):
    """An ONNX file that is broken, or holds something that edgefsa cannot use."""


class RangesError(EdgeFsaError):
    """Calibration ranges that are broken, or belong to another model."""


class TargetError(EdgeFsaError):
    """A target (runtime) that is unknown, or cannot be used on this machine."""


class EngineError(EdgeFsaError):
    """An engine directory that is missing, damaged, or made for something else."""


class BuildError(EdgeFsaError):
    """A build that failed; nothing of it is left behind."""


class PrecisionError(BuildError):
    """A build whose layers do not run in the precision that was asked for."""


class OutputError(EdgeFsaError):
    """A file or directory that cannot be written: it exists, is no directory, or the disk is full."""


class PluginError(TargetError):
    """A library of TensorRT plugins that is not built, is made for something else, or lacks an operator."""


class BundleError(EdgeFsaError):
    """A bundle that is damaged, holds what no bundle has, or is not signed as it was demanded."""


class DeployError(EdgeFsaError):
    """A board that cannot be reached, or a step of a deployment that failed there."""
