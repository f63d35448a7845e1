"""Confidence is low where much is claimed, and where the video shows something else."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_assets import bent, painted_body, picture

from gvf_core.canonical import gaussians_on_surface
from gvf_core.gaussians import VariationField
from gvf_core.motion import confidence as confidence_module
from gvf_core.motion.confidence import TOLERATED, confidence
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
        "dark": confidence(replace(task, frames=frames * np.float32([0.9, 0.9, 0.9, 1])), moved, true),
        "guided": confidence(task, replace(moved, expected_error=error), true),
        "pinned": confidence(replace(task, capture=replace(BODY, movable=movable)), moved, true),
        "both": confidence(replace(task, more_views=(DrivingView(other, behind),)), moved, true),
        "means": means,
    }


def test_the_first_frame_is_known(found):
    assert (found["true"][0] == 1).all() and (found["still"][0] == 1).all()


def test_what_moves_far_and_bends_is_less_sure(found):
    ends = np.abs(found["means"][:, 0])
    middle, tips = ends < 0.1, ends > 0.4
    assert found["true"][1][middle].mean() > found["true"][1][tips].mean() + 0.3
    assert found["true"].min() >= 0 and found["true"].max() <= 1


def test_what_does_not_look_like_the_video_is_not_trusted_although_it_hardly_moves(found):
    tips = (np.abs(found["means"][:, 0]) > 0.35) & (found["means"][:, 1] < 0)
    # The camera looks along +y: what it does not see is not held against a motion.
    behind = found["means"][:, 1] > 0.05
    assert found["still"][1][tips].mean() < 0.6
    assert (found["still"][1][behind] > 0.9).mean() > 0.8
    assert np.abs(found["true"][1][tips] - found["dark"][1][tips]).mean() < 0.1


def test_where_the_prior_was_asked_it_says_how_far_each_can_be_trusted(found):
    left = found["means"][:, 0] < 0
    guided = found["guided"][1]
    np.testing.assert_allclose(guided[left], np.exp(-0.01 / TOLERATED), rtol=1e-5)
    np.testing.assert_allclose(guided[~left], np.exp(-0.3 / TOLERATED), rtol=1e-5)
    assert (found["guided"][0] == 1).all()


def test_two_videos_leave_less_to_guess(found):
    assert (found["both"][1] >= found["true"][1] - 1e-6).mean() > 0.9
    assert found["both"][1].mean() > found["true"][1].mean() + 0.05


def test_what_is_held_still_is_sure_as_far_as_it_is_held(found):
    left, right = found["means"][:, 0] < -0.1, found["means"][:, 0] > 0.1
    assert (found["pinned"][1][left] == 1).all()
    np.testing.assert_allclose(found["pinned"][1][right], found["true"][1][right], atol=1e-6)
    between = found["pinned"][1][~left & ~right]
    assert (between >= found["true"][1][~left & ~right] - 1e-6).all() and between.min() < 1


def test_more_gaussians_are_no_surer(monkeypatch):
    """Neighbours in a denser crowd are nearer and differ less; what is compared has the same density."""
    means = {}
    monkeypatch.setattr(confidence_module, "COMPARED", 1000)
    for count in (1000, 8000):
        gaussians = gaussians_on_surface(BODY, count, np.random.default_rng(0)).gaussians
        rest = gaussians.means.numpy()
        deltas = torch.zeros(2, count, 14)
        deltas[1, :, VariationField.MEANS] = torch.from_numpy(bent(rest, AMOUNTS[1]) - rest)
        task = MotionTask(BODY, SimpleNamespace(gaussians=gaussians), np.zeros((2, 8, 8, 4), np.float32), CAMERA, 0)
        means[count] = confidence_module._error_by_motion(task, Motion(VariationField(deltas)))[1].mean()
    assert means[8000] == pytest.approx(means[1000], rel=0.1)
