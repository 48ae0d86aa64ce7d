"""The kernels on a GPU against the formulas in float64."""

from __future__ import annotations

from typing import Any

import pytest

FLOAT, HALF = 0, 1
LINEAR, HWC8 = 0, 1
LAYOUTS = [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)]
# Odd, prime and single sizes beside those of a network.
SHAPES = [(1, 64, 32, 48), (3, 19, 17, 23), (2, 65, 8, 1), (1, 3, 1, 40), (1, 512, 64, 128)]
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}


def random_map(torch: Any, shape: tuple[int, ...], kind: int) -> Any:
    torch.manual_seed(sum(shape))
    return torch.randn(shape, device="cuda").to(torch.float16 if kind == HALF else torch.float32)


def laid_out(torch: Any, x: Any, layout: int) -> Any:
    """Give the map in memory: as it is, or [N, H, W, C padded to 8]."""
    if layout == LINEAR:
        return x.contiguous()
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 8))
    return padded.permute(0, 2, 3, 1).contiguous()


def plain(y: Any, channels: int, layout: int) -> Any:
    return y if layout == LINEAR else y.permute(0, 3, 1, 2)[:, :channels]


def relative_l2(found: Any, wanted: Any) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def launch(torch: Any, kernels: Any, name: str, *, workspace: bool = True, **values: Any) -> None:
    params = kernels.params(name, **values)
    size = kernels.workspace_bytes(name, params) if workspace else 0
    scratch = torch.full((max(size, 1),), 255, dtype=torch.uint8, device="cuda")
    kernels.launch(name, params, scratch.data_ptr(), torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()


def dims_of(shape: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(("batch", "channels", "height", "width"), shape, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize(
    ("form", "mode", "recurrence", "k"),
    [("ccnet", "dot_product", 1, 8), ("mmseg", "dot_product", 2, (0, 5, 0, 3)), ("mmseg", "linsoftmax", 1, 8)],
)
def test_attention(
    cuda: Any,
    kernels: Any,
    shape: tuple[int, ...],
    kind: int,
    layout: int,
    form: str,
    mode: str,
    recurrence: int,
    k: Any,
) -> None:
    from edgefsa.models import FrequencySelfAttention
    from edgefsa.models.formulas import truncated_dct_attention

    cuda.manual_seed(1)
    layer = FrequencySelfAttention(shape[1], k=k, mode=mode, recurrence=recurrence, form=form).eval()
    for parameter in layer.parameters():
        cuda.nn.init.normal_(parameter, std=0.3)
    operator = layer.operator(*shape[2:])
    weights = {name: tensor.cuda() for name, tensor in operator.tensors.items()}
    x = random_map(cuda, shape, kind)
    given = laid_out(cuda, x, layout)
    y = cuda.full_like(given, float("nan"))
    launch(
        cuda, kernels, "TruncatedDctAttention", x=given, y=y, type=kind, format=layout, **dims_of(shape), **weights,
        kh=weights["basis_h"].shape[0], kw=weights["basis_w"].shape[0], mode=int(mode == "linsoftmax"),
        query_channels=weights["query_weight"].shape[0], value_channels=weights["value_weight"].shape[0],
        recurrence=recurrence, scale=float(operator.attributes["scale"]),
    )  # fmt: skip
    wide = {name: tensor.double() for name, tensor in weights.items()}
    wanted = truncated_dct_attention(x.double(), **wide, **operator.attributes)
    assert relative_l2(plain(y, shape[1], layout), wanted) < TOLERANCE[kind]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 256, 512)])
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("radius", [1, 2])
def test_spectral_mask(cuda: Any, kernels: Any, shape: tuple[int, ...], kind: int, layout: int, radius: int) -> None:
    from edgefsa.models import SpectralMask
    from edgefsa.models.formulas import spectral_mask

    operator = SpectralMask(shape[1], radius=radius).operator(*shape[2:])
    weights = {name: tensor.cuda() for name, tensor in operator.tensors.items()}
    x = random_map(cuda, shape, kind)
    given = laid_out(cuda, x, layout)
    y = cuda.full_like(given, float("nan"))
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    launch(
        cuda, kernels, "SpectralMask", x=given, y=y, type=kind, format=layout, **dims_of(shape), **modes, **weights
    )  # fmt: skip
    wanted = spectral_mask(x.double(), **{name: tensor.double() for name, tensor in weights.items()})
    assert relative_l2(plain(y, shape[1], layout), wanted) < TOLERANCE[kind]


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "size"), [((2, 19, 8, 12), (32, 48)), ((1, 2, 5, 7), (9, 30)), ((3, 65, 1, 3), (4, 3))]
)
def test_upsample_argmax(
    cuda: Any, kernels: Any, shape: tuple[int, ...], size: tuple[int, int], kind: int, layout: int
) -> None:
    logits = random_map(cuda, shape, kind)
    y = cuda.full((shape[0], *size), -1, dtype=cuda.int32, device="cuda")
    launch_upsampling(cuda, kernels, laid_out(cuda, logits, layout), y, shape, size, kind, layout)
    large = cuda.nn.functional.interpolate(logits.double(), size, mode="bilinear")
    chosen = large.gather(1, y.long()[:, None])[:, 0]
    # Where two classes are equal to rounding, either is right.
    assert float((large.amax(1) - chosen).max()) < 1e-5
    assert float((y == large.argmax(1)).double().mean()) > 0.999


def launch_upsampling(
    torch: Any, kernels: Any, logits: Any, y: Any, shape: tuple[int, ...], size: tuple[int, int], kind: int, layout: int
) -> None:
    launch(
        torch, kernels, "UpsampleArgmax", workspace=False, x=logits, y=y, index_type=0, type=kind, format=layout,
        batch=shape[0],
        classes=shape[1], low_height=shape[2], low_width=shape[3], height=size[0], width=size[1],
    )  # fmt: skip


def test_a_cuda_graph_captures_the_launches(cuda: Any, kernels: Any) -> None:
    from edgefsa.models import SpectralMask

    shape = (1, 16, 32, 48)
    weights = {name: tensor.cuda() for name, tensor in SpectralMask(16).operator(32, 48).tensors.items()}
    x = random_map(cuda, shape, HALF)
    y = cuda.zeros_like(x)
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    params = kernels.params("SpectralMask", x=x, y=y, type=HALF, **dims_of(shape), **modes, **weights)
    scratch = cuda.empty(max(kernels.workspace_bytes("SpectralMask", params), 1), dtype=cuda.uint8, device="cuda")
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph):
        kernels.launch("SpectralMask", params, scratch.data_ptr(), cuda.cuda.current_stream().cuda_stream)
    cuda.cuda.synchronize()
    assert not y.any()
    graph.replay()
    cuda.cuda.synchronize()
    assert y.any()
