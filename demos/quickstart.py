"""From the shipped weights to an INT8 engine to masks on a clip, with what it costs and what it gains.

python demos/quickstart.py                                  # a drive through a synthetic street
python demos/quickstart.py --source drive.mp4               # your own video, folder or image
python demos/quickstart.py --data camvid:DIR                # accuracy on real labelled frames
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgefsa import console
from edgefsa.build import BuildRequest, ModelRequest, build_from_request
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import open_engine
from edgefsa.errors import EngineError
from edgefsa.segment import FolderSink, SegmentedFrame, Segmenter, SourceFrame, predict_source
from edgefsa.verify.accuracy import evaluate
from edgefsa.verify.latency import bench_engines

MODEL = "fsanet-edge"


def engine_for(precision: str, folder: Path) -> Path:
    """Return an engine of the default model, built if it is not there or does not fit this machine and version."""
    for engine in sorted(folder.glob(f"{MODEL}-*-{precision}-*")):
        try:
            with open_engine(engine):
                return engine
        except EngineError as error:
            print(f"  {error}")
    with console.progress(f"building {precision}") as progress:
        request = BuildRequest(MODEL, ModelRequest(), precision, "auto", folder, overwrite=True)
        result = build_from_request(request, say=print, progress=progress)
    print(f"  {precision} on {result['target']} in {result['seconds']:.1f} s: {result['detail']}")
    return Path(result["engine"])


def pictures(engine: Path, dataset: Dataset, folder: Path, count: int = 4) -> list[Path]:
    """Write overlays and masks of some labelled frames, spread over the data set."""
    step = max(len(dataset) // count, 1)
    with Segmenter(engine) as segmenter, FolderSink(folder) as sink:
        for index in range(0, len(dataset), step)[:count]:
            sample = dataset[index]
            segmentation = segmenter.segment(sample.frame)
            frame = SourceFrame(sample.frame, sample.name, index, 0.0)
            sink.write(SegmentedFrame(frame, segmentation, engine.name, segmentation.latency_ms))
    return list(sink.outputs)


def demo(source: str, data: str, output: Path, limit: int) -> None:
    """Build, segment, evaluate, time, and print what came of it."""
    dataset = open_dataset(data, split="val")
    print(f"1. Engines of {MODEL}, from the shipped weights and activation ranges")
    engines = {precision: engine_for(precision, output / "engines") for precision in ("int8", "fp32")}

    print(f"2. Masks of {source}")
    with console.progress("frames") as progress:
        predicted = predict_source(engines["int8"], source, output, limit=limit, progress=progress)
    print(f"  {predicted['frames']} frames, {predicted['median_latency_ms']:.1f} ms from frame to mask")

    print(f"3. Accuracy on {data} and latency, INT8 beside FP32")
    rows = []
    speeds = {row["precision"]: row for row in bench_engines(list(engines.values()), rounds=30, warmup=5)}
    for precision, engine in engines.items():
        with Segmenter(engine) as segmenter, console.progress(f"evaluating {precision}") as progress:
            accuracy = evaluate(segmenter, dataset, progress=progress).as_dict()
        time_ms = speeds[precision]["frame_to_mask_ms"]["median"]
        figures = [f"{100 * accuracy['miou']:.1f}", f"{100 * accuracy['pixel_accuracy']:.1f}", f"{time_ms:.1f}"]
        rows.append([precision, *figures, f"{1000 / time_ms:.0f}"])
    header = ["precision", "mIoU %", "pixel accuracy %", "frame to mask ms", "fps"]
    print("\n".join("  " + line for line in console.table(header, rows).splitlines()))

    print("4. Look at them")
    for path in [*predicted["outputs"], *pictures(engines["int8"], dataset, output / "pictures")]:
        print(f"  {path}")
    print(f"  {engines['int8']}    (try: edgefsa inspect, parity, bench, predict on it)")

    print("5. See it live: in the browser at http://127.0.0.1:8080, with your camera (0) or a drive through a street")
    program = Path(sys.executable).with_name("edgefsa")
    print(f"  {program} serve {engines['int8']} {engines['fp32']} --source synthetic:7 --loop")
    print(f"  {program} run {engines['int8']} --source 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="synthetic:7", help="image, folder, video, camera:0 or synthetic[:SEED]")
    parser.add_argument("--data", default="synthetic", help="labelled frames: camvid:DIR, folder:DIR or synthetic")
    parser.add_argument("--output", type=Path, default=Path("demo-out"), help="where everything goes")
    parser.add_argument("--limit", type=int, default=100, help="at most so many frames")
    arguments = parser.parse_args()
    console.run(lambda: demo(arguments.source, arguments.data, arguments.output, arguments.limit))


if __name__ == "__main__":
    main()
