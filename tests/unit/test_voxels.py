"""Windows, neighbours and coarser grids of sparse voxels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.models.attention import KeysValues
from gvf_core.models.voxels import (
    coarsen,
    find_neighborhood,
    item_slices,
    partition,
    submanifold_convolution,
    windowed_attention,
)
from tests.plain import plain_networks
from tests.unit.small_networks import assert_close, noise, some_voxels


@pytest.mark.parametrize("plan", ["loop", "buckets"])
@pytest.mark.parametrize(("window", "shift"), [(8, 0), (8, 4), (4, 2), (5, 0)])
def test_attention_stays_inside_windows(plan, window, shift):
    coordinates = some_voxels()
    q, k, v = (noise(len(coordinates), 2, 8, seed=seed) for seed in range(3))
    windows = partition(coordinates, window, shift, plan)
    order = windows.order
    attended = windowed_attention(q[order], KeysValues(k[order], v[order]), windows)[windows.inverse]
    assert_close(attended, plain_networks.windowed_attention(q, k, v, coordinates, window, shift), 2e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 80), st.integers(1, 3), st.integers(1, 9), st.integers(0, 1000))
def test_every_voxel_is_in_one_window_and_every_bucket_place_once(count, items, window, seed):
    coordinates = some_voxels(count, items, extent=9, seed=seed)
    windows = partition(coordinates, window, window // 2, "buckets")
    assert sum(windows.sizes) == len(coordinates)
    assert torch.equal(windows.order[windows.inverse], torch.arange(len(coordinates)))
    places = torch.cat([bucket.index[bucket.valid] for bucket in windows.buckets])
    assert torch.equal(places.sort().values, torch.arange(len(coordinates)))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 1000))
def test_submanifold_convolution_is_the_dense_one_at_occupied_voxels(count, items, seed):
    extent = 4
    coordinates = some_voxels(count, items, extent, seed)
    features, weight, bias = noise(len(coordinates), 5), noise(6, 3, 3, 3, 5, seed=1), noise(6, seed=2)
    where = coordinates.long().unbind(1)
    grid = torch.zeros(items, extent, extent, extent, 5)
    grid[where] = features
    dense = F.conv3d(grid.movedim(-1, 1), weight.permute(0, 4, 1, 2, 3), bias, padding=1).movedim(1, -1)
    sparse = submanifold_convolution(features, find_neighborhood(coordinates), weight, bias)
    assert_close(sparse, dense[where], 2e-6)


def test_a_coarser_grid_pools_and_spreads():
    coordinates = torch.tensor([[0, 5, 0, 3], [0, 4, 1, 2], [0, 0, 0, 0], [1, 5, 0, 3]], dtype=torch.int32)
    grid = coarsen(coordinates)
    assert grid.coordinates.tolist() == [[0, 0, 0, 0], [0, 2, 0, 1], [1, 2, 0, 1]]
    # Divided by one more than there are, as the official weights were trained.
    assert grid.pool(torch.tensor([[3.0], [6.0], [2.0], [8.0]])).flatten().tolist() == [1, 3, 4]
    assert grid.spread(torch.tensor([[1.0], [3.0], [4.0]])).flatten().tolist() == [3, 3, 1, 4]


def test_items_of_a_batch_are_slices():
    assert item_slices(some_voxels(5, 3)) == [slice(0, 5), slice(5, 10), slice(10, 15)]


@pytest.mark.parametrize("items", [[1, 0], [0, 2], [1], [0, 1, 0], []])
def test_items_out_of_order_or_without_voxels_are_refused(items):
    coordinates = torch.tensor([[item, 0, 0, 0] for item in items], dtype=torch.int32).reshape(-1, 4)
    with pytest.raises(ValueError, match="sorted by batch item"):
        item_slices(coordinates)


def test_no_voxels_have_no_windows():
    with pytest.raises(ValueError, match="no voxels"):
        partition(torch.zeros(0, 4, dtype=torch.int32), 8, 0)
