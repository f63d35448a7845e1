"""Confidence is measured beside the true error of the Gaussians."""

import numpy as np
import pytest
import trimesh

from gvf_core.evaluation.confidence_errors import confidence_errors


@pytest.fixture
def lifted():
    """A bar that is lifted frame by frame, Gaussians on it, and what each of them lags behind."""
    box = trimesh.creation.box((1.0, 0.4, 0.2)).subdivide().subdivide()
    rest, triangles = np.asarray(box.vertices, np.float64), np.asarray(box.faces, np.int32)
    lift = np.linspace(0, 0.3, 4)[:, None, None] * (0, 0, 1)
    rng = np.random.default_rng(0)
    places = rest[rng.integers(0, len(rest), 200)]
    lag = rng.random((4, 200))
    means = places + lift * (1 - 0.5 * lag[..., None])
    return rest + lift, triangles, means, 0.5 * lag * lift[..., 2]


def compare(lifted, confidence):
    truth, triangles, means, _ = lifted
    return confidence_errors(confidence, means, truth, triangles, np.random.default_rng(0), 2000)


def test_confidence_that_knows_the_error_orders_it(lifted):
    error = lifted[3]
    knows = compare(lifted, 1 - error)
    assert knows.confidence_rank == pytest.approx(1, abs=1e-4)
    quarters = np.sort(error[1:].ravel()).reshape(4, -1).mean(axis=1) / error[1:].mean()
    assert (knows.trusted_error, knows.doubted_error) == pytest.approx((quarters[0], quarters[3]), rel=1e-4)
    wrong = compare(lifted, error)
    assert wrong.confidence_rank == pytest.approx(-1, abs=1e-4)
    assert wrong.trusted_error == pytest.approx(knows.doubted_error)


def test_confidence_by_chance_tells_nothing(lifted):
    chance = compare(lifted, np.random.default_rng(1).random(lifted[3].shape))
    assert abs(chance.confidence_rank) < 0.15
    assert chance.trusted_error == pytest.approx(1, abs=0.2)


def test_confidence_that_is_the_same_everywhere_has_no_order(lifted):
    same = compare(lifted, np.full(lifted[3].shape, 0.5))
    assert same.confidence_rank is None
    assert same.trusted_error == pytest.approx(1, abs=0.2)


def test_nothing_wrong_is_nothing_to_know(lifted):
    truth, triangles, _, _ = lifted
    still = np.zeros((4, 5, 3)) + truth[0][:5]
    unmoved = np.repeat(truth[:1], 4, axis=0)
    assert confidence_errors(np.ones((4, 5)), still, unmoved, triangles, np.random.default_rng(0), 100) is None
