"""Frames as the inputs of networks of other tools, against the formula in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media.tensors import InputForm

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def expected(form: InputForm, frames: np.ndarray) -> np.ndarray:
    pixels = frames[..., ::-1] if form.colours == "rgb" else frames
    values = pixels if form.dtype == "uint8" else (pixels / form.divisor - np.array(form.mean)) / np.array(form.std)
    return (values.transpose(0, 3, 1, 2) if form.layout == "nchw" else values).astype(form.dtype)


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_a_tensor_is_the_formula_to_the_last_bit(layout: str, dtype: str, colours: str) -> None:
    form = (
        InputForm.of_uint8(layout, colours) if dtype == "uint8" else InputForm(layout, dtype, colours, 255, MEAN, STD)
    )
    # Every value in every channel, and a frame that is a part of a larger one.
    values = np.stack([np.roll(np.arange(256, dtype=np.uint8), 7 * channel) for channel in range(3)], axis=1)
    frames = np.stack([values, values[::-1]]).reshape(2, 8, 32, 3)[:, 1:, ::2]
    out = np.full(form.shape(2, (7, 16)), 77, dtype)
    form.write(frames, out)
    assert out.dtype == dtype and np.array_equal(out, expected(form, frames))


def test_a_form_is_what_it_was_written_as() -> None:
    form = InputForm("nhwc", "float16", "bgr", 1.0, (103.5, 116.25, 123.75), (58.0, 57.0, 57.5))
    assert InputForm.from_dict(form.as_dict()) == form
    assert form.in_words() == "float16 NHWC BGR, (pixel / 1 - [103.5, 116.25, 123.75]) / [58, 57, 57.5]"
    with pytest.raises(InputError, match="adopt the file again"):
        InputForm.from_dict({**form.as_dict(), "gamma": 2.2})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layout": "chw"}, "input layout 'chw' is unknown; use one of nchw, nhwc"),
        ({"colours": "yuv"}, "input colours 'yuv' is unknown"),
        ({"std": (1.0, 0.0, 1.0)}, "input std .* is not above 0"),
        ({"divisor": float("nan")}, "input divisor nan is not above 0"),
        ({"mean": (0.5,)}, "input mean .* is not three numbers"),
        ({"dtype": "uint8"}, "a uint8 input takes pixels as they are"),
    ],
)
def test_what_is_no_form(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        InputForm(**wrong)  # type: ignore[arg-type]
