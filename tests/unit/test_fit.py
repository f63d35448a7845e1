"""The engine without weights finds a known motion in a clip drawn by our own rasterizer."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.spatial.transform import Rotation
from small_assets import bent, painted_body, picture
from threadpoolctl import threadpool_limits

from gvf_core.canonical import gaussians_on_surface
from gvf_core.errors import Cancelled
from gvf_core.gaussians import VariationField
from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.motion import Monitor, Motion, MotionTask, fit
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.descent import DescentOptions
from gvf_core.motion.engine import DrivingView
from gvf_core.motion.fit import PRESETS, RIGID, FitOptions
from gvf_core.motion.picture_loss import _ConstantProduct, rotation_matrices
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.tracking import TrackingOptions
from gvf_core.rendering import orbit_camera
from gvf_core.settings import FitPreset
from gvf_core.transfer import vertices_from_gaussians

BODY = painted_body(size=192, axes=(0.5, 0.12, 0.1))
CAMERA = orbit_camera(0, 10, radius=1.7, size=128)


def task(amounts: list[float], gaussians: int = 2500, seed: int = 0) -> MotionTask:
    """A clip in which the body bends by these amounts."""
    frames = [picture(bent(BODY.vertices, amount), BODY.vertices, BODY.triangles, CAMERA) for amount in amounts]
    canonical = gaussians_on_surface(BODY, gaussians, np.random.default_rng(seed))
    return MotionTask(BODY, canonical, np.stack(frames), CAMERA, seed)


@pytest.fixture(scope="module", autouse=True)
def one_thread_per_operation():
    """As in the pipeline: these operations are so small that threads mostly wait for each other."""
    with threadpool_limits(1):
        yield


def run(given: MotionTask, preset: FitPreset = "standard") -> Motion:
    return fit(given, Monitor(lambda fraction: None, lambda: False), PRESETS[preset])


def moved_vertices(given: MotionTask, motion: Motion) -> np.ndarray:
    return vertices_from_gaussians(BODY.vertices, given.canonical.gaussians, motion.variation)


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


BENDING = [0.0, 0.5, 1.0, 1.5]


@pytest.fixture(scope="module")
def bending() -> tuple[MotionTask, Motion]:
    given = task(BENDING)
    return given, run(given)


def test_a_bending_body_is_followed(bending):
    given, motion = bending
    truth = np.stack([bent(BODY.vertices, amount) for amount in BENDING])
    found = moved_vertices(given, motion)
    unmoved = mean_distance(truth, np.broadcast_to(BODY.vertices, truth.shape))
    assert mean_distance(found, truth) < 0.5 * unmoved
    # The last frame has the whole motion, so a lag would show there.
    assert mean_distance(found[-1], truth[-1]) < 0.4 * mean_distance(BODY.vertices, truth[-1])


def test_the_first_frame_is_the_canonical_one_and_only_places_and_rotations_change(bending):
    _, motion = bending
    deltas = motion.variation.deltas
    assert deltas.shape == (4, 2500, 14)
    assert (deltas[0] == 0).all()
    assert (deltas[..., VariationField.SCALES] == 0).all()
    assert (deltas[..., VariationField.COLORS] == 0).all()
    assert (deltas[..., VariationField.OPACITY] == 0).all()


def test_a_fast_fit_follows_too_and_the_best_one_tries_a_rigid_motion_as_well():
    given = task([0.0, 0.9])
    truth = bent(BODY.vertices, 0.9)
    fast, best = run(given, "fast"), run(given, "best")
    assert set(fast.figures["video_residual"]) == {"unmoved", "tracked", "guided"}
    tried = {"unmoved", "rigid", "tracked", "descended", "guided and polished", "guided and polished again"}
    assert set(best.figures["video_residual"]) == tried
    # Without a polish the place is found, less so the shape.
    for motion, most in ((fast, 0.9), (best, 0.5)):
        assert mean_distance(moved_vertices(given, motion)[1], truth) < most * mean_distance(BODY.vertices, truth)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    given, results = task([0.0, 0.4, 0.9], gaussians=800), set()
    for threads in (1, 3):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.add(run(given, "best").variation.deltas.numpy().tobytes())
    assert len(results) == 1


def test_previews_are_of_one_of_the_ways_that_are_tried_at_the_same_time(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    several = FitOptions(
        {"rigid": RIGID, "tracked": TrackingOptions()}, DescentOptions(iterations=2), None, guided=False
    )
    frames: list[int] = []
    monitor = Monitor(lambda fraction: None, lambda: False, lambda frame, picture: frames.append(frame))
    fit(task([0.0, 0.5, 1.0], gaussians=800), monitor, several)
    assert frames == [1, 2]


def test_a_body_that_turns_as_a_whole_is_explained_by_a_rigid_motion():
    turns = [matrix_from_rotation_vector(np.array([0.0, angle, 0.0])) for angle in (0.0, 0.15, 0.3)]
    frames = [picture(BODY.vertices @ turn.T, BODY.vertices, BODY.triangles, CAMERA) for turn in turns]
    given = replace(task([0.0, 0.1], gaussians=800), frames=np.stack(frames))
    rigid = FitOptions({"rigid": RIGID}, None, None, guided=False)
    motion = fit(given, Monitor(lambda fraction: None, lambda: False), rigid)
    assert motion.figures["hypothesis"] == "rigid"
    found = moved_vertices(given, motion)[-1].astype(np.float64)
    lengths = [np.linalg.norm(np.diff(v[BODY.triangles], axis=1), axis=-1) for v in (BODY.vertices, found)]
    assert np.abs(lengths[1] / lengths[0] - 1).mean() < 0.03
    # Across the line of sight, which runs along y but for 10 degrees; one view does not tell the depth.
    truth = BODY.vertices @ turns[-1].T
    assert mean_distance(found[:, ::2], truth[:, ::2]) < 0.2 * mean_distance(BODY.vertices[:, ::2], truth[:, ::2])


def test_a_second_view_shows_the_depth_that_one_does_not():
    """The body goes away from the first camera."""
    side = orbit_camera(90, 10, radius=1.7, size=128)
    meshes = [BODY.vertices + np.array([0.0, away, 0.0]) for away in (0.0, 0.1, 0.2)]
    seen = [
        np.stack([picture(mesh, BODY.vertices, BODY.triangles, camera) for mesh in meshes]) for camera in (CAMERA, side)
    ]
    alone = replace(task([0.0, 0.1]), frames=seen[0])
    both = replace(alone, more_views=(DrivingView(seen[1], side),))
    errors = [mean_distance(moved_vertices(one, run(one))[-1], meshes[-1]) for one in (alone, both)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.2 * 0.2


def test_the_figures_say_which_explanation_won(bending):
    _, motion = bending
    residuals = motion.figures["video_residual"]
    assert motion.figures["hypothesis"] == "guided and polished"
    assert residuals["guided and polished"] < residuals["tracked"] < residuals["unmoved"]
    assert min(residuals.values()) < 0.5 * residuals["unmoved"]
    assert motion.warnings == ()


def test_gaussians_turn_with_the_surface(bending):
    given, motion = bending
    splats = given.canonical.gaussians.activate(motion.variation.deltas)
    w, x, y, z = splats.quaternions[-1].unbind(-1)
    normal = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=-1).numpy()
    mesh = bent(BODY.vertices, BENDING[-1])
    a, b, c = np.moveaxis(mesh[BODY.triangles[given.canonical.points.triangle]], 1, 0)
    expected = np.cross(b - a, c - a)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs((normal * expected).sum(axis=1)).mean() > 0.95


def test_a_still_video_gives_no_motion_and_says_so():
    given = task([0.0, 0.0, 0.0])
    noise = np.random.default_rng(0).normal(0, 0.02, given.frames.shape).astype(np.float32)
    motion = run(replace(given, frames=(given.frames + noise).clip(0, 1)))
    assert not motion.variation.deltas.any()
    assert "shows no motion" in motion.warnings[0]


def test_two_frames_are_enough():
    given = task([0.0, 0.9])
    found = moved_vertices(given, run(given))
    truth = bent(BODY.vertices, 0.9)
    assert np.isfinite(found).all()
    assert mean_distance(found[1], truth) < 0.6 * mean_distance(BODY.vertices, truth)


def test_the_same_seed_gives_the_same_bytes():
    first, second = (run(task([0.0, 0.4, 0.8], gaussians=400, seed=5)).variation.deltas for _ in range(2))
    assert torch.equal(first, second)


def test_frames_in_which_the_object_vanishes_do_not_break_the_engine():
    given = task([0.0, 0.4, 0.8], gaussians=400)
    frames = given.frames.copy()
    frames[1] = 0
    assert run(replace(given, frames=frames)).variation.deltas.isfinite().all()


@pytest.mark.parametrize("allowed", [0, 1, 15, 30])  # it asks 50 times and more, by the speed of the machine
def test_a_cancelled_fit_stops_at_the_next_question(allowed):
    given = task([0.0, 0.4, 0.8], gaussians=400)
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(len(asked) >= allowed)
        return asked[-1]

    with pytest.raises(Cancelled):
        fit(given, Monitor(lambda fraction: None, cancelled))
    assert asked == [False] * allowed + [True]


def test_progress_never_falls_and_stays_within_the_whole():
    seen: list[float] = []
    fit(task([0.0, 0.4, 0.8], gaussians=400), Monitor(seen.append, lambda: False))
    assert seen == sorted(seen)
    assert seen[0] == 0 and 0.9 < seen[-1] <= 1
    assert len(seen) > 20


def test_every_frame_is_shown_as_soon_as_it_is_tracked():
    given = task([0.0, 0.4, 0.8], gaussians=400)
    shown: list[tuple[int, np.ndarray]] = []
    fit(given, Monitor(lambda fraction: None, lambda: False, lambda *seen: shown.append(seen)), PRESETS["fast"])
    assert [frame for frame, _ in shown] == [1, 2]
    for frame, drawn in shown:
        assert drawn.shape == given.frames[frame].shape
        # Nearer to its own frame than the first one is.
        assert np.abs(drawn - given.frames[frame]).mean() < np.abs(given.frames[0] - given.frames[frame]).mean()


def test_a_part_of_a_monitor_fills_its_share():
    seen: list[float] = []
    half = Monitor(seen.append, lambda: False).part(0.5, 1).part(0.5, 1)
    for fraction in (0, 0.5, 1):
        half(fraction)
    assert seen == [0.75, 0.875, 1]


# Parts


@pytest.fixture(scope="module")
def posable() -> tuple[Body, Pose]:
    """A body of few nodes, and a pose in which it is turned and moved as a whole."""
    body = Body(BODY, gaussians_on_surface(BODY, 300, np.random.default_rng(0)), node_count=12)
    turn, move = matrix_from_rotation_vector(np.array([0.2, -0.7, 0.4])), np.array([0.05, 0.1, -0.1])
    return body, Pose(np.tile(turn, (12, 1, 1)), body.graph.nodes @ turn.T + move)


def test_the_rest_pose_is_the_asset_as_captured(posable):
    body, _ = posable
    np.testing.assert_allclose(body.deform(body.rest), BODY.vertices, atol=1e-12)
    positions = body.points.positions(BODY.vertices, BODY.triangles)
    np.testing.assert_allclose(body.splats(body.rest).means, positions, atol=1e-6)


def test_a_rigid_pose_turns_mesh_and_gaussians_alike(posable):
    body, pose = posable
    rest, splats = body.splats(body.rest), body.splats(pose)
    turn, move = pose.rotations[0], pose.positions[0] - pose.rotations[0] @ body.graph.nodes[0]
    np.testing.assert_allclose(body.deform(pose), BODY.vertices @ turn.T + move, atol=1e-6)
    np.testing.assert_allclose(splats.means, rest.means.numpy() @ turn.T + move, atol=1e-5)
    before, after = (Rotation.from_quat(s.quaternions, scalar_first=True).as_matrix() for s in (rest, splats))
    np.testing.assert_allclose(after, turn @ before, atol=1e-5)
    np.testing.assert_allclose(splats.quaternions.norm(dim=1), 1, atol=1e-5)
    np.testing.assert_array_equal(splats.scales, rest.scales)


def test_gradients_through_a_constant_product_are_those_of_a_dense_one():
    matrix = sparse.random(30, 20, density=0.2, random_state=0, dtype=np.float32, format="csr")
    first = torch.randn(20, 3, requires_grad=True)
    second = first.detach().clone().requires_grad_(True)
    weight = torch.randn(30, 3)
    product = _ConstantProduct.apply(first, matrix, matrix.T.tocsr())
    dense = torch.from_numpy(matrix.toarray()) @ second
    torch.testing.assert_close(product, dense)
    (product.square() * weight).sum().backward()
    (dense.square() * weight).sum().backward()
    torch.testing.assert_close(first.grad, second.grad)


def test_rotation_matrices_of_the_polish_have_exact_values_and_gradients_at_zero_too():
    vectors = torch.tensor([[0.0, 0, 0], [0.3, -0.5, 1.1], [2.0, 0, 0]], requires_grad=True)
    matrices = rotation_matrices(vectors)
    np.testing.assert_allclose(matrices.detach(), matrix_from_rotation_vector(vectors.detach().numpy()), atol=1e-6)
    (gradient,) = torch.autograd.grad(matrices[0, 2, 1] - matrices[0, 1, 2], vectors)
    assert gradient[0].tolist() == pytest.approx([2, 0, 0])
    assert gradient.isfinite().all()


def test_the_polish_brings_a_displaced_body_back_and_keeps_the_first_frame():
    still = task([0.0, 0.0, 0.0])
    body = Body(BODY, still.canonical, node_count=12)
    off = Pose(body.rest.rotations, body.rest.positions + np.array([0.02, 0, 0.015]))
    polished = polish(
        body,
        still.views,
        [body.rest, off, off],
        PolishOptions(),
        Monitor(lambda fraction: None, lambda: False),
    )
    np.testing.assert_array_equal(polished[0].positions, body.graph.nodes)
    for pose in polished[1:]:
        before, after = (np.abs(body.draw(p, CAMERA) - still.frames[1]).mean() for p in (off, pose))
        assert after < 0.6 * before
        # In the picture; a single view does not show depth.
        shown, wrong, right = (CAMERA.project(v)[0] for v in (body.deform(pose), body.deform(off), BODY.vertices))
        assert mean_distance(shown, right) < 0.8 * mean_distance(wrong, right)
