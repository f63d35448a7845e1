"""One unit frame for all frames of a clip; what hardly moves, explodes, jumps or is there already is left out."""

import numpy as np
import pytest
import trimesh

from gvf_core.training.clip_motion import (
    RefusalKind,
    duplicate_of,
    in_union_frame,
    moving_surface,
    signature,
    unfit,
)
from gvf_core.training.procedural_motion import procedural_motion

FRAMES = 8


def body(subdivisions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(subdivisions)
    return (np.asarray(sphere.vertices) * (0.5, 0.2, 0.15)).astype(np.float32), np.asarray(sphere.faces, np.int32)


def surface(vertices: np.ndarray, triangles: np.ndarray, points: int = 1024, seed: int = 0):
    return moving_surface(vertices, triangles, np.random.default_rng(seed), points)


def shifted(*lengths: float) -> np.ndarray:
    """The body in its place, then moved along x."""
    vertices, _ = body()
    return np.stack([vertices + np.array([length, 0, 0], np.float32) for length in lengths])


def test_the_box_around_all_frames_is_centred_and_1_long():
    vertices, triangles = body()
    moved = np.stack([vertices, vertices + np.array([2, 0, 1], np.float32)]) * 7 + 3
    # A vertex of no triangle does not count.
    moved = np.concatenate([moved, np.full((2, 1, 3), 1000, np.float32)], axis=1)
    united = in_union_frame(moved, triangles)[:, :-1]
    low, high = united.min(axis=(0, 1)), united.max(axis=(0, 1))
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert (high - low).max() == pytest.approx(1)
    np.testing.assert_allclose(united[1] - united[0], np.broadcast_to([2 / 3, 0, 1 / 3], united[0].shape), atol=1e-5)


def test_points_keep_their_places_on_the_surface():
    vertices, triangles = body()
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    found = surface(np.stack([vertices, vertices @ turn.T]), triangles)
    assert found.points.shape == (2, 1024, 3) and found.points.dtype == np.float32
    np.testing.assert_allclose(found.points[1], found.points[0] @ turn.T, atol=1e-6)
    # On the ellipsoid, a little inside where its triangles are flat.
    radius = np.linalg.norm(found.points[0] / (0.5, 0.2, 0.15), axis=1)
    assert radius.max() < 1.0001 and radius.min() > 0.98
    # In random order: any first few are spread over the whole.
    assert np.ptp(found.points[0, :64, 0]) > 0.9 * np.ptp(found.points[0, :, 0])


def test_a_lively_clip_is_fit():
    vertices, triangles = body()
    assert unfit(surface(procedural_motion("rig", vertices, triangles, FRAMES, 1), triangles)) is None


@pytest.mark.parametrize(
    ("vertices", "kind", "figure"),
    [
        (shifted(0, 0.001, 0.002), RefusalKind.STILL, "moves by 0.00"),
        (shifted(*np.linspace(0, 9, 40)), RefusalKind.FAR, "frame 0 is 0.10 of the whole"),
        (shifted(0, 0, 1, 1), RefusalKind.JUMPING, "by 0.50 of its size"),
        (shifted(0, 0.1) * np.array([1, 3], np.float32)[:, None, None], RefusalKind.EXPLODING, "grows to 9.0 times"),
        (shifted(0, 0.1) * np.array([1, 0.04, 0.04], np.float32), RefusalKind.THIN, "of 64^3 voxels in frame 0; 512"),
    ],
)
def test_an_unfit_clip_is_told_with_its_figure(vertices, kind, figure):
    refusal = unfit(surface(vertices, body()[1]))
    assert refusal is not None and refusal.kind == kind and figure in refusal.sentence


def test_a_face_that_talks_is_no_still_clip():
    vertices, triangles = body()
    moved = np.stack([vertices] * 4)
    # A twelfth of the surface, at one end.
    moved[1:, vertices[:, 0] > 0.42, 2] += 0.04
    found = surface(moved, triangles)
    assert found.motion < 0.005 and unfit(found) is None


def test_the_same_clip_on_another_mesh_of_the_same_body_is_a_duplicate():
    walks = []
    for subdivisions, seed in ((3, 0), (4, 1)):
        vertices, triangles = body(subdivisions)
        moved = procedural_motion("twist", vertices, triangles, FRAMES, 2)
        walks.append(signature(surface(moved, triangles, 8192, seed).points))
    assert duplicate_of(walks[1], [("first", walks[0])]) == "first"


def test_another_clip_of_the_same_body_is_none():
    vertices, triangles = body()
    first, second, mirrored = (
        signature(surface(procedural_motion(name, vertices, triangles, FRAMES, seed), triangles).points)
        for name, seed in (("wave", 0), ("wave", 1), ("bend", 0))
    )
    assert duplicate_of(second, [("first", first), ("mirrored", mirrored)]) is None


def test_belts_that_run_the_other_way_are_another_clip():
    """Middle and spread of the whole are the same then."""
    rng = np.random.default_rng(0)
    angle, side = rng.uniform(0, 2 * np.pi, 4000), rng.choice([-1.0, 1.0], 4000)

    def belts(*directions: float) -> np.ndarray:
        turned = angle + 0.2 * np.where(side > 0, *directions) * np.arange(5)[:, None]
        places = [0.4 * np.cos(turned), np.broadcast_to(0.3 * side, turned.shape), 0.1 * np.sin(turned)]
        return np.stack(places, axis=-1).astype(np.float32)

    left, right, forward = (signature(belts(*both)) for both in ((1, -1), (-1, 1), (1, 1)))
    assert left.matches(left)
    assert not left.matches(right) and not left.matches(forward) and not right.matches(forward)
