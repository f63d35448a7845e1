"""Properties of the mesh-guided interpolation; tests/golden compares it with the official numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.geometry import interpolation_weights


def points(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_close(actual, expected, atol: float) -> None:
    wanted = torch.as_tensor(expected, dtype=actual.dtype).expand_as(actual)
    torch.testing.assert_close(actual, wanted, atol=atol, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.floats(0.5, 20), st.integers(0, 1000))
def test_weights_are_not_negative_and_sum_to_one(count, neighbors, decay, seed):
    weights = interpolation_weights(points(20, seed + 1), points(count, seed), neighbors, decay)
    assert weights.index.shape == weights.weight.shape == (20, min(neighbors, count))
    assert weights.weight.min() >= 0
    # The official 1e-8 in the denominator shows where a single far neighbour has the weight exp(-decay).
    assert_close(weights.weight.sum(dim=1), 1, atol=1e-8 / math.exp(-decay) * 2 + 1e-9)


def test_a_common_displacement_reaches_every_query():
    weights = interpolation_weights(points(50, 1), points(200))
    common = torch.tensor([0.1, -0.2, 0.3])
    assert_close(weights.apply(common.repeat(200, 1)), common, atol=1e-5)


def test_neighbours_beyond_the_root_mean_square_distance_do_not_count():
    known = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 3, 0]])
    weights = interpolation_weights(torch.zeros(1, 3), known, neighbors=3)
    assert dict(zip(weights.index[0].tolist(), weights.weight[0].round(decimals=6).tolist(), strict=True)) == {
        0: 0.5,
        1: 0.5,
        2: 0,
    }


def test_a_query_on_a_point_moves_as_that_point_does():
    known = points(300)
    displacement = normal(300, 3)
    moved = interpolation_weights(known, known, decay=7.0).apply(displacement)
    spread = displacement.norm(dim=1).mean()
    # The nearest of eight has most of the weight, its neighbours the rest.
    assert (moved - displacement).norm(dim=1).mean() < 0.2 * spread


def test_coinciding_points_share_the_weight():
    weights = interpolation_weights(torch.zeros(1, 3), torch.zeros(4, 3), neighbors=4)
    assert_close(weights.weight, 0.25, atol=1e-6)


def test_the_result_does_not_depend_on_the_frame_of_reference():
    known, queries = points(100), points(30, 1)
    displacement = normal(100, 3)
    here = interpolation_weights(queries, known).apply(displacement)
    shift = torch.tensor([3, -2, 1])
    there = interpolation_weights(queries + shift, known + shift).apply(displacement)
    assert_close(here, there, atol=1e-9)


def test_frames_are_interpolated_one_by_one_and_keep_their_type():
    displacement = normal(4, 60, 3).float()
    weights = interpolation_weights(points(9, 1), points(60))
    result = weights.apply(displacement)
    assert result.shape == (4, 9, 3) and result.dtype == torch.float32
    assert_close(result[2], weights.apply(displacement[2]), atol=1e-7)


def test_no_queries_give_no_displacements():
    assert interpolation_weights(torch.zeros(0, 3), points(5)).apply(torch.zeros(5, 3)).shape == (0, 3)


def test_interpolation_without_points_is_refused():
    with pytest.raises(ValueError, match="at least one point"):
        interpolation_weights(points(3), torch.zeros(0, 3))
