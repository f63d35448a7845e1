"""Farthest-point sampling against its definition."""

import numpy as np
import pytest

from gvf_core.geometry import farthest
from gvf_core.geometry.farthest import farthest_point_indices

POINTS = {
    "cloud": np.random.default_rng(0).random((3000, 3)),
    "six dimensions": np.random.default_rng(1).normal(size=(2000, 6)),
    # Full of ties.
    "lattice": np.stack(np.meshgrid(*[np.arange(10.0)] * 3), axis=-1).reshape(-1, 3),
    "one place": np.zeros((700, 3)),
    "few": np.random.default_rng(2).random((3, 2)),
}


def by_definition(points, count, start):
    nearest = np.full(len(points), np.inf, np.float32)
    selected = [start]
    while len(selected) < count:
        squared = np.zeros(len(points), np.float32)
        for axis in points.T:
            squared += (axis - axis[selected[-1]]) ** 2
        nearest = np.minimum(nearest, squared)
        selected.append(int(np.argmax(nearest)))
    return selected


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("name", POINTS)
def test_each_is_the_farthest_from_those_before(name, start, monkeypatch):
    points = POINTS[name].astype(np.float32)
    count = min(len(points), 400)
    expected = by_definition(points, count, start)
    for box_points in (farthest.BOX_POINTS, 16):
        monkeypatch.setattr(farthest, "BOX_POINTS", box_points)
        assert farthest_point_indices(points, count, start).tolist() == expected
