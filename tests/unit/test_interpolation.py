"""Properties of the mesh-guided interpolation; tests/golden compares it with the official numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.geometry import interpolation_weights


def points(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 12), st.floats(0.5, 20), st.integers(0, 1000))
def test_weights_are_not_negative_and_sum_to_one(count, neighbors, decay, seed):
    weights = interpolation_weights(points(20, seed + 1), points(count, seed), neighbors, decay)
    assert weights.index.shape == weights.weight.shape == (20, min(neighbors, count))
    assert weights.weight.min() >= 0
    # The official 1e-8 in the denominator shows where a single far neighbour has the weight exp(-decay).
    np.testing.assert_allclose(weights.weight.sum(axis=1), 1, atol=1e-8 / np.exp(-decay) * 2 + 1e-9)


def test_a_common_displacement_reaches_every_query():
    weights = interpolation_weights(points(50, 1), points(200))
    np.testing.assert_allclose(weights.apply(np.tile([0.1, -0.2, 0.3], (200, 1))), [[0.1, -0.2, 0.3]] * 50, atol=1e-5)


def test_neighbours_beyond_the_root_mean_square_distance_do_not_count():
    known = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 3, 0]])
    weights = interpolation_weights(np.zeros((1, 3)), known, neighbors=3)
    assert dict(zip(weights.index[0].tolist(), weights.weight[0].round(6).tolist(), strict=True)) == {
        0: 0.5,
        1: 0.5,
        2: 0,
    }


def test_a_query_on_a_point_moves_as_that_point_does():
    known = points(300)
    displacement = np.random.default_rng(5).normal(size=(300, 3))
    moved = interpolation_weights(known, known, decay=7.0).apply(displacement)
    spread = np.linalg.norm(displacement, axis=1).mean()
    # The nearest of eight has most of the weight, its neighbours the rest.
    assert np.linalg.norm(moved - displacement, axis=1).mean() < 0.2 * spread


def test_coinciding_points_share_the_weight():
    weights = interpolation_weights(np.zeros((1, 3)), np.zeros((4, 3)), neighbors=4)
    np.testing.assert_allclose(weights.weight, 0.25, atol=1e-6)


def test_the_result_does_not_depend_on_the_frame_of_reference():
    known, queries = points(100), points(30, 1)
    displacement = np.random.default_rng(2).normal(size=(100, 3))
    here = interpolation_weights(queries, known).apply(displacement)
    shift = np.array([3, -2, 1])
    there = interpolation_weights(queries + shift, known + shift).apply(displacement)
    np.testing.assert_allclose(here, there, atol=1e-9)


def test_frames_are_interpolated_one_by_one_and_keep_their_type():
    displacement = np.random.default_rng(0).normal(size=(4, 60, 3)).astype(np.float32)
    weights = interpolation_weights(points(9, 1), points(60))
    result = weights.apply(displacement)
    assert result.shape == (4, 9, 3) and result.dtype == np.float32
    np.testing.assert_allclose(result[2], weights.apply(displacement[2]), atol=1e-7)


def test_no_queries_give_no_displacements():
    assert interpolation_weights(np.zeros((0, 3)), points(5)).apply(np.zeros((5, 3))).shape == (0, 3)


def test_interpolation_without_points_is_refused():
    with pytest.raises(ValueError, match="at least one point"):
        interpolation_weights(points(3), np.zeros((0, 3)))
