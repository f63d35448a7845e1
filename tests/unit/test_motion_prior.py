"""The motion prior: its network, its frames, its training examples, its training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gvf_core.errors import FileFormatError, SettingsError, WeightsError
from gvf_core.models.motion_prior import (
    SHIPPED,
    MotionPrior,
    MotionPriorParams,
    encode_motion_prior,
    load_motion_prior,
    predict_motion,
    window_indices,
)
from gvf_core.models.motion_prior_network import PointMotion, PointTracks, spread_motion
from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.training import motion_prior_training
from gvf_core.training.motion_clips import (
    AssetMotion,
    held_out_families,
    read_asset_motions,
    sample_motion,
    split_by_family,
    write_asset_motion,
)
from gvf_core.training.motion_prior_data import (
    ClipPool,
    clip_pool,
    evaluation_placement,
    exact_tracks,
    lifted_displacement,
    noisy_tracks,
    random_placement,
    view_clips,
    visible_points,
)
from gvf_core.training.motion_prior_training import (
    TrainingSettings,
    copy_motion,
    deepen,
    evaluate_motion_prior,
    motion_loss,
    train_motion_prior,
)
from gvf_core.training.orthogonal_momentum import orthogonalize

SMALL = MotionPriorParams(width=16, frame_width=8, blocks=2, heads=2, parts=4, bands=2)
SHIPPED_FILE = Path(load_motion_prior.__code__.co_filename).parent / SHIPPED


def small_prior(seed: int = 0, *, trained: bool = False) -> MotionPrior:
    torch.manual_seed(seed)
    network = MotionPrior(SMALL)
    if trained:
        # As if trained: the layers that start at zero say something.
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return network.eval()


def rotation(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def ball(count: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def swinging_arm(count: int = 400, frames: int = 24, swing: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of two thick links along z; the upper one swings towards -y."""
    rng = np.random.default_rng(3)
    around, height = rng.uniform(0, 2 * np.pi, count), rng.uniform(-0.5, 0.5, count)
    normals = np.stack([np.cos(around), np.sin(around), np.zeros(count)], axis=1)
    points = 0.1 * normals + height[:, None] * np.array([0, 0, 1])
    upper = (height > 0)[:, None]
    poses, turned = [], []
    for part in np.linspace(0, 1, frames):
        turn = rotation((1, 0, 0), swing * np.sin(np.pi * part))
        poses.append(np.where(upper, points @ turn.T, points))
        turned.append(np.where(upper, normals @ turn.T, normals))
    return np.stack(poses), np.stack(turned)


def arm_asset(name: str = "arm", family: str = "arms", category: str = "robot", windows: int = 2) -> AssetMotion:
    positions, normals = zip(*(swinging_arm(swing=0.6 + 0.4 * index) for index in range(windows)), strict=True)
    return AssetMotion(
        name,
        family,
        category,
        tuple(f"swing@{index}.00" for index in range(windows)),
        np.stack(positions).astype(np.float16),
        np.round(np.stack(normals) * 127).astype(np.int8),
    )


def arm_pool(windows: int = 2) -> ClipPool:
    return clip_pool([arm_asset(windows=windows)])


def test_clips_that_make_no_pool_are_a_sentence():
    late = replace(arm_asset(windows=1), windows=("swing@1.30",))
    with pytest.raises(FileFormatError, match=r"None of the assets .+ has the start of a clip"):
        clip_pool([late], starts_only=True)
    with pytest.raises(FileFormatError, match="has a clip"):
        clip_pool([replace(late, windows=(), positions=late.positions[:0], normals=late.normals[:0])])
    fewer = replace(late, positions=late.positions[:, :, :100], normals=late.normals[:, :, :100])
    with pytest.raises(FileFormatError, match=r"different numbers of frames x points: \d+ x 100, \d+ x 400"):
        clip_pool([late, fewer])


