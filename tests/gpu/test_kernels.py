"""The kernels on a GPU against the formulas in float64."""

from __future__ import annotations

from typing import Any

import pytest

FLOAT, HALF, INT8 = 0, 1, 2
LINEAR, HWC8 = 0, 1
LAYOUTS = [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)]
# Odd, prime and single sizes beside those of a network.
SHAPES = [(1, 64, 32, 48), (3, 19, 17, 23), (2, 65, 8, 1), (1, 3, 1, 40), (1, 512, 64, 128)]
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}


def random_map(torch: Any, shape: tuple[int, ...], kind: int) -> Any:
    torch.manual_seed(sum(shape))
    return torch.randn(shape, device="cuda").to(torch.float16 if kind == HALF else torch.float32)


def random_bytes(torch: Any, shape: tuple[int, ...]) -> Any:
    torch.manual_seed(sum(shape))
    return torch.randint(-128, 128, shape, device="cuda", dtype=torch.int8)


def assert_rounded(torch: Any, y: Any, wanted: Any, y_scale: float) -> None:
    """y is `wanted` in units of y_scale, rounded and saturated, and some of it is saturated."""
    real = wanted / y_scale
    assert float(real.abs().max()) > 128
    assert float((real.clamp(-128, 127) - y.double()).abs().max()) < 0.5 + 2e-2


def laid_out(torch: Any, x: Any, layout: int) -> Any:
    """Return the map in memory: as it is, or [N, H, W, C padded to 8]."""
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


FORMS = [("ccnet", "dot_product", 1, 8), ("mmseg", "dot_product", 2, (0, 5, 0, 3)), ("mmseg", "linsoftmax", 1, 8)]


def attended(
    torch: Any, kernels: Any, x: Any, layout: int, form: tuple[str, str, int, Any], **scales: float
) -> tuple[Any, Any]:
    """Run the attention on x, int8 if `scales` are given; return y as stored, and the formula's in float64."""
    from edgefsa.models import FrequencySelfAttention
    from edgefsa.models.formulas import truncated_dct_attention

    name, mode, recurrence, k = form
    torch.manual_seed(1)
    layer = FrequencySelfAttention(x.shape[1], k=k, mode=mode, recurrence=recurrence, form=name).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    operator = layer.operator(*x.shape[2:])
    weights = {name: tensor.cuda() for name, tensor in operator.tensors.items()}
    given = laid_out(torch, x, layout)
    y = torch.zeros_like(given) if scales else torch.full_like(given, float("nan"))
    kind = INT8 if scales else HALF if x.dtype == torch.float16 else FLOAT
    launch(
        torch, kernels, "TruncatedDctAttention", x=given, y=y, type=kind, format=layout, **dims_of(x.shape), **weights,
        kh=weights["basis_h"].shape[0], kw=weights["basis_w"].shape[0], mode=int(mode == "linsoftmax"),
        query_channels=weights["query_weight"].shape[0], value_channels=weights["value_weight"].shape[0],
        recurrence=recurrence, scale=float(operator.attributes["scale"]), **scales,
    )  # fmt: skip
    wide = {name: tensor.double() for name, tensor in weights.items()}
    real = x.double() * scales.get("x_scale", 1.0)
    return plain(y, x.shape[1], layout), truncated_dct_attention(real, **wide, **operator.attributes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_attention(cuda: Any, kernels: Any, shape: tuple[int, ...], kind: int, layout: int, form: Any) -> None:
    y, wanted = attended(cuda, kernels, random_map(cuda, shape, kind), layout, form)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


@pytest.mark.parametrize("shape", [(1, 64, 32, 48), (3, 19, 17, 23), (2, 8, 9, 12)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_attention_in_int8(cuda: Any, kernels: Any, shape: tuple[int, ...], form: Any) -> None:
    x, x_scale = random_bytes(cuda, shape), 0.02
    _, wanted = attended(cuda, kernels, x, LINEAR, form, x_scale=x_scale, y_scale=1.0)
    y_scale = float(wanted.abs().max()) / 150
    y, wanted = attended(cuda, kernels, x, LINEAR, form, x_scale=x_scale, y_scale=y_scale)
    assert_rounded(cuda, y, wanted, y_scale)


def masked(torch: Any, kernels: Any, x: Any, layout: int, radius: int, **scales: float) -> tuple[Any, Any]:
    """Run the spectral mask on x, int8 if `scales` are given; return y as stored, and the formula's in float64."""
    from edgefsa.models import SpectralMask
    from edgefsa.models.formulas import spectral_mask

    operator = SpectralMask(x.shape[1], radius=radius).operator(*x.shape[2:])
    weights = {name: tensor.cuda() for name, tensor in operator.tensors.items()}
    given = laid_out(torch, x, layout)
    y = torch.zeros_like(given) if scales else torch.full_like(given, float("nan"))
    kind = INT8 if scales else HALF if x.dtype == torch.float16 else FLOAT
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    launch(
        torch, kernels, "SpectralMask", x=given, y=y, type=kind, format=layout, **dims_of(x.shape), **modes,
        **weights, **scales,
    )  # fmt: skip
    real = x.double() * scales.get("x_scale", 1.0)
    wanted = spectral_mask(real, **{name: tensor.double() for name, tensor in weights.items()})
    return plain(y, x.shape[1], layout), wanted


@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 256, 512)])
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("radius", [1, 2])
def test_spectral_mask(cuda: Any, kernels: Any, shape: tuple[int, ...], kind: int, layout: int, radius: int) -> None:
    y, wanted = masked(cuda, kernels, random_map(cuda, shape, kind), layout, radius)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


@pytest.mark.parametrize("shape", [(1, 64, 32, 48), (3, 19, 17, 23), (1, 2, 512, 1024)])
def test_spectral_mask_in_int8(cuda: Any, kernels: Any, shape: tuple[int, ...]) -> None:
    x, x_scale, y_scale = random_bytes(cuda, shape), 0.03, 0.008
    y, wanted = masked(cuda, kernels, x, LINEAR, 2, x_scale=x_scale, y_scale=y_scale)
    assert_rounded(cuda, y, wanted, y_scale)


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize(
    ("frame_hw", "size"), [((48, 64), (48, 64)), ((7, 13), (7, 13)), ((37, 53), (64, 96)), ((60, 80), (41, 48))]
)
def test_frame_preparation(
    cuda: Any, kernels: Any, frame_hw: tuple[int, int], size: tuple[int, int], kind: int, layout: int
) -> None:
    cuda.manual_seed(sum(size))
    frames = cuda.randint(0, 256, (3, *frame_hw, 3), device="cuda", dtype=cuda.uint8)
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    image = laid_out(cuda, cuda.zeros(3, 3, *size, device="cuda", dtype=(cuda.float32, cuda.float16)[kind]), layout)
    launch(
        cuda, kernels, "FramePreparation", workspace=False, frames=frames, image=image, type=kind, format=layout,
        batch=3, frame_height=frame_hw[0], frame_width=frame_hw[1], height=size[0], width=size[1],
        mean_rgb=mean, std_rgb=std,
    )  # fmt: skip
    rgb = frames.flip(3).permute(0, 3, 1, 2).double()
    large = cuda.nn.functional.interpolate(rgb, size, mode="bilinear", align_corners=False)
    offset, scale = (cuda.tensor(values, device="cuda", dtype=cuda.float64).view(3, 1, 1) for values in (mean, std))
    assert relative_l2(plain(image, 3, layout), (large - offset) / scale) < TOLERANCE[kind]


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
