"""Our interpolation gives the numbers of the official code.

The files in `data` hold random points and what `compute_delta_interp` of ForeverFancy/GVFDiffusion (commit f2317cb)
made of them: `queries` [items, queries, 3], `points` [items, points, 3], `moved_points` [items, frames, points, 3]
and `displacements` [items, frames, queries, 3].
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gvf_core.geometry import interpolation_weights

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(("neighbors", "decay"), [(8, 7), (4, 10)])
def test_interpolated_displacements_equal_the_official_ones(neighbors, decay):
    tensors = load_file(DATA / f"interpolation_k{neighbors}_beta{decay}.safetensors")
    for queries, points, moved_points, displacements in zip(
        *(tensors[name] for name in ("queries", "points", "moved_points", "displacements")), strict=True
    ):
        weights = interpolation_weights(queries, points, neighbors, decay)
        torch.testing.assert_close(weights.apply(moved_points - points), displacements, atol=1e-5, rtol=0)