def arm_video(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rest positions, normals, perfect tracks, and the truth."""
    poses, normals = (values[:16] for values in swinging_arm())
    return poses[0], normals[0], camera.project(poses)[0], poses - poses[0]


def test_an_untrained_prior_lets_tracked_points_move_in_the_plane_of_the_image_and_no_point_in_depth():
    views = view_clips(arm_pool(), evaluation_placement(arm_pool(), torch.tensor([0, 1]), 16))
    tracks = exact_tracks(views)
    motion = small_prior()(tracks)
    assert motion.displacement.shape == (2, 16, 400, 3)
    assert motion.sigma.shape == (2, 16, 400)
    tracked = tracks.confidence > 0
    torch.testing.assert_close(motion.displacement[..., 2], torch.zeros(2, 16, 400))
    gate = torch.sigmoid(torch.tensor(2.0))
    torch.testing.assert_close(motion.displacement[..., :2][tracked], gate * tracks.lifted[tracked])


def test_the_order_of_the_points_does_not_matter():
    views = view_clips(arm_pool(), evaluation_placement(arm_pool(), torch.tensor([0, 1]), 16))
    tracks, network = exact_tracks(views), small_prior(trained=True)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    here, there = network(tracks), network(tracks.select(order))
    torch.testing.assert_close(there.displacement, here.displacement[:, :, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(there.sigma, here.sigma[:, :, order], atol=1e-5, rtol=1e-4)


def test_what_a_lost_track_says_changes_nothing():
    camera, network = orbit_camera(20, 10, size=256), small_prior(trained=True)
    positions, normals, pixels, _ = arm_video(camera)
    confidence = (np.random.default_rng(0).random((16, len(positions))) < 0.6).astype(np.float32)
    wild = np.where(confidence[..., None] > 0, pixels, np.nan)
    first = predict_motion(network, positions, normals, pixels, confidence, camera)
    second = predict_motion(network, positions, normals, wild, confidence, camera)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("frames", "points"), [(16, 400), (1, 50), (5, 1), (37, 700)])
def test_any_number_of_frames_and_points_is_predicted_and_twice_the_same(frames: int, points: int):
    camera, rng = orbit_camera(20, 10, size=256), np.random.default_rng(0)
    positions, network = 0.5 * ball(points), small_prior(trained=True)
    if points == 1:
        positions = np.zeros((1, 3))
    pixels = camera.project(positions)[0] + rng.normal(size=(frames, points, 2))
    answers = [
        predict_motion(network, positions, ball(points), pixels, np.ones((frames, points)), camera) for _ in "12"
    ]
    (displacement, sigma), again = answers
    assert displacement.shape == (frames, points, 3)
    assert sigma.shape == (frames, points)
    assert np.isfinite(displacement).all()
    assert (sigma > 0).all()
    assert np.array_equal(displacement, again[0])
    assert np.array_equal(sigma, again[1])


def test_the_world_may_turn_and_move_and_grow_together_with_the_camera():
    camera, network = orbit_camera(20, 10, size=256), small_prior(trained=True)
    positions, normals, pixels, _ = arm_video(camera)
    confidence = np.ones(pixels.shape[:2])
    # A quarter turn: the unit of length is the longest side of the box along the axes, which other turns change.
    turn, shift, size = rotation((0, 1, 0), np.pi / 2), np.array([0.3, -2.0, 1.0]), 2.5
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = camera.world_to_camera[:3, :3] @ turn.T, camera.world_to_camera[:3, 3] * size
    world[:3, 3] -= world[:3, :3] @ shift
    moved = replace(camera, world_to_camera=world)
    elsewhere = size * positions @ turn.T + shift
    np.testing.assert_allclose(moved.project(elsewhere)[0], pixels[0], atol=1e-6)

    here, sigma = predict_motion(network, positions, normals, pixels, confidence, camera)
    there, sigma_there = predict_motion(
        network, elsewhere, normals @ turn.T, pixels, confidence, moved, up=tuple(turn[:, 2])
    )
    np.testing.assert_allclose(there, size * here @ turn.T, atol=2e-4)
    np.testing.assert_allclose(sigma_there, size * sigma, rtol=1e-3)


def test_the_network_sees_in_use_what_it_saw_in_training():
    pool = arm_pool(windows=1)
    seen = exact_tracks(view_clips(pool, evaluation_placement(pool, torch.tensor([0]), 24)))
    poses = pool.positions[0].numpy().astype(np.float64)
    low, high = poses.min(axis=(0, 1)), poses.max(axis=(0, 1))
    camera = orbit_camera(45, 15, radius=2 * (high - low).max(), size=256)
    world = camera.world_to_camera.copy()
    world[:3, 3] -= world[:3, :3] @ ((low + high) / 2)
    camera = replace(camera, world_to_camera=world)
    given: list[PointTracks] = []

    def spy(tracks: PointTracks) -> PointMotion:
        given.append(tracks)
        return PointMotion(torch.zeros(1, 16, 400, 3), torch.ones(1, 16, 400))

    confidence = seen.confidence[0, :16].numpy()
    normals = pool.normals[0, 0].numpy().astype(np.float64)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    predict_motion(
        spy,
        poses[0],
        normals,
        camera.project(poses[:16])[0],
        confidence,
        camera,
        at_rest=seen.at_rest[0].bool().numpy(),
    )
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    expected = replace(seen, lifted=seen.lifted[:, :16], confidence=seen.confidence[:, :16]).select(order)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(given[0], name), value, atol=2e-3, rtol=0)


def test_the_mirror_image_of_a_clip_moves_like_a_mirror_image():
    camera, network, flip = orbit_camera(0, 10, size=256), small_prior(trained=True), np.array([-1, 1, 1])
    positions, normals, pixels, _ = arm_video(camera)
    confidence = np.ones(pixels.shape[:2])
    here, _ = predict_motion(network, positions, normals, pixels, confidence, camera)
    mirrored = np.stack([256 - pixels[..., 0], pixels[..., 1]], axis=-1)
    there, _ = predict_motion(network, positions * flip, normals * flip, mirrored, confidence, camera)
    np.testing.assert_allclose(there, here * flip, atol=2e-5)


def test_an_asset_around_the_camera_is_refused():
    positions = 0.5 * ball(30)
    with pytest.raises(ValueError, match="away from the middle"):
        predict_motion(
            small_prior(), positions, ball(30), np.zeros((3, 30, 2)), np.ones((3, 30)), orbit_camera(0, 0, radius=0.2)
        )


def test_windows_cover_every_frame_and_overlap_by_half():
    for frames in (16, 17, 24, 40, 41):
        windows = window_indices(frames)
        assert windows.shape[1] == 16
        assert set(windows.flatten().tolist()) == set(range(frames))
        assert (windows[:, 0].diff() <= 8).all()
    assert window_indices(4).tolist() == [[0, 1, 2, 3]]


def test_hidden_points_get_the_motion_of_the_nearest_tracked_ones_however_far():
    positions = torch.tensor([[[0.0, 0, 0], [0.6, 0, 0], [1.0, 0, 0]]])
    lifted = torch.tensor([[[[1.0, 0], [9, 9], [0, 2]]]])
    apart = torch.cdist(positions, positions)
    moved, tracked = spread_motion(apart, lifted, torch.tensor([[[1.0, 0, 1]]]), 0.033)
    torch.testing.assert_close(moved[0, 0, 1], torch.tensor([0.0, 2]), atol=0.01, rtol=0)
    assert tracked[0, 0, 1] < 1e-3
    nothing, _ = spread_motion(apart, lifted, torch.zeros(1, 1, 3), 0.033)
    assert not nothing.any()


def test_the_camera_sees_the_near_half_of_a_ball_and_both_sides_of_a_sheet():
    normals = torch.from_numpy(ball(2048)).float()[None, None]
    seen = visible_points(0.5 * normals, normals, torch.tensor([2.0]))[0, 0]
    facing = (normals * (0.5 * normals + torch.tensor([0, 0, 2.0]))).sum(dim=-1)[0, 0] < 0
    assert (seen == facing).float().mean() > 0.97
    sheet = torch.rand(1, 1, 2048, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1, 0]) - 0.5
    for side in (1.0, -1.0):
        assert visible_points(sheet, torch.tensor([0, 0, side]).expand_as(sheet), torch.tensor([2.0])).all()


def test_exact_tracks_are_projections_and_noise_has_the_stated_size():
    pool = arm_pool()
    views = view_clips(pool, evaluation_placement(pool, torch.tensor([0, 1]), 16))
    moved = views.positions[:, None] + views.displacement
    depth = views.distance[:, None] + views.positions[..., 2]
    seen = moved[..., :2] / (moved[..., 2:] + views.distance[:, None, None, None]) * depth[:, None, :, None]
    torch.testing.assert_close(lifted_displacement(views), seen - views.positions[:, None, :, :2])
    tracked = exact_tracks(views).confidence > 0
    assert not (tracked & ~views.visible).any()

    exact = lifted_displacement(views)
    for level, expected in ((0.0, 0.0), (1.0, 1.0)):
        noisy = noisy_tracks(views, torch.Generator().manual_seed(0), torch.full((2,), level))
        pixels = (noisy.lifted - exact)[noisy.confidence > 0] / views.pixel.mean()
        assert pixels.abs().median() == pytest.approx(0.5 * expected, abs=0.25 * expected)
        assert not (noisy.confidence > 0)[~tracked].any()


def test_examples_are_the_same_for_the_same_seed_and_differ_otherwise():
    pool = arm_pool()

    def example(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return noisy_tracks(view_clips(pool, random_placement(pool, 3, 16, generator)), generator).lifted

    assert torch.equal(example(1), example(1))
    assert not torch.equal(example(1), example(2))


def test_examples_have_rest_poses_of_unit_size_and_rest_frames_anywhere():
    pool = arm_pool()
    placement = random_placement(pool, 64, 16, torch.Generator().manual_seed(0))
    views = view_clips(pool, placement)
    assert views.positions.abs().max() < 1
    assert views.displacement.isfinite().all()
    at_start = (placement.rest_time == placement.times[:, 0]).float().mean()
    assert 0.3 < at_start < 0.7
    assert placement.times.min() >= 0
    assert placement.times.max() <= 23


def test_families_are_split_the_same_way_every_time_and_none_is_on_both_sides():
    families = [(category, f"{category}{index}") for category in ("bird", "fish") for index in range(9)]
    held = held_out_families([*families, ("face", "alone")])
    assert held == held_out_families(reversed([("face", "alone"), *families]))
    assert len(held) == 4
    assert "alone" not in held
    assets = [arm_asset(f"a{index}", f"f{index // 2}") for index in range(8)]
    train, test = split_by_family(assets)
    assert len(test) == 2
    assert not {asset.family for asset in train} & {asset.family for asset in test}


def test_prepared_clips_survive_their_file(tmp_path: Path):
    asset = arm_asset()
    write_asset_motion(tmp_path, asset)
    (again,) = read_asset_motions(tmp_path)
    assert (again.asset, again.family, again.category, again.windows) == ("arm", "arms", "robot", asset.windows)
    assert np.array_equal(again.positions, asset.positions)
    assert np.array_equal(again.normals, asset.normals)
    with pytest.raises(FileFormatError, match="no prepared clips"):
        read_asset_motions(tmp_path / "nowhere")


def test_surface_points_follow_the_mesh_and_fill_its_union_box():
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    moving = np.stack([corners, corners + np.float32([0, 0, 3])])
    positions, normals = sample_motion([moving], np.array([[0, 1, 2], [0, 2, 3]], np.int32), points=64)
    assert positions.shape == (1, 2, 64, 3)
    assert np.unique(normals.reshape(-1, 3), axis=0).tolist() == [[0, 0, 127]]
    np.testing.assert_allclose(positions[0, :, 0, 2], [-0.5, 0.5], atol=1e-3)


def test_training_on_one_clip_brings_its_error_below_half_of_the_copied_motion():
    pool = arm_pool(windows=1)
    views = view_clips(pool, evaluation_placement(pool, torch.tensor([0]), 16))
    tracks, network = exact_tracks(views), small_prior()
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(120):
        loss = motion_loss(network(tracks), views.displacement, 0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (network(tracks).displacement - views.displacement).norm(dim=-1).mean()
    copied = (copy_motion(tracks) - views.displacement).norm(dim=-1).mean()
    assert error < 0.5 * copied


def test_training_with_a_seed_and_steps_is_reproducible_and_goes_on_after_a_stop(tmp_path: Path):
    pool = arm_pool()
    settings = TrainingSettings(minutes=float("inf"), steps=3, batch=2, points=32, learning_rate=1e-3)
    for name in ("a", "b"):
        train_motion_prior(pool, pool, tmp_path / f"{name}.safetensors", settings, small_prior())
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    lines: list[str] = []
    longer = replace(settings, steps=5, learning_rate=None)
    train_motion_prior(
        pool,
        pool,
        tmp_path / "a.safetensors",
        longer,
        small_prior(),
        resume=True,
        on_report=lambda done, line: lines.append(line),
    )
    assert lines[-1].startswith("step 5 ")
    # Sizes and rate are those of the state, whatever became of the output and of the rate that was named then.
    (tmp_path / "a.safetensors").write_bytes(b"cut off")
    train_motion_prior(pool, pool, tmp_path / "a.safetensors", replace(longer, steps=6), resume=True)
    assert load_motion_prior(tmp_path / "a.safetensors").params == SMALL
    state = torch.load(tmp_path / "a.state.pt", weights_only=True)
    assert (state["steps"], state["learning_rate"]) == (6, 1e-3)
    with pytest.raises(FileFormatError, match="cannot be resumed"):
        train_motion_prior(pool, pool, tmp_path / "none.safetensors", settings, small_prior(), resume=True)


def test_a_training_goes_on_only_with_the_clips_that_it_began_with(tmp_path: Path):
    pool, output = arm_pool(), tmp_path / "a.safetensors"
    settings = TrainingSettings(minutes=float("inf"), steps=1, batch=2, points=32)
    train_motion_prior(pool, pool, output, settings, small_prior())
    kept, moved = output.read_bytes(), replace(pool, positions=pool.positions + 0.25)
    with pytest.raises(SettingsError, match="began with other clips"):
        train_motion_prior(moved, pool, output, replace(settings, steps=2), resume=True)
    assert output.read_bytes() == kept


@pytest.mark.parametrize("keeps_gradients", [False, True])
def test_losses_that_are_no_numbers_reach_no_weights_and_end_the_training(
    tmp_path: Path, monkeypatch, keeps_gradients: bool
):
    output, gradients = tmp_path / "a.safetensors", motion_prior_training._Trainer._gradients
    settings = TrainingSettings(minutes=float("inf"), steps=4, batch=2, points=32, learning_rate=1e-3)
    broken = {2}

    def sometimes_none(trainer, shard):
        loss, found = gradients(trainer, shard)
        factor = float("nan") if trainer.steps in broken else 1.0
        return factor * loss, found if keeps_gradients else tuple(factor * gradient for gradient in found)

    monkeypatch.setattr(motion_prior_training._Trainer, "_gradients", sometimes_none)
    train_motion_prior(arm_pool(), arm_pool(), output, settings, small_prior())
    state = torch.load(tmp_path / "a.state.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in (*state["network"].values(), *state["average"].values()))
    assert np.isfinite(state["recent_loss"])

    kept = output.read_bytes()
    broken |= set(range(6, 60))
    with pytest.raises(SettingsError, match="20 steps in a row, up to step 25,"):
        train_motion_prior(arm_pool(), arm_pool(), output, replace(settings, steps=60), resume=True)
    assert output.read_bytes() == kept


def test_a_deeper_network_gives_the_same_at_first_and_learns_in_its_new_blocks():
    views = view_clips(arm_pool(), evaluation_placement(arm_pool(), torch.tensor([0]), 16))
    tracks, network = exact_tracks(views), small_prior(trained=True)
    deeper = deepen(network, 3 * SMALL.blocks)
    assert deeper.params == replace(SMALL, blocks=3 * SMALL.blocks)
    assert len(deeper.blocks) == 3 * SMALL.blocks
    same = deeper(tracks)
    torch.testing.assert_close(same.displacement, network(tracks).displacement, atol=1e-6, rtol=0)
    same.displacement.square().sum().backward()
    assert deeper.blocks[1].clip_out.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="cannot be deepened"):
        deepen(network, 2 * SMALL.blocks + 1)


def test_the_optimizer_steps_along_matrices_whose_singular_values_are_near_one():
    matrix = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    for each in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonalize(each, iterations=8))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_expected_errors_are_learnt_without_touching_the_displacement():
    views = view_clips(arm_pool(), evaluation_placement(arm_pool(), torch.tensor([0]), 16))
    motion = small_prior(trained=True)(exact_tracks(views))
    alone = motion_loss(motion, views.displacement, 0.1) - motion_loss(motion, views.displacement, 0.0)
    (gradient,) = torch.autograd.grad(alone, motion.displacement)
    assert gradient.abs().max() < 1e-7


def test_weights_survive_their_file_and_others_are_refused(tmp_path: Path):
    network = small_prior(trained=True)
    tensors, metadata = encode_motion_prior(network)
    save_file(tensors, tmp_path / "good.safetensors", metadata)
    again = load_motion_prior(tmp_path / "good.safetensors")
    assert again.params == SMALL
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-3, rtol=1e-3)

    lacking = {name: tensor for name, tensor in tensors.items() if name != "head.weight"}
    save_file(lacking, tmp_path / "lacking.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"head\.weight"):
        load_motion_prior(tmp_path / "lacking.safetensors")
    save_file(tensors, tmp_path / "other.safetensors", {"format": "other"})
    with pytest.raises(WeightsError, match="not a gvf-motion-prior"):
        load_motion_prior(tmp_path / "other.safetensors")
    save_file(tensors, tmp_path / "sizes.safetensors", {"gvf-motion-prior": '{"colour": 3}'})
    with pytest.raises(WeightsError, match="sizes"):
        load_motion_prior(tmp_path / "sizes.safetensors")


@pytest.mark.skipif(not SHIPPED_FILE.is_file(), reason="there are no shipped weights")
def test_the_shipped_weights_beat_copied_motion_on_a_swinging_arm():
    assert SHIPPED_FILE.stat().st_size < 15_000_000
    score = evaluate_motion_prior(load_motion_prior(), arm_pool())
    assert score.all.max() < 0.8 * score.copied.min()
