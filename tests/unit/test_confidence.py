"""Confidence is high where the video shows what is claimed, and low elsewhere."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_assets import bent, painted_body, picture

from gvf_core.canonical import gaussians_on_surface
from gvf_core.gaussians import VariationField
from gvf_core.motion.confidence import HIDDEN, TOLERATED, confidence
from gvf_core.motion.engine import DrivingView, Motion, MotionTask
from gvf_core.rendering import orbit_camera

BODY = painted_body(size=192, axes=(0.5, 0.12, 0.1))
CAMERA = orbit_camera(0, 10, radius=1.7, size=128)
AMOUNTS = (0.0, 0.8)


@pytest.fixture(scope="module")
def found() -> dict[str, np.ndarray]:
    """Confidence of the true bending, and of standing still, under a video of the bending; and where Gaussians lie."""
    frames = np.stack([picture(bent(BODY.vertices, a), BODY.vertices, BODY.triangles, CAMERA) for a in AMOUNTS])
    gaussians = gaussians_on_surface(BODY, 2000, np.random.default_rng(0)).gaussians
    means = gaussians.means.numpy()
    deltas = torch.zeros(2, len(gaussians), 14)
    still = VariationField(deltas.clone())
    deltas[1, :, VariationField.MEANS] = torch.from_numpy(bent(means, AMOUNTS[1]) - means)
    rest = np.stack([BODY.vertices, BODY.vertices])
    true = np.stack([bent(BODY.vertices, amount) for amount in AMOUNTS])
    behind = orbit_camera(180, 10, radius=1.7, size=128)
    other = np.stack([picture(bent(BODY.vertices, a), BODY.vertices, BODY.triangles, behind) for a in AMOUNTS])
    task = MotionTask(BODY, SimpleNamespace(gaussians=gaussians), frames, CAMERA, 0)
    moved = Motion(VariationField(deltas))
    error = np.where(means[:, 0] < 0, 0.01, 0.3) * np.ones((2, 1))
    movable = np.clip(BODY.vertices[:, 0] * 10 + 0.5, 0, 1).astype(np.float32)
    return {
        "true": confidence(task, moved, true),
        "still": confidence(task, Motion(still), rest),
        "guided": confidence(task, replace(moved, expected_error=error), true),
        "pinned": confidence(replace(task, capture=replace(BODY, movable=movable)), moved, true),
        "both": confidence(replace(task, more_views=(DrivingView(other, behind),)), moved, true),
        "means": means,
    }


def test_the_first_frame_is_known(found):
    assert (found["true"][0] == 1).all() and (found["still"][0] == 1).all()


def test_the_side_that_the_video_does_not_show_is_a_guess(found):
    # The camera looks along +y.
    behind, before = found["means"][:, 1] > 0.05, found["means"][:, 1] < -0.05
    assert (found["true"][1][behind] == np.float32(HIDDEN)).mean() > 0.9
    assert (found["true"][1][before] > HIDDEN).mean() > 0.95


def test_motion_that_the_video_shows_is_trusted_more_than_another(found):
    tips = (np.abs(found["means"][:, 0]) > 0.35) & (found["means"][:, 1] < 0)
    assert found["true"][1][tips].mean() > 0.7
    assert found["still"][1][tips].mean() < 0.5
    assert found["true"].min() >= 0 and found["true"].max() <= 1


def test_where_the_prior_was_asked_it_says_how_far_each_can_be_trusted(found):
    left = found["means"][:, 0] < 0
    guided = found["guided"][1]
    np.testing.assert_allclose(guided[left], np.exp(-0.01 / TOLERATED), rtol=1e-5)
    np.testing.assert_allclose(guided[~left], np.exp(-0.3 / TOLERATED), rtol=1e-5)
    assert (found["guided"][0] == 1).all()


def test_what_a_second_video_shows_is_no_guess(found):
    behind, before = found["means"][:, 1] > 0.05, found["means"][:, 1] < -0.05
    assert (found["both"][1][behind] > HIDDEN).mean() > 0.95
    assert (found["both"][1][before] >= found["true"][1][before] - 1e-6).all()


def test_what_is_held_still_is_sure_as_far_as_it_is_held(found):
    left, right = found["means"][:, 0] < -0.1, found["means"][:, 0] > 0.1
    assert (found["pinned"][1][left] == 1).all()
    np.testing.assert_allclose(found["pinned"][1][right], found["true"][1][right], atol=1e-6)
    between = found["pinned"][1][~left & ~right]
    assert (between >= found["true"][1][~left & ~right] - 1e-6).all() and between.min() < 1
