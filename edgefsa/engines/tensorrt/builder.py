"""What TensorRT and TensorRT for RTX have in common in making a plan; each is given as its Python module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent import futures
from typing import Any

from edgefsa.engines.tensorrt.progress import TOTAL, BuildWatch, Progress, monitor_of
from edgefsa.errors import BuildError
from edgefsa.metadata import FRAMES, batches_of

ENGINE_NAME = "engine.plan"
# How often a build looks for a signal that did not wake it.
_SIGNALS_EVERY_S = 0.2


class PlanBuild:
    """One build: a network with the creation flags `flags`, its configuration, and errors that name nodes.

    `title` is the runtime's name for messages. Everything that the network refers to stays alive with this object.
    """

    def __init__(self, tensorrt: Any, title: str, flags: Iterable[str] = ()) -> None:
        self.tensorrt = tensorrt
        self.title = title
        self.logger = quiet_logger(tensorrt)
        self.builder = tensorrt.Builder(self.logger)
        kinds = tensorrt.NetworkDefinitionCreationFlag
        self.network = self.builder.create_network(sum(1 << int(getattr(kinds, name)) for name in flags))
        self.config = self.builder.create_builder_config()
        self.config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
        # What stays in float32 does so for its precision, and TF32 rounds the factors of products to 10 bits.
        if hasattr(tensorrt.BuilderFlag, "TF32"):
            self.config.clear_flag(tensorrt.BuilderFlag.TF32)
        self._parsed: tuple[Any, bytes] | None = None

    def parse(self, data: bytes) -> None:
        """Fill the network from a serialised ONNX graph; BuildError names the nodes that are refused."""
        parser = self.tensorrt.OnnxParser(self.network, self.logger)
        # Until the plan is made the network refers to weights that the parser and these bytes own.
        self._parsed = (parser, data)
        if parser.parse(data):
            return
        reasons = []
        for error in [parser.get_error(index) for index in range(parser.num_errors)]:
            reason = " ".join(str(error.desc()).split("\n[checkMacros")[0].split())
            reasons.append(f"node {error.node_name() or '?'} ({error.node_operator() or '?'}): {reason}")
        reason = "; ".join(reasons) or self.logger.last_error() or "it gave no reason"
        raise BuildError(f"{self.title} cannot take this graph: {reason}")

    def take_batches(self, metadata: Mapping[str, Any]) -> None:
        """Let a parsed network whose batch is open take the batches of a model's metadata: one profile for all."""
        batches = batches_of(metadata)
        if batches.fixed:
            return
        shapes = [(count, *metadata["size_hw"], 3) for count in batches]
        profile = self.builder.create_optimization_profile()
        profile.set_shape(FRAMES, *shapes)
        if self.config.add_optimization_profile(profile) < 0:
            raise BuildError(f"{self.title} refuses batches of {batches}: {self.logger.last_error()}")

    def strip_weights(self) -> None:
        """Let the plan leave out its weights, which are to be put back as they are."""
        for name in ("STRIP_PLAN", "REFIT_IDENTICAL"):
            self.config.set_flag(getattr(self.tensorrt.BuilderFlag, name))

    def serialize(self, progress: Progress = lambda done, total: None) -> bytes:
        """Compile the network; BuildError where it cannot be. `progress(done, total)` counts hundredths.

        Ctrl-C ends it at the builder's next step. The builder works in a thread of its own, as the main one gets no
        KeyboardInterrupt while it is in TensorRT.
        """
        watch = BuildWatch(progress)
        self.config.progress_monitor = monitor_of(self.tensorrt, watch)
        with futures.ThreadPoolExecutor(1, thread_name_prefix="edgefsa-builder") as pool:
            pool.submit(int).result()  # a thread that Ctrl-C meets while it starts would not be waited for
            built = pool.submit(self.builder.build_serialized_network, self.network, self.config)
            try:
                # Not one long wait: a signal that comes just before it, or restarts it, would be seen at its end.
                while not futures.wait([built], _SIGNALS_EVERY_S).done:
                    pass
                plan = built.result()
            except BaseException:
                watch.stop()
                raise
        progress(TOTAL, TOTAL)
        if plan is None:
            raise BuildError(
                f"{self.title} cannot build this network: {self.logger.last_error() or 'it gave no reason'}"
            )
        return bytes(plan)


def quiet_logger(tensorrt: Any) -> Any:
    """Make a logger that keeps errors for our own messages and prints nothing."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self.errors.append(text)

        def last_error(self) -> str:
            """Return the last error in one line, or ""; what only says that there is no driver is none."""
            kept = [text for text in self.errors if "Cuda Runtime" not in text and "CUDA GPU" not in text]
            return " ".join(kept[-1].split()) if kept else ""

    return Logger()


def layers_of(network: Any) -> list[Any]:
    """List the layers of a network."""
    return [network.get_layer(index) for index in range(network.num_layers)]


def onnx_nodes(metadata: str) -> list[str]:
    """List the ONNX nodes that a layer's metadata name.

    The parser writes "[ONNX Layer: NODE]" or "[ONNX Layer: NODE | FUNCTION | ...]" for a layer; of fused layers
    TensorRT joins these texts, with a separator that changed from version to version.
    """
    entries = metadata.split("[ONNX Layer: ")[1:]
    names = [entry.split("]")[0].split(" | ")[0].strip() for entry in entries]
    return list(dict.fromkeys(name for name in names if name))
