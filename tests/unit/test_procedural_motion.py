"""Made-up motion starts at rest, is smooth, keeps seams closed, and keeps the volume where it says so."""

import numpy as np
import pytest
import trimesh

from gvf_core.training.procedural_motion import MOTIONS, parts_of, procedural_motion, swing_of

FRAMES = 24


def body(axes=(0.5, 0.16, 0.12)) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(3)
    return (np.asarray(sphere.vertices) * axes).astype(np.float32), np.asarray(sphere.faces, np.int32)


def body_with_ball() -> tuple[np.ndarray, np.ndarray, int]:
    """A body, a ball at its end, and how many vertices the body has."""
    vertices, triangles = body((0.35, 0.12, 0.12))
    ball, ball_triangles = body((0.1, 0.1, 0.1))
    return (
        np.concatenate([vertices, ball + np.array([0.44, 0, 0])]).astype(np.float32),
        np.concatenate([triangles, ball_triangles + len(vertices)]),
        len(vertices),
    )


def jerkiness(moved: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(moved.astype(np.float64), 2, axis=0), axis=-1).max())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", MOTIONS)
def test_a_motion_starts_at_rest_moves_and_is_smooth(name, seed):
    vertices, triangles = body()
    moved = procedural_motion(name, vertices, triangles, FRAMES, seed)
    assert moved.shape == (FRAMES, *vertices.shape) and moved.dtype == np.float32
    np.testing.assert_array_equal(moved[0], vertices)
    distance = np.linalg.norm(moved - vertices, axis=-1)
    assert 0.005 < distance.mean() < 1
    fine = procedural_motion(name, vertices, triangles, 2 * FRAMES - 1, seed)
    np.testing.assert_allclose(fine[::2], moved, atol=1e-6)
    # What jumps, or has corners, keeps its second differences or half of them at half the step.
    assert jerkiness(fine) < 0.4 * jerkiness(moved)
    assert jerkiness(moved) < 0.1


@pytest.mark.parametrize("name", MOTIONS)
def test_the_same_seed_gives_the_same_motion_and_another_one_another(name):
    vertices, triangles = body()
    first, again, other = (procedural_motion(name, vertices, triangles, 6, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["twist", "wave", "squash"])
def test_the_volume_is_kept(name, seed):
    vertices, triangles = body()
    volume = trimesh.Trimesh(vertices, triangles).volume
    for frame in procedural_motion(name, vertices, triangles, 8, seed):
        assert trimesh.Trimesh(frame, triangles).volume == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_bend_does_not_pass_through_itself(seed):
    vertices, triangles = body((0.3, 0.25, 0.5))
    for frame in procedural_motion("bend", vertices, triangles, 8, seed):
        assert trimesh.Trimesh(frame, triangles).volume > 0.5 * trimesh.Trimesh(vertices, triangles).volume
        edges = np.linalg.norm(frame[triangles[:, 0]] - frame[triangles[:, 1]], axis=1)
        assert edges.max() < 3 * np.linalg.norm(vertices[triangles[:, 0]] - vertices[triangles[:, 1]], axis=1).max()


@pytest.mark.parametrize("name", MOTIONS)
def test_seams_stay_closed(name):
    vertices, triangles = body()
    # Every triangle has vertices of its own, as in files whose normals are flat.
    split = vertices[triangles.reshape(-1)]
    moved = procedural_motion(name, split, np.arange(len(split), dtype=np.int32).reshape(-1, 3), 6, 1)
    _, first, same = np.unique(split, axis=0, return_index=True, return_inverse=True)
    np.testing.assert_allclose(moved, moved[:, first[same.reshape(-1)]], atol=1e-6)


def test_a_part_swings_rigidly_about_where_it_touches_the_rest():
    vertices, triangles, count = body_with_ball()
    moved = procedural_motion("swing", vertices, triangles, 8, 0)
    np.testing.assert_array_equal(moved[:, :count], np.broadcast_to(vertices[:count], moved[:, :count].shape))
    ball = moved[:, count:]
    sizes = np.linalg.norm(ball - ball.mean(axis=1, keepdims=True), axis=-1)
    np.testing.assert_allclose(sizes, np.broadcast_to(sizes[0], sizes.shape), atol=1e-5)
    gap = np.linalg.norm(moved[:, count:] - vertices[np.argmax(vertices[:count, 0])], axis=-1).min(axis=1)
    assert gap.max() < 0.1


def test_small_parts_follow_their_neighbours():
    vertices, triangles, count = body_with_ball()
    specks = [trimesh.creation.icosphere(0, radius=0.01 - 0.001 * index) for index in range(7)]
    for speck in specks:
        triangles = np.concatenate([triangles, np.asarray(speck.faces, np.int32) + len(vertices)])
        vertices = np.concatenate([vertices, np.asarray(speck.vertices) + np.array([0.5, 0.1, 0])]).astype(np.float32)
    part = parts_of(vertices.astype(np.float64), triangles)
    assert set(part[:count]) == {0} and part.max() == 6
    # The smallest specks are no parts of their own, nor the body's.
    assert part[-12] in range(1, 7)


def test_a_rhythm_begins_at_zero_and_fills_its_range():
    fine = np.linspace(0, 1, 256)
    for seed in range(20):
        values = swing_of(fine, np.random.default_rng(seed))
        assert values[0] == 0 and np.abs(values).max() == pytest.approx(1)
