"""From the bytes of a plan to an engine: what its file may do here, and where its weights are. Imports no onnx."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgefsa.errors import EngineError

HOST_CODE_VARIABLE = "EDGEFSA_ALLOW_HOST_CODE"
# Of the manifest's record of the builder: with these a plan holds code for the CPU, which runs when it is loaded.
_HOST_CODE = {"version_compatible": "TensorRT's lean runtime", "serialize_plugins": "the plugin library"}


def load_engine(
    tensorrt: Any, logger: Any, path: Path, settings: Mapping[str, Any], *, host_code: bool = False
) -> Any | None:
    """Return the engine of a plan, with its weights; None where TensorRT refuses the plan.

    `settings` is the manifest's record of how it was built. Raises EngineError where the plan holds code for the CPU
    and neither `host_code` nor the environment allows it, and where its weights cannot be put back.
    """
    runtime = tensorrt.Runtime(logger)
    if "dla" in settings:
        runtime.DLA_core = settings["dla"]
    held = [what for name, what in _HOST_CODE.items() if settings.get(name)]
    if held:
        if not (host_code or os.environ.get(HOST_CODE_VARIABLE) == "1"):
            raise EngineError(
                f"{path} holds code for the CPU ({', '.join(held)}) that runs when it is loaded; if you trust who made "
                f"it, set {HOST_CODE_VARIABLE}=1, or pass host_code=True"
            )
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is not None and settings.get("strip_weights"):
        _put_weights_back(tensorrt, logger, engine, path.parent / settings["graph"])
    return engine


def _put_weights_back(tensorrt: Any, logger: Any, engine: Any, graph: Path) -> None:
    """Refit an engine with the weights of the ONNX file that it was built from; EngineError where one is missing."""
    refitter = tensorrt.Refitter(engine, logger)
    parser = tensorrt.OnnxParserRefitter(refitter, logger)
    if parser.refit_from_file(str(graph)) and refitter.refit_cuda_engine():
        return
    reasons = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
    missing = refitter.get_missing_weights()
    reasons += [f"{len(missing)} are missing, as {missing[0]}"] if missing else []
    reason = " ".join("; ".join(reasons or ["it gave no reason"]).split())
    raise EngineError(f"the weights of {graph} cannot be put into the plan: {reason}; build without --strip-weights")
