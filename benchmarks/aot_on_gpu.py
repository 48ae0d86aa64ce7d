"""The kernels that engines carry as PTX, loaded by CuPy and launched from their facts, as an engine launches them.

    python benchmarks/aot_on_gpu.py build/on_gpu/aot [--output aot.json]

`make gpu-files` compiles them. Each is held against the formula in float64. Status 0 where all are right, 3 where one
is wrong, 2 where CuPy, the GPU or the kernels are missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

UNUSABLE, WRONG = 2, 3
TOLERANCE = {"float32": 1e-5, "float16": 2e-3}
Array = npt.NDArray[Any]


def launch(cupy: Any, kernel: dict[str, Any], inputs: list[Array], output: Array) -> Array:
    """Launch for the batch of `output`: addresses of the inputs, the batch, the address of the output."""
    batch = output.shape[0]
    grid = [batch * size if axis == kernel["batch_axis"] else size for axis, size in enumerate(kernel["grid"])]
    function = cupy.RawModule(code=kernel["ptx"]).get_function(kernel["name"])
    on_gpu, result = [cupy.asarray(item) for item in inputs], cupy.asarray(output)
    arguments = (*on_gpu, np.int32(batch), result)
    function(tuple(grid), (*kernel["block"], 1), arguments, shared_mem=kernel["shared_bytes"])
    cupy.cuda.runtime.deviceSynchronize()
    found: Array = cupy.asnumpy(result)
    return found


def error_of_mask(cupy: Any, kernel: dict[str, Any], x: Array) -> float:
    """Return the relative L2 error of a spectral mask."""
    import torch

    from edgefsa.models import SpectralMask
    from edgefsa.models.formulas import spectral_mask

    weights = SpectralMask(x.shape[1]).operator(*x.shape[2:]).tensors
    y = launch(cupy, kernel, [x, *(weight.numpy() for weight in weights.values())], np.full_like(x, np.nan))
    wide = {name: weight.double() for name, weight in weights.items()}
    wanted = spectral_mask(torch.from_numpy(x).double(), **wide).numpy()
    return float(np.linalg.norm(y - wanted) / np.linalg.norm(wanted))


def error_of_argmax(cupy: Any, kernel: dict[str, Any], logits: Array) -> float:
    """Return the share of pixels whose class is another one."""
    import torch

    size = tuple(kernel["size_hw"])
    indices = launch(cupy, kernel, [logits], np.full((logits.shape[0], *size), 255, kernel["indices"]))
    large = torch.nn.functional.interpolate(torch.from_numpy(logits).double(), size, mode="bilinear")
    return float((indices != large.argmax(1).numpy()).mean())


def check(cupy: Any, kernel: dict[str, Any]) -> dict[str, Any]:
    """Run one kernel on random values; return its error, and whether it is right."""
    shape, dtype = kernel["shape"], kernel["dtype"]
    x = np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)
    is_mask = kernel["operator"] == "SpectralMask"
    error = error_of_mask(cupy, kernel, x) if is_mask else error_of_argmax(cupy, kernel, x)
    return {"error": error, "is_right": error <= (TOLERANCE[dtype] if is_mask else 1e-3)}


def require_cupy() -> Any:
    """Return CuPy with a GPU; leaves with one line and status 2 where there is none."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # the package's and the driver's own
        print(f"error: this needs CuPy and an NVIDIA GPU: {str(error).splitlines()[0]}", file=sys.stderr)
        raise SystemExit(UNUSABLE) from None
    return cupy


def main(arguments: list[str] | None = None) -> int:
    from edgefsa.artifacts import write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the kernels, one JSON each")
    parser.add_argument("--output", type=Path, help="the JSON to write")
    options = parser.parse_args(arguments)
    cupy = require_cupy()
    paths = sorted(options.folder.glob("*.json"))
    if not paths:
        print(f"error: no kernel is in {options.folder}; `make gpu-files` compiles them", file=sys.stderr)
        return UNUSABLE
    results = {path.stem: check(cupy, json.loads(path.read_text())) for path in paths}
    for name, result in results.items():
        print(f"{'right' if result['is_right'] else 'WRONG'}  {result['error']:.1e}  {name}")
    if options.output:
        write_json(options.output, results)
    return 0 if all(result["is_right"] for result in results.values()) else WRONG


if __name__ == "__main__":
    raise SystemExit(main())
