"""`parity`: the stages of an engine directory, their comparison, the verdict, and pictures of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgefsa.artifacts import Manifest
from edgefsa.data.readers import Dataset
from edgefsa.data.survey import Survey
from edgefsa.engines.names import SOURCE_NAME
from edgefsa.errors import EngineError, InputError
from edgefsa.verify.parity.heatmap import HeatMaps
from edgefsa.verify.parity.result import Fault, ParityReport
from edgefsa.verify.parity.run import Comparison, Progress
from edgefsa.verify.parity.stages import MODULE, ONNX, EngineStage, graph_stages

AUTO = "auto"
FIRST_STAGES = (AUTO, MODULE, ONNX)


def parity(
    engine: str | Path,
    *,
    checkpoint: str | Path | None = None,
    weights_key: str | None = None,
    dataset: Dataset,
    limit: int | None = None,
    first: str = AUTO,
    chosen_data: bool = True,
    heatmaps: str | Path | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run an engine and all that it was made from on the same frames, and hold each stage against the one before it.

    The PyTorch module is the first stage where its weights can be had: the shipped ones, the seeded random ones, or the
    checkpoint that was recorded (`checkpoint` says where it lies now, `weights_key` names other weights in it than the
    build's). Without them the ONNX file is, and the report says why; `first` "onnx" leaves the module and torch out,
    "module" insists on it, as `checkpoint` does. Frames that nobody chose (`chosen_data` false) may be unlike those
    that a checkpoint and its ranges were made for, where INT8 may cost more. `heatmaps` is a folder that gets pictures
    of the disagreement.

    Raises CheckpointError where the weights asked for are not those of the build, and what opening the engine raises,
    but for its golden output.
    """
    from edgefsa.graph.blocks import FRAMES_BLOCK, blocks_of
    from edgefsa.graph.files import load_graph
    from edgefsa.verify.parity.verdict import judge

    directory = Path(engine)
    manifest = Manifest.read(directory)
    if not (directory / SOURCE_NAME).is_file():
        raise EngineError(f"{directory.name} has no ONNX file to compare with; adopt its plan with --onnx FILE")
    model = load_graph(directory / SOURCE_NAME)
    blocks = blocks_of(model)
    head = next((block for block in blocks if block.name == FRAMES_BLOCK), None)
    with contextlib.ExitStack() as stack:
        stages = graph_stages(directory, manifest, model, head.end if head else "")
        stages.append(EngineStage(directory, stack))
        run = Comparison(manifest, stages, blocks, foreign=not chosen_data and _is_foreign(manifest, dataset))
        if first not in FIRST_STAGES:
            raise InputError(f"the first stage cannot be {first!r}; choose {', '.join(FIRST_STAGES)}")
        if first != ONNX:
            insist = first == MODULE or checkpoint is not None
            run.add_module(Path(checkpoint) if checkpoint else None, weights_key, head, insist=insist)
        run.compare(dataset if limit is None else dataset[:limit], progress)
        report = judge(run)
        if heatmaps is not None:
            _draw(run, dataset if limit is None else dataset[:limit], Path(heatmaps), report.fault)
        return report


def _is_foreign(manifest: Manifest, dataset: Dataset) -> bool:
    """Return whether frames are of other data than a checkpoint's own and its ranges', as far as can be known."""
    measured_on = (manifest.quantization or {}).get("data", {}).get("name")
    return bool(manifest.model["weights"]["kind"] in ("checkpoint", "foreign") and measured_on != dataset.name)


def _draw(run: Comparison, dataset: Dataset, folder: Path, fault: Fault | None) -> list[Path]:
    """Draw where the faulty stage differs from the one before it, or without a fault the engine from the first."""
    names = [stage.name for stage in run.stages]
    pair = (names[0], names[-1]) if fault is None or fault.stage not in names[1:] else (fault.against, fault.stage)
    reference, found = (run.stages[names.index(name)] for name in pair)
    facts = run.manifest.model
    maps = HeatMaps(folder, pair, [tuple(colour) for colour in facts["palette"]], facts["classes"])
    for frames, samples, _ in run.batches(dataset, Survey(dataset)):
        masks = reference.run(frames).masks, found.run(frames).masks
        for index, sample in enumerate(samples):
            maps.add(sample.name, frames[index], masks[0][index], masks[1][index])
    return maps.finish()
