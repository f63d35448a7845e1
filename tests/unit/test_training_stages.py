"""What the stages of training learn from, and that their losses mean what they say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gvf_core.diffusion.schedule import velocity_target
from gvf_core.errors import FileFormatError
from gvf_core.gaussians import Gaussians, Splats, about_vertical, turned
from gvf_core.geometry import interpolation_weights
from gvf_core.models.variation_vae import VariationVae, VariationVaeParams
from gvf_core.training import appearance
from gvf_core.training.activation_checkpointing import recompute_activations
from gvf_core.training.appearance import AppearanceLoss, Target, draw, load_appearance_loss, read_target
from gvf_core.training.canonical_store import chosen_frames
from gvf_core.training.clip_record import ViewRole
from gvf_core.training.draws import generator_of
from gvf_core.training.interpolating_start import start_interpolating
from gvf_core.training.latent_encoding import ClipEncoder, latent_statistics
from gvf_core.training.motion_examples import moving_points, turned_camera
from gvf_core.training.motion_scores import score_clip
from gvf_core.training.static_examples import canonical_voxels
from gvf_core.training.static_start import start_opaque
from tests.unit.bending_box import FRAMES, bending_box, write_boxes
from tests.unit.small_stages import diffusion_stage, motion_stage, seeded, settings, static_stage, stores

CHOSEN = settings("diffusion.frames=2", "diffusion.static_tokens=8")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    return write_boxes(tmp_path_factory.mktemp("boxes"), count=2)


def solid_splats(color: float = 0.2) -> Splats:
    return Splats(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.1, 0.1]]),
        quaternions=torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        scales=torch.full((2, 3), 0.08),
        opacities=torch.tensor([0.9, 0.8]),
        colors=torch.full((2, 3), color),
    )


def test_the_image_loss_is_zero_for_what_was_drawn_and_reaches_the_gaussians():
    record = bending_box()
    camera = record.cameras[0]
    target = Target(camera, draw(solid_splats(), camera), 0)
    loss = AppearanceLoss(CHOSEN.appearance, perceptual=lambda shown, true: (shown - true).abs().mean(dim=(1, 2, 3)))
    same = loss.parts([draw(solid_splats(), camera)], [target])
    assert {name: round(float(part), 6) for name, part in same.items()} == {"l1": 0.0, "ssim": 0.0, "lpips": 0.0}
    color = torch.full((2, 3), 0.6, requires_grad=True)
    parts = loss.parts([draw(solid_splats()._replace(colors=color), camera)], [target])
    assert all(part.item() > 1e-4 for part in parts.values())
    assert float(parts["lpips"]) == pytest.approx(CHOSEN.appearance.lpips * float(parts["l1"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(sum(parts.values()), color)
    assert (gradient != 0).any()


def test_a_reduced_target_shows_no_colour_from_behind_the_mask():
    record = bending_box()
    view = record.view(0)
    png_colors = view.rgba.copy()
    assert (png_colors[..., 3] == 0).any()
    target = read_target(record, 0, 12)
    assert (target.camera.width, target.picture.shape) == (12, (12, 12, 3))
    corner = target.picture[0, 0]
    assert corner.tolist() == pytest.approx([1, 1, 1])


def test_a_turned_object_looks_the_same_to_its_turned_camera():
    camera = bending_box().cameras[0]
    splats = solid_splats()
    quaternion = about_vertical(0.7)
    gaussians = Gaussians.from_splats(splats)
    expected = draw(gaussians.activate(), camera)
    found = draw(gaussians.rotated(quaternion).activate(), turned_camera(camera, quaternion))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    points = torch.randn(4, 3)
    torch.testing.assert_close(turned(about_vertical(math.pi / 2), points)[:, 0], -points[:, 1])


@pytest.mark.parametrize(("count", "wanted"), [(5, 3), (3, 7), (1, 2)])
def test_frames_are_as_many_as_wanted_and_the_first_is_among_them(count, wanted):
    frames = chosen_frames(count, wanted, generator_of(1), first=True)
    assert len(frames) == wanted
    assert frames[0] == 0
    assert set(frames) <= set(range(count))
    assert set(frames) == set(range(count)) or len(set(frames)) == wanted


def test_a_few_steps_lower_the_image_loss_of_d_gs(boxes):
    stage, examples = static_stage(boxes, CHOSEN)
    start_opaque(stage.vae)
    batch = [examples.example(0, 5)]
    optimizer = torch.optim.Adam([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(10):
        loss = stage(batch)["total"]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0], losses
    assert all(p.grad is not None for p in stage.parameters() if p.requires_grad)


def test_a_frozen_encoder_is_frozen_to_its_first_and_last_layer(boxes):
    chosen = replace(CHOSEN, static=replace(CHOSEN.static, freeze_encoder=True))
    stage, _ = static_stage(boxes, chosen)
    trained = {name for name, p in stage.vae.named_parameters() if p.requires_grad}
    assert trained == {
        name for name, _ in stage.vae.named_parameters() if name.startswith(("decoder", "from_", "out_"))
    }


def test_joint_training_reaches_d_gs_but_not_e_gs(boxes, tmp_path):
    chosen = settings("motion.pictures=1", "motion.static_factor=0.1")
    stage, examples = motion_stage(boxes, tmp_path, chosen, joint=True)
    losses = stage([examples.example(0, 1), examples.example(1, 2)])
    assert {"mesh_guided", "kl", "l1", "ssim", "rest_l1", "rest_volume", "total"} <= losses.keys()
    assert losses["total"].item() == pytest.approx(sum(v.item() for n, v in losses.items() if n != "total"), rel=1e-5)
    losses["total"].backward()
    assert stage.static_vae.out_layer.weight.grad.abs().max() > 0
    assert stage.static_vae.input_layer.weight.grad is None
    assert stage.groups()[1].factor == 0.1


def test_recomputed_activations_give_the_same_gradients(boxes, tmp_path):
    gradients = []
    for recompute in (False, True):
        stage, examples = motion_stage(boxes, tmp_path, CHOSEN)
        if recompute:
            recompute_activations(stage)
        stage([examples.example(0, 1)])["total"].backward()
        gradients.append({name: p.grad for name, p in stage.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-7)


def test_dropped_path_leaves_the_layer_out_in_training_only():
    vae = seeded(lambda: VariationVae(VariationVaeParams(width=48, depth=1, heads=4))).train()
    layer, x = vae.layers[0], torch.randn(64, 5, 48)
    layer.drop_path = 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        skipped = ((layer(x, x) - x).abs().amax(dim=(1, 2)) == 0).float().mean()
    assert 0.1 < skipped < 0.45
    layer.eval()
    assert ((layer(x, x) - x).abs().amax(dim=(1, 2)) > 0).all()


def test_from_its_start_the_variation_vae_interpolates():
    record = bending_box(amount=1.2)
    vae = seeded(lambda: VariationVae(VariationVaeParams(width=96, depth=1, heads=4, latents=64))).eval()
    start_interpolating(vae, generator_of(0))
    points, displacements = moving_points(record, range(FRAMES), 400, generator_of(0))
    vectors = torch.zeros(112, 14)
    vectors[:, :3] = torch.from_numpy(record.points[0, 400:])
    vectors[:, 6], vectors[:, 10] = 0.9, 1
    with torch.no_grad():
        encoded = vae.encode(vectors[None], torch.tensor([112]), points[None], displacements[None])
        deltas = vae.decode(encoded.posterior.mean, vectors[None])[0, :, :, :3]
    truth = torch.from_numpy(record.points[:, 400:] - record.points[0, 400:])
    ratio = (deltas - truth)[1:].norm(dim=-1).mean() / truth[1:].norm(dim=-1).mean()
    assert ratio < 0.2


def test_the_velocity_loss_of_an_untrained_dit_is_that_of_predicting_nothing(tmp_path):
    stage, examples = diffusion_stage(tmp_path, CHOSEN)
    losses = [float(stage([examples.example(0, seed)])["total"].detach()) for seed in range(30)]
    # Latents and noise both have unit variance, so every mixture of them has.
    assert np.mean(losses) == pytest.approx(1.0, abs=0.15)


def test_images_are_dropped_as_often_as_the_settings_say(tmp_path):
    _, examples = diffusion_stage(tmp_path, CHOSEN)
    dropped = np.mean([examples.example(0, seed).dropped for seed in range(300)])
    assert 0.05 < dropped < 0.16
    stage, _ = diffusion_stage(tmp_path / "again", CHOSEN)
    example = replace(examples.example(0, 1), dropped=True)
    images, static, _ = stage._condition([example], torch.device("cpu"))
    assert not images.any()
    assert static.any()


def test_statistics_standardise_what_is_drawn(tmp_path):
    _, examples = diffusion_stage(tmp_path, CHOSEN, clips=4)
    statistics = latent_statistics(examples.paths)
    assert statistics.latent_mean.shape == (16,)
    drawn = torch.cat([examples.example(i, seed).clip.latents.sample() for i in range(4) for seed in range(9)])
    standardised = (drawn - statistics.latent_mean) / statistics.latent_std
    assert float(standardised.std()) == pytest.approx(1, abs=0.1)
    assert statistics.standardise_static(examples.example(0, 0).clip.static_tokens).abs().max() < 6


def test_a_clip_is_encoded_as_its_frames_see_it(boxes, tmp_path):
    features, canonical, _ = stores(tmp_path)
    vae = seeded(lambda: VariationVae(VariationVaeParams(width=96, depth=1, heads=4, latents=64))).eval()
    start_interpolating(vae, generator_of(0))
    encoder = ClipEncoder(canonical, vae, features._encoder, CHOSEN.encode, 128)
    record = bending_box(azimuth=90.0)
    gaussians, points, displacements = encoder.seen_from_the_front(record)
    # Seen from +x, the box's length lies along the line of sight: turned to the front, along y.
    assert points[:, 1].abs().max() > 0.25
    assert gaussians.means[:, 1].abs().max() > 0.25
    clip = encoder.encode(record)
    assert clip.latents.mean.shape == (FRAMES, 64, 16)
    assert clip.image_tokens.shape == (FRAMES, 5, 24)
    assert len(record.views(ViewRole.CONDITION)) == FRAMES
    weights = interpolation_weights(clip.positions, points)
    assert torch.isfinite(weights.apply(displacements)).all()
    score = score_clip(encoder, record)
    assert score is not None
    assert score.reconstructed < 0.3
    assert score_clip(encoder, replace(record, points=np.repeat(record.points[:1], 3, axis=0))) is None


def test_features_and_gaussians_of_a_clip_that_has_changed_are_made_anew(tmp_path):
    features, canonical, vae = stores(tmp_path)
    for layer in (vae.to_latent, vae.out_layer):
        torch.nn.init.normal_(layer.weight, generator=generator_of(0))
    before = bending_box(seed=0)
    after = replace(before, pngs=before.pngs[::-1])
    indices = canonical_voxels(before)
    old, old_gaussians = features.of(before, indices), canonical.of(before)
    torch.testing.assert_close(features.of(before, indices), old)
    assert (features.of(after, indices) - old).abs().max() > 1e-3
    assert (canonical.of(after).means - old_gaussians.means).abs().max() > 0
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_kept_features_are_not_computed_again(tmp_path):
    features, _, _ = stores(tmp_path)
    record = bending_box()
    indices = canonical_voxels(record)
    kept = features.of(record, indices)
    features._encoder.voxel_tokens = None
    # A clip that was read again has the same contents, and so has one under another family.
    torch.testing.assert_close(features.of(replace(record, family="other"), indices), kept)


def test_a_clip_that_was_prepared_although_it_is_thin_is_named():
    record = bending_box(name="needle")
    with pytest.raises(FileFormatError, match=r"needle fills \d+ voxels; the networks need 512"):
        canonical_voxels(replace(record, vertices=0.1 * record.vertices))


def test_without_weights_lpips_is_left_out_with_a_sentence(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path))
    loss = load_appearance_loss(CHOSEN.appearance, torch.device("cpu"))
    assert loss.perceptual is None
    assert "Training without LPIPS" in caplog.text
    assert "gvf models download vgg16" in caplog.text


def test_installed_weights_of_lpips_are_trained_with(tmp_path, monkeypatch, caplog):
    asked = []

    class Installed:
        def find(self, name):
            return name

        def weights_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(appearance, "default_store", Installed)
    monkeypatch.setattr(
        "gvf_core.models.perceptual.load_perceptual_distance", lambda path, *_: asked.append(path.name) or len
    )
    assert load_appearance_loss(CHOSEN.appearance, torch.device("cpu")).perceptual is len
    given = replace(CHOSEN.appearance, lpips_backbone=str(tmp_path / "own.pth"))
    load_appearance_loss(given, torch.device("cpu"))
    assert asked == ["vgg16", "own.pth"]
    assert not caplog.text


def test_a_dit_that_knows_the_noise_draws_the_truth_twice(tmp_path):
    stage, examples = diffusion_stage(tmp_path, CHOSEN)
    stage._decode = lambda latents, gaussians: 0.05 * latents.mean() + torch.zeros(1, 1, gaussians.shape[1], 14)
    batch = [examples.example(0, 3), examples.example(1, 4)]
    clean, noise, steps = stage._drawn(batch)
    stage._velocity = lambda *_: velocity_target(clean, noise, steps, stage._alphas)
    picture = stage.pictures(batch)
    left, right = picture.split(256, dim=2)
    assert picture.shape == (3, 512, 512)
    assert left.min() < 0.9
    torch.testing.assert_close(left, right, atol=1e-3, rtol=0)
    stage._velocity = lambda *_: torch.full_like(clean, 3.0)
    left, right = stage.pictures(batch).split(256, dim=2)
    assert (left - right).abs().max() > 0.05


def test_gaussians_come_back_from_what_the_networks_see_of_them():
    vector = Gaussians.from_splats(solid_splats()).to_vector()
    torch.testing.assert_close(Gaussians.from_vector(vector).to_vector(), vector, rtol=1e-4, atol=1e-6)
