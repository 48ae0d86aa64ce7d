from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgefsa.data.synthetic.camera import Bend, Lens, View
from edgefsa.data.synthetic.canvas import Canvas, Material, lit_texture
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.street import Barrier, Building, Item, block, draw_plan

STRAIGHT = Bend(())
CURVED = Bend(((0.2, 70.0, 0.4), (0.05, 33.0, 1.0)))
LENS = Lens((480, 640), 600.0, 320.0, 230.0)
RED, GREEN = (10.0, 20.0, 200.0), (30.0, 180.0, 40.0)
SQUARE = np.array([[20.3, 10.1], [60.7, 12.9], [58.0, 50.0], [22.0, 47.5]])


@pytest.fixture
def canvas() -> Canvas:
    return Canvas((40, 60))


def painted(canvas: Canvas, surface: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the colour is no longer black, and where the surface is the given one."""
    return canvas.pixels[..., :3].any(axis=2), canvas.pixels[..., 3] == surface


def test_a_straight_street_is_seen_through_a_pinhole() -> None:
    view = View(LENS, STRAIGHT, x=-1.5, s=40.0, height=1.4)
    x, y, s = np.array([-4.0, 0.0, 3.0]), np.array([0.0, 2.0, 6.0]), np.array([45.0, 60.0, 140.0])
    pixels = view.project(view.points(x, y, s))
    np.testing.assert_allclose(pixels[:, 0], 320 + 600 * (x + 1.5) / (s - 40), atol=1e-6)
    np.testing.assert_allclose(pixels[:, 1], 230 - 600 * (y - 1.4) / (s - 40), atol=1e-6)


def test_yaw_turns_the_view() -> None:
    view = View(LENS, STRAIGHT, x=2.0, s=10.0, height=1.4, yaw=0.1)
    point = view.points(2.0, 1.4, 110.0)
    np.testing.assert_allclose(point, [-100 * np.sin(0.1), 0.0, 100 * np.cos(0.1)], atol=1e-6)


def test_a_bend_keeps_lengths_and_widths() -> None:
    view = View(LENS, CURVED, x=1.0, s=25.0, height=1.4)
    s = np.linspace(26, 120, 400)
    middle = view.points(0.0, 0.0, s)
    assert np.linalg.norm(np.diff(middle, axis=0), axis=1).sum() == pytest.approx(94, rel=2e-3)
    edge = view.points(3.0, 0.0, s)
    np.testing.assert_allclose(np.linalg.norm(edge - middle, axis=1), 3.0, rtol=1e-6)
    np.testing.assert_allclose(view.points(1.0, 1.4, 25.0), 0.0, atol=1e-9)  # the camera itself


def test_a_pose_is_rigid_and_follows_the_road() -> None:
    view = View(LENS, CURVED, x=1.0, s=25.0, height=1.4)
    pose = view.pose(2.0, 0.0, 60.0)
    np.testing.assert_allclose(pose.axes @ pose.axes.T, np.eye(3), atol=1e-12)
    ahead = view.points(2.0, 0.0, 60.5) - view.points(2.0, 0.0, 60.0)
    assert pose.axes[2] @ ahead / np.linalg.norm(ahead) > 0.999


def test_a_plane_gives_depth_and_homography_as_projection_does() -> None:
    view = View(LENS, CURVED, x=1.0, s=25.0, height=1.4)
    corner, along, up = view.points(6.0, 0.0, 40.0), np.array([0.1, 0.0, 0.995]), np.array([0.0, 1.0, 0.0])
    metres = np.array([[0.0, 0.0], [4.0, 1.0], [9.0, 5.5]])
    points = corner + metres[:, :1] * along + metres[:, 1:] * up
    pixels = view.project(points)
    a, b, c = view.plane(corner, np.cross(along, up))
    np.testing.assert_allclose(a + b * pixels[:, 0] + c * pixels[:, 1], 1 / points[:, 2], rtol=1e-9)
    mapped = np.column_stack([metres, np.ones(3)]) @ view.homography(corner, along, up).T
    np.testing.assert_allclose(mapped[:, :2] / mapped[:, 2:], pixels, rtol=1e-9)


def test_polygons_are_cut_at_the_near_plane() -> None:
    view = View(LENS, STRAIGHT, x=0.0, s=0.0, height=1.4)
    strip = np.array([[-1.0, -1.4, -5.0], [1.0, -1.4, -5.0], [1.0, -1.4, 20.0], [-1.0, -1.4, 20.0]])
    outline = view.outline(strip)
    assert outline is not None and len(outline) == 4
    assert outline[:, 1].max() == pytest.approx(230 + 600 * 1.4 / 0.8)
    assert view.outline(strip - [0, 0, 30]) is None


def test_fill_sets_colour_and_surface_together(canvas: Canvas) -> None:
    surface = canvas.surface_at(Label.CAR, 10.0)
    canvas.fill(SQUARE, RED, surface)
    coloured, covered = painted(canvas, surface)
    assert covered.sum() > 1000 and np.array_equal(coloured, covered)


def test_line_disc_and_stamp_set_colour_and_surface_together(canvas: Canvas) -> None:
    surface = canvas.surface_at(Label.POLE, 10.0)
    canvas.line(np.array([[5.0, 5.0], [70.2, 33.3]]), 3.4, RED, surface)
    canvas.disc(np.array([90.0, 60.0]), 7.7, GREEN, surface)
    sprite = np.full((20, 30, 3), 90, np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 4:28] = 1
    for corner in ((50, 40), (-12, -4), (110, 72), (500, 500)):
        canvas.stamp(sprite, mask, corner, surface)
    coloured, covered = painted(canvas, surface)
    assert covered[45, 60] and np.array_equal(coloured, covered)


def test_warp_paints_the_texture_inside_the_polygon_only(canvas: Canvas) -> None:
    surface = canvas.surface_at(Label.BUILDING, 10.0)
    texture = np.full((16, 16, 3), 100, np.uint8)
    texture[:, 8:] = 200
    to_pixels = np.array([[40 / 16, 0, 20], [0, 40 / 16, 10], [0, 0, 1.0]])
    outline = np.array([[20.0, 10.0], [60.0, 10.0], [60.0, 50.0], [20.0, 50.0]])
    canvas.warp(texture, to_pixels, outline, surface, (0.5, 1.0, 1.0))
    coloured, covered = painted(canvas, surface)
    assert np.array_equal(coloured, covered) and covered.sum() == 41 * 41
    assert canvas.pixels[30, 25].tolist() == [50, 100, 100, surface]
    assert canvas.pixels[30, 55].tolist() == [100, 200, 200, surface]


def test_a_veil_lets_the_picture_through_but_takes_the_label(canvas: Canvas) -> None:
    canvas.fill(np.array([[0.0, 0.0], [119.0, 0.0], [119.0, 79.0], [0.0, 79.0]]), (200.0, 200.0, 200.0), Label.ROAD)
    surface = canvas.surface_at(Label.FENCE, 10.0)
    canvas.veil(SQUARE, (0.0, 0.0, 0.0), 0.25, surface)
    inside = canvas.pixels[..., 3] == surface
    assert inside.sum() > 1000 and (canvas.pixels[inside][:, :3] == 150).all()
    assert (canvas.pixels[~inside][:, :3] == 200).all()


def test_resolve_gives_label_depth_and_material(canvas: Canvas) -> None:
    plane = (0.02, 0.0005, -0.0001)
    surface = canvas.surface(Label.ROAD, plane, Material.ASPHALT)
    canvas.fill(np.array([[0.0, 40.0], [119.0, 40.0], [119.0, 79.0], [0.0, 79.0]]), RED, surface)
    picture, label, inverse_depth, material = canvas.resolve()
    assert picture.shape == (40, 60, 3) and picture.dtype == np.float32
    assert (label[:20] == Label.SKY).all() and (label[20:] == Label.ROAD).all()
    assert (inverse_depth[:20] == 0).all()
    assert inverse_depth[30, 17] == pytest.approx(0.02 + 0.0005 * 34 - 0.0001 * 60)
    assert (material[20:] == Material.ASPHALT).all() and (material[:20] == Material.PLAIN).all()
    np.testing.assert_allclose(picture[30, 30], RED)


def test_thin_things_in_the_sky_keep_their_label(canvas: Canvas) -> None:
    surface = canvas.surface_at(Label.POLE, 30.0)
    canvas.fill(np.array([[31.0, 3.0], [31.0, 60.0]]), RED, surface)  # one odd column of samples
    assert (canvas.resolve()[1][3:29, 15] == Label.POLE).all()


def test_more_surfaces_than_numbers_share_by_class_and_depth(canvas: Canvas) -> None:
    for index in range(300):
        canvas.surface(Label.BUILDING if index % 2 else Label.CAR, (1.0 / (2 + index), 0.0, 0.0))
    shared = canvas.surface(Label.CAR, (1 / 90.0, 0.0, 0.0))
    assert shared < 256
    canvas.fill(SQUARE, RED, shared)
    _, label, inverse_depth, _ = canvas.resolve()
    assert label[15, 20] == Label.CAR and inverse_depth[15, 20] == pytest.approx(1 / 90, rel=0.1)


def test_light_saturates() -> None:
    texture = np.array([[[100, 200, 30]]], np.uint8)
    assert lit_texture(texture, (0.5, 2.0, 1.0)).tolist() == [[[50, 255, 30]]]


def test_blocks_are_made_alone_and_stay_in_place() -> None:
    plan = draw_plan(5)
    for index in (0, 3, 40):
        made = block(plan, index)
        assert made == block(draw_plan(5), index)
        assert made.start >= index * 54 and made.end == (index + 1) * 54
        for thing in made.things:
            if isinstance(thing, (Building, Barrier)):
                assert made.start - 1e-9 <= thing.s0 < thing.s1 <= made.end + 12
            if isinstance(thing, Building):
                assert abs(thing.x) >= abs(plan.front(thing.side)) - 1e-9  # no house on the sidewalk


def test_parked_cars_leave_the_lanes_free() -> None:
    for seed in range(30):
        plan = draw_plan(seed)
        things = itertools.chain.from_iterable(block(plan, index).things for index in range(4))
        for thing in things:
            if isinstance(thing, Item) and thing.kind == "car":
                assert abs(thing.x) > plan.lane


def test_a_barrier_is_cut_without_gaps() -> None:
    fence = Barrier("planks", 0, -8.0, 5.0, 20.0, 1.5, 1)
    pieces = list(fence.pieces(6.0))
    assert [(piece.s0, piece.s1) for piece in pieces] == [(5.0, 6.0), (6.0, 12.0), (12.0, 18.0), (18.0, 20.0)]
    assert [piece.s1 for piece in Barrier("planks", 0, -8.0, 6.0, 12.0, 1.5, 1).pieces(6.0)] == [12.0]


def test_zones_run_outwards() -> None:
    plan = draw_plan(11)
    for side, out in ((0, -1), (1, 1)):
        kerb, front = plan.kerb(side), plan.front(side)
        places = [out * 0.5, kerb + out * 0.2, kerb + out * 0.5, front + out * 0.2, front + out * 3]
        assert [plan.zone(x) for x in places] == [0, 1, 2, 3, 4]
