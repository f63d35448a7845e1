"""Refinement brings a disturbed variation field back to the video."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_assets import bent, painted_body, picture
from threadpoolctl import threadpool_limits

from gvf_core.canonical import CanonicalGaussians, gaussians_on_surface
from gvf_core.canonical.surface import bound_to_surface
from gvf_core.gaussians import VariationField
from gvf_core.geometry.rotations import matrix_from_rotation_vector, nearest_rotations
from gvf_core.motion import Monitor, Motion, MotionTask
from gvf_core.motion.body import Body
from gvf_core.motion.polish import PolishOptions
from gvf_core.motion.refine import poses_of, refine
from gvf_core.rendering import orbit_camera

BODY = painted_body(size=192, axes=(0.5, 0.12, 0.1))
CAMERA = orbit_camera(0, 10, radius=1.7, size=128)
AMOUNTS = (0.0, 0.4, 0.8)
SILENT = Monitor(lambda fraction: None, lambda: False)


@pytest.fixture(scope="module", autouse=True)
def one_thread_per_operation():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def task() -> MotionTask:
    """A bending body, and Gaussians that lie a little off its surface, as those of a network do."""
    frames = [picture(bent(BODY.vertices, amount), BODY.vertices, BODY.triangles, CAMERA) for amount in AMOUNTS]
    gaussians = gaussians_on_surface(BODY, 2500, np.random.default_rng(0)).gaussians
    noise = 0.003 * torch.randn(gaussians.means.shape, generator=torch.Generator().manual_seed(0))
    canonical = CanonicalGaussians(replace(gaussians, means=gaussians.means + noise))
    return MotionTask(BODY, canonical, np.stack(frames), CAMERA, 0)


def true_means(task: MotionTask) -> torch.Tensor:
    means = task.canonical.gaussians.means.numpy()
    return torch.from_numpy(np.stack([bent(means, amount) for amount in AMOUNTS]))


def true_motion(task: MotionTask) -> Motion:
    deltas = torch.zeros(len(AMOUNTS), len(task.canonical.gaussians), 14)
    deltas[..., VariationField.MEANS] = true_means(task) - task.canonical.gaussians.means
    return Motion(VariationField(deltas), {"engine's": 1})


def disturbed(motion: Motion, task: MotionTask) -> Motion:
    """Waves across the line of sight, stronger from frame to frame."""
    deltas = motion.variation.deltas.clone()
    x = task.canonical.gaussians.means[:, 0]
    for index in range(len(deltas)):
        deltas[index, :, 2] += 0.03 * index * torch.sin(9 * x)
    return replace(motion, variation=VariationField(deltas))


def error(task: MotionTask, motion: Motion) -> float:
    """Mean distance to the truth in the plane of the picture, which x and z span."""
    found = task.canonical.gaussians.means + motion.variation.deltas[..., VariationField.MEANS]
    return float((found - true_means(task))[1:, :, ::2].norm(dim=-1).mean())


def test_a_disturbed_motion_comes_nearer_to_the_truth(task):
    before = disturbed(true_motion(task), task)
    after = refine(task, before, SILENT)
    assert error(task, after) < 0.5 * error(task, before)
    figures = after.figures["refinement"]
    assert figures["after"] < figures["before"]
    assert after.figures["engine's"] == 1


def test_what_cannot_be_bettered_stays_as_it_was(task):
    moved = disturbed(true_motion(task), task)
    frozen = PolishOptions(iterations=1, turn_rate=0.0, move_rate=0.0)
    assert refine(task, moved, SILENT, frozen).variation is moved.variation


def test_no_time_leaves_the_motion_as_it_is(task):
    moved = disturbed(true_motion(task), task)
    assert refine(task, moved, SILENT, PolishOptions(seconds=-1.0)).variation is moved.variation


def test_nodes_follow_a_variation_field(task):
    body = Body(BODY, bound_to_surface(BODY, task.canonical.gaussians, np.random.default_rng(0)))
    pose = poses_of(body, task.canonical, true_motion(task).variation)[-1]
    np.testing.assert_allclose(pose.positions, bent(body.graph.nodes, AMOUNTS[-1]), atol=0.01)
    found = body.splats(pose).means.numpy()
    truth = true_means(task)[-1].numpy()
    assert np.linalg.norm(found - truth, axis=1).mean() < 0.01


def test_gaussians_off_the_surface_keep_their_place_at_rest_and_turn_with_it(task):
    bound = bound_to_surface(BODY, task.canonical.gaussians, np.random.default_rng(0))
    body = Body(BODY, bound)
    means = task.canonical.gaussians.means.numpy()
    np.testing.assert_allclose(body.splats(body.rest).means.numpy(), means, atol=1e-5)
    turn = matrix_from_rotation_vector(np.array([0.1, 0.5, -0.3]))
    rest = body.rest
    turned = replace(rest, rotations=np.tile(turn, (len(rest.positions), 1, 1)), positions=rest.positions @ turn.T)
    np.testing.assert_allclose(body.splats(turned).means.numpy(), means @ turn.T, atol=1e-5)


def test_nearest_rotations_undo_scale_and_never_mirror():
    turns = matrix_from_rotation_vector(np.random.default_rng(0).normal(size=(5, 3)))
    np.testing.assert_allclose(nearest_rotations(3.0 * turns), turns, atol=1e-9)
    mirrored = turns @ np.diag([1.0, 1.0, -0.2])
    np.testing.assert_allclose(np.linalg.det(nearest_rotations(mirrored)), 1.0)
