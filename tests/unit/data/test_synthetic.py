from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefsa.artifacts import sha256_of_bytes
from edgefsa.data import CAMVID, open_dataset
from edgefsa.data.synthetic import render_clip, render_scene
from edgefsa.data.synthetic import scene as scene_module
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.scene import draw_scene, paint, render
from edgefsa.errors import InputError

SMALL = (120, 160)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Forty small scenes."""
    return [render_scene(seed, SMALL) for seed in range(500, 540)]


@pytest.fixture(scope="module")
def clip() -> list[tuple[np.ndarray, np.ndarray]]:
    """A second of a drive."""
    return list(render_clip(4, 12, SMALL, fps=12))


def test_frame_and_label_are_what_the_readers_give() -> None:
    frame, label = render_scene(1, (96, 200))
    assert frame.dtype == label.dtype == np.uint8
    assert frame.shape == (96, 200, 3) and label.shape == (96, 200)
    assert frame.flags.c_contiguous and label.flags.c_contiguous


def test_the_same_seed_gives_the_same_pixels() -> None:
    first = render_scene(3, SMALL)
    for seed in (9, 10):  # what is cached from other scenes must not matter
        render_scene(seed, SMALL)
    again = render_scene(3, SMALL)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], render_scene(4, SMALL)[0])


def test_another_process_gives_the_same_pixels() -> None:
    program = (
        "import sys, hashlib; from edgefsa.data.synthetic import render_scene; pair = render_scene(12, (96, 128));"
        "print(hashlib.sha256(pair[0].tobytes() + pair[1].tobytes()).hexdigest(), {'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    frame, label = render_scene(12, (96, 128))
    assert done.stdout.split() == [sha256_of_bytes(frame.tobytes() + label.tobytes()), "set()"]


def test_labels_hold_camvids_classes_and_all_of_them(scenes) -> None:
    counts = np.zeros(256, int)
    for _, label in scenes:
        counts += np.bincount(label.ravel(), minlength=256)
    assert (counts[: CAMVID.num_classes] > 0).all()
    assert counts[CAMVID.ignore_index] > 0
    assert counts[CAMVID.ignore_index + 1 :].sum() == 0


def test_every_scene_is_a_street(scenes) -> None:
    for frame, label in scenes:
        shares = np.bincount(label.ravel(), minlength=12) / label.size
        assert shares[Label.ROAD] > 0.12 and shares[Label.SKY] > 0.01
        assert shares[[Label.BUILDING, Label.TREE]].sum() > 0.03
        assert frame.std() > 10


def test_sky_is_above_the_horizon_and_the_ground_below_it() -> None:
    for seed in range(6):
        scene = draw_scene(seed)
        _, label = render_scene(seed, SMALL)
        horizon = scene.horizon * SMALL[0]
        sky_rows = np.flatnonzero((label == Label.SKY).any(axis=1))
        road_rows = np.flatnonzero((label == Label.ROAD).any(axis=1))
        assert sky_rows.max() <= horizon + 2
        assert road_rows.min() >= horizon - 1


@pytest.mark.parametrize(
    ("kind", "label_class"), [("car", Label.CAR), ("tree", Label.TREE), ("pedestrian", Label.PEDESTRIAN)]
)
def test_label_and_picture_share_their_geometry(monkeypatch, kind: str, label_class: Label) -> None:
    # The same scene is painted with and without one kind of thing: the samples that change colour are those whose
    # class was the thing's, but for what shows through fences and wheels.
    scene = draw_scene(23)
    full = paint(scene, SMALL, 0.0)[0].canvas
    monkeypatch.setitem(scene_module._ITEMS, kind, lambda stage, item: None)
    without = paint(scene, SMALL, 0.0)[0].canvas
    drawn = np.array(full.classes)[full.pixels[..., 3]]
    left = np.array(without.classes)[without.pixels[..., 3]]
    differs = (full.pixels[..., :3] != without.pixels[..., :3]).any(axis=2)
    taken = (drawn == label_class) & (left != label_class)
    assert taken.sum() > 100
    assert differs[taken].mean() > 0.98
    assert set(drawn[differs].tolist()) <= {label_class, Label.FENCE, Label.BICYCLIST}
    assert np.array_equal(drawn[drawn != label_class], left[drawn != label_class])


def test_sky_and_road_differ_in_colour_where_their_labels_meet() -> None:
    frame, label = render(draw_scene(42), SMALL, 0.0, with_effects=False)
    grey = frame.mean(axis=2)
    assert grey[label == Label.SKY].mean() > grey[label == Label.ROAD].mean() + 40


def test_scenes_of_another_size_show_the_same_street() -> None:
    small, large = render_scene(8, (120, 160))[1], render_scene(8, (240, 320))[1]
    assert (large[::2, ::2] == small).mean() > 0.95


def test_weather_differs_between_seeds() -> None:
    assert len({draw_scene(seed).weather.name for seed in range(80)}) >= 5


def test_a_clip_begins_with_the_scene_of_its_seed(clip) -> None:
    frame, label = render_scene(4, SMALL)
    assert np.array_equal(clip[0][0], frame) and np.array_equal(clip[0][1], label)


def test_a_clip_moves_a_little_from_frame_to_frame(clip) -> None:
    assert len(clip) == 12
    for (frame, label), (next_frame, next_label) in itertools.pairwise(clip):
        assert not np.array_equal(frame, next_frame)
        agreement = (label == next_label).mean()
        assert 0.8 < agreement < 1.0
        big = [value for value in (Label.SKY, Label.ROAD, Label.BUILDING) if (label == value).mean() > 0.1]
        for value in big:
            both, either = (label == value) & (next_label == value), (label == value) | (next_label == value)
            assert both.sum() / either.sum() > 0.75
    assert (clip[0][1] == clip[-1][1]).mean() < (clip[0][1] == clip[1][1]).mean()


def test_a_long_drive_does_not_run_out_of_street() -> None:
    labels = [label for _, label in render_clip(2, 5, SMALL, fps=0.2)]
    for label in labels:
        shares = np.bincount(label.ravel(), minlength=12) / label.size
        assert shares[Label.ROAD] > 0.12 and shares[[Label.BUILDING, Label.TREE]].sum() > 0.03


def test_a_longer_clip_begins_like_a_shorter_one(clip) -> None:
    longer = render_clip(4, 1000, SMALL, fps=12)
    for _ in range(3):
        next(longer)
    assert np.array_equal(next(longer)[0], clip[3][0])


@pytest.mark.parametrize("size_hw", [(0, 100), (100, 31), (-5, 64), (5000, 64)])
def test_sizes_that_cannot_be_drawn(size_hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"{size_hw[0]}x{size_hw[1]} cannot be drawn"):
        render_scene(1, size_hw)
    with pytest.raises(InputError):
        render_clip(1, 3, size_hw)


@pytest.mark.parametrize(("frames", "fps"), [(0, 25.0), (-1, 25.0), (3, 0.0), (3, float("nan"))])
def test_clips_that_cannot_be_made(frames: int, fps: float) -> None:
    with pytest.raises(InputError, match="must be positive"):
        render_clip(1, frames, SMALL, fps)


def test_odd_and_wide_sizes() -> None:
    for size_hw in ((33, 47), (64, 256), (160, 90)):
        frame, label = render_scene(5, size_hw)
        assert frame.shape == (*size_hw, 3) and label.shape == size_hw
        assert (label == Label.ROAD).mean() > 0.05


def test_class_shares_come_near_camvids(camvid_dir: Path, scenes) -> None:
    real = np.zeros(12)
    for sample in open_dataset(f"camvid:{camvid_dir}", "train", limit=60):
        assert sample.label is not None
        real += np.bincount(sample.label.ravel(), minlength=12)
    drawn = sum(np.bincount(label.ravel(), minlength=12) for _, label in scenes).astype(float)
    real, drawn = real[:11] / real[:11].sum(), drawn[:11] / drawn[:11].sum()
    for label_class in (Label.SKY, Label.BUILDING, Label.ROAD, Label.TREE):
        assert 0.6 < drawn[label_class] / real[label_class] < 1.6
    assert ((drawn / real > 0.25) & (drawn / real < 5)).all()
