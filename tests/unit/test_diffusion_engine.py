"""The engine diffusion with small untrained networks: everything but the meaning of its motion."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_motion import plant, random_models
from small_assets import painted_body, picture, straight
from video_files import write_video

from gvf_core.canonical.slat import gaussians_from_slat, voxels_for_networks
from gvf_core.errors import Cancelled, CaptureError, SamplingError, SettingsError
from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.motion import diffusion
from gvf_core.motion.diffusion import Diffusion, on_background
from gvf_core.pipeline import animate
from gvf_core.progress import Monitor
from gvf_core.rendering import orbit_camera
from gvf_core.settings import AnimateSettings

BODY = painted_body(views=3, size=128, axes=(0.5, 0.1, 0.08))
FRAMES = 4
SETTINGS = AnimateSettings(
    engine="diffusion", azimuth=90, elevation=10, sampler="multistep", steps=1, window=4, overlap=1
)
SILENT = Monitor(lambda fraction: None, lambda: False)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GVF_CACHE_DIR", str(tmp_path_factory.mktemp("latents")))
        yield


@pytest.fixture(scope="module")
def models():
    return random_models()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The body standing still, seen from azimuth 90."""
    camera = orbit_camera(90, 10, size=96)
    frame = straight(picture(BODY.vertices, BODY.vertices, BODY.triangles, camera))
    return write_video(tmp_path_factory.mktemp("film") / "still.mov", [frame] * FRAMES, "png", "rgba")


def run(models, film, settings=SETTINGS, sampler=None, **options):
    engine = Diffusion(models, settings, sampler) if sampler else Diffusion(models, settings)
    return animate(BODY, film, settings, engine=engine, **options)


@pytest.fixture(scope="module")
def animation(models, film):
    return run(models, film)


def test_there_are_eight_gaussians_per_voxel_and_a_delta_for_each_in_every_frame(animation, models):
    voxels = len(voxels_for_networks(BODY, 8))
    assert len(animation.gaussians) == 8 * voxels
    assert animation.variation.deltas.shape == (FRAMES, 8 * voxels, 14)
    assert animation.variation.deltas.dtype == torch.float32
    assert animation.variation.deltas.abs().max() > 0
    assert animation.vertices.shape == (FRAMES, *BODY.vertices.shape)


def test_a_seed_gives_the_same_bytes_and_another_one_other_motion(animation, models, film):
    again = run(models, film)
    assert again.provenance["latents_from_cache"]
    assert torch.equal(again.variation.deltas, animation.variation.deltas)
    other = run(models, film, replace(SETTINGS, seed=1))
    assert not torch.equal(other.variation.deltas, animation.variation.deltas)


def test_latents_from_the_cache_give_the_same_gaussians(models, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_CACHE_DIR", str(tmp_path))
    indices = voxels_for_networks(BODY, 8)
    first, second = (gaussians_from_slat(BODY, indices, models, "visible", SILENT) for _ in range(2))
    assert (first.figures["latents_from_cache"], second.figures["latents_from_cache"]) == (False, True)
    assert torch.equal(first.gaussians.means, second.gaussians.means)
    plain = gaussians_from_slat(BODY, indices, models, "mean", SILENT)
    assert not plain.figures["latents_from_cache"]
    assert not torch.equal(first.gaussians.colors, plain.gaussians.colors)


def test_a_damaged_cache_is_made_again(models, tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_CACHE_DIR", str(tmp_path))
    indices = voxels_for_networks(BODY, 8)
    first = gaussians_from_slat(BODY, indices, models, "mean", SILENT)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = gaussians_from_slat(BODY, indices, models, "mean", SILENT)
    assert not again.figures["latents_from_cache"]
    assert torch.equal(first.gaussians.means, again.gaussians.means)


def test_planted_deltas_come_out_turned_into_the_frame_of_the_asset(models, film):
    """Networks see the asset from its front: their x is to the right in the picture, which from azimuth 90 is +y."""
    deltas = torch.zeros(FRAMES, 14)
    deltas[:, VariationField.MEANS] = torch.tensor([[0, 0, 0], [0.1, 0, 0], [0.2, 0.05, 0], [0.3, 0, -0.1]])
    deltas[:, VariationField.SCALES] = torch.tensor([0.5, -0.25, 0.1])
    deltas[:, VariationField.COLORS.start :] = torch.tensor([0.2, -0.1, 0.05, -1.0])
    planted = replace(models, variation_vae=random_models(seed=3).variation_vae)
    animation = run(planted, film, sampler=plant(planted.variation_vae, deltas))
    moved = torch.tensor([[0, 0, 0], [0, 0.1, 0], [-0.05, 0.2, 0], [0, 0.3, -0.1]])
    found = animation.variation.deltas
    torch.testing.assert_close(found[..., VariationField.MEANS], moved[:, None].expand(-1, found.shape[1], -1), **NEAR)
    rest = slice(VariationField.COLORS.start, None)
    torch.testing.assert_close(found[..., rest], deltas[:, None, rest].expand(-1, found.shape[1], -1), **NEAR)
    np.testing.assert_allclose(animation.vertices, BODY.vertices + moved.numpy()[:, None], atol=1e-5)


@pytest.mark.parametrize("sampler", ["adaptive", "multistep"])
def test_answers_that_are_not_finite_are_no_motion(models, film, sampler):
    broken = replace(models, dit=random_models(seed=3).dit)
    torch.nn.init.constant_(broken.dit.input_layer.weight, float("nan"))
    with pytest.raises(SamplingError, match=r"answer at time 1\.0000 is not finite"):
        run(broken, film, replace(SETTINGS, sampler=sampler))


def test_a_decoded_motion_that_is_not_finite_is_refused(models, film):
    broken = replace(models, variation_vae=random_models(seed=3).variation_vae)
    torch.nn.init.constant_(broken.variation_vae.decoder_cross_attn.fn.to_out.weight, float("nan"))
    with pytest.raises(SamplingError, match="the networks decoded is not finite"):
        run(broken, film)


NEAR = {"rtol": 0, "atol": 1e-5}


def test_a_planted_rotation_is_added_to_the_unit_quaternion_in_the_frame_of_the_video(models, film):
    deltas = torch.zeros(FRAMES, 14)
    deltas[1:, VariationField.ROTATIONS] = torch.tensor([0.1, 0.3, -0.2, 0.4])
    planted = replace(models, variation_vae=random_models(seed=3).variation_vae)
    animation = run(planted, film, sampler=plant(planted.variation_vae, deltas))
    half = -math.pi / 4
    away = torch.tensor([math.cos(half), 0, 0, math.sin(half)])
    seen = animation.gaussians.rotated(away)
    expected = torch.nn.functional.normalize(seen.activate().quaternions + deltas[1, VariationField.ROTATIONS], dim=-1)
    moved = replace(seen, rotations=seen.rotations + deltas[1, VariationField.ROTATIONS])
    torch.testing.assert_close(moved.activate().quaternions, expected, **NEAR)
    back = moved.rotated(away * torch.tensor([1.0, -1, -1, -1]))
    torch.testing.assert_close(
        animation.gaussians.activate(animation.variation.deltas[1]).quaternions, back.activate().quaternions, **NEAR
    )


def test_segments_go_on_from_where_the_last_one_ended(models, film):
    """Each segment's planted motion is relative to its own first frame."""
    deltas = torch.zeros(3, 14)
    deltas[:, 0] = torch.tensor([0, 0.1, 0.2])
    settings = replace(SETTINGS, azimuth=0, window=3, overlap=0, long_clips="segments")
    planted = replace(models, variation_vae=random_models(seed=3).variation_vae)
    sampler = plant(planted.variation_vae, deltas)

    def of_the_segment(dit, condition, *rest):
        return replace(sampler, latents=sampler.latents[: len(condition.image_tokens)])(dit, condition, *rest)

    animation = run(planted, film, settings, of_the_segment)
    assert animation.provenance["segments"] == 2
    moved = animation.variation.deltas[:, :, 0]
    torch.testing.assert_close(moved, torch.tensor([0, 0.1, 0.2, 0.3])[:, None].expand_as(moved), **NEAR)


def test_a_long_clip_is_sampled_in_windows_of_one_motion(models, film):
    animation = run(models, film, replace(SETTINGS, window=3, overlap=1))
    assert animation.provenance["windows"] == 3
    assert animation.variation.deltas.isfinite().all()
    assert {"drift", "video_overlap", "video_overlap_first", "video_overlap_last"} <= set(animation.provenance)


def test_of_several_samples_the_one_nearest_to_the_video_is_kept(models, film):
    """The video stands still, so the sample that moves less wins."""
    deltas = torch.zeros(FRAMES, 14)
    deltas[1:, 2] = 0.1
    planted = replace(models, variation_vae=random_models(seed=3).variation_vae)
    moving = plant(planted.variation_vae, deltas)

    def still_with_seed_six(dit, condition, settings, seed, monitor):
        latents = moving.latents[:1].expand(FRAMES, -1) if seed == 6 else moving.latents
        return replace(moving, latents=latents)(dit, condition, settings, seed, monitor)

    animation = run(planted, film, replace(SETTINGS, seed=5, samples=3), still_with_seed_six)
    provenance = animation.provenance
    assert provenance["seed"] == 6
    assert set(provenance["picture_differences"]) == {5, 6, 7}
    assert animation.variation.deltas[..., 2].abs().max() < 1e-5


def test_frames_of_every_sample_and_then_of_the_result_are_shown(models, film):
    shown = []
    run(models, film, replace(SETTINGS, samples=2), on_preview=lambda index, picture: shown.append((index, picture)))
    frames = list(range(FRAMES))
    assert [index for index, _ in shown] == 3 * frames
    assert all(picture.shape[2] == 4 and 0 <= picture.min() < picture.max() <= 1 for _, picture in shown)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "adaptive", "tolerance": 1.0},
        {"image_guidance": 2.0, "static_guidance": 1.5},
        {"standardise_positions": True},
        {"background": "black"},
    ],
    ids=str,
)
def test_every_setting_changes_the_sample(animation, models, film, changes):
    other = run(models, film, replace(SETTINGS, **changes))
    assert other.variation.deltas.isfinite().all()
    if changes != {"standardise_positions": True}:  # the statistics of the set change nothing there
        assert not torch.equal(other.variation.deltas, animation.variation.deltas)


def test_frames_are_laid_on_the_chosen_background():
    frame = np.zeros((1, 1, 2, 4), np.float32)
    frame[0, 0, 0] = [0.25, 0, 0, 0.5]
    assert on_background(frame, "white").tolist() == [[[[191, 128, 128], [255, 255, 255]]]]
    assert on_background(frame, "black").tolist() == [[[[64, 0, 0], [0, 0, 0]]]]


def test_an_asset_of_too_few_voxels_is_refused_before_anything_takes_time(models, film):
    thin = replace(BODY, vertices=(BODY.vertices * [1, 0.02, 0.02]).astype(np.float32))
    with pytest.raises(
        CaptureError, match=r"fills \d+ voxels of 64 x 64 x 64, .* need 4096, or 512 voxels.*engine fit"
    ):
        Diffusion(models, SETTINGS).check(thin, FRAMES)


def test_more_frames_than_memory_allows_are_refused_with_the_number_that_fits(models, monkeypatch):
    monkeypatch.setattr(diffusion, "free_memory_mb", lambda device: 100.0)
    with pytest.raises(SettingsError, match=r"400 frames of \d+ Gaussians take about .* GB .*Use at most \d+ frames"):
        Diffusion(models, SETTINGS).check(BODY, 400)


def test_views_of_something_else_are_refused(models, film):
    turned = replace(BODY, vertices=BODY.vertices[:, [2, 1, 0]].copy())
    with pytest.raises(CaptureError, match="do not show the captured geometry"):
        animate(turned, film, SETTINGS, engine=Diffusion(models, SETTINGS))


@pytest.mark.parametrize("stage", ["Making Gaussians", "Finding motion"])
def test_it_stops_in_the_middle_of_its_long_stages(models, film, tmp_path, monkeypatch, stage):
    monkeypatch.setenv("GVF_CACHE_DIR", str(tmp_path))
    told: list[str] = []
    with pytest.raises(Cancelled):
        run(
            models,
            film,
            on_progress=lambda name, fraction: told.append(name),
            cancelled=lambda: told.count(stage) >= 2,
        )
    assert told.count(stage) == 2
    assert told[-1] == stage


def test_a_variation_turns_with_its_gaussians():
    generator = torch.Generator().manual_seed(0)
    gaussians = Gaussians(*(torch.randn(5, *tail, generator=generator) for tail in ((3,), (3,), (4,), (3,), ())))
    turn = torch.nn.functional.normalize(torch.randn(4, generator=generator), dim=0)
    unit = gaussians.rotated(torch.tensor([1.0, 0, 0, 0]))
    variation = VariationField(0.3 * torch.randn(2, 5, 14, generator=generator))
    one = unit.rotated(turn).activate(variation.rotated(turn).deltas)
    moved = [unit.activate(delta) for delta in variation.deltas]
    other = [Gaussians.from_splats(splats).rotated(turn).activate() for splats in moved]
    for index, splats in enumerate(other):
        torch.testing.assert_close(one.means[index], splats.means, rtol=1e-4, atol=1e-5)
        sign = (one.quaternions[index] * splats.quaternions).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(one.quaternions[index], sign * splats.quaternions, rtol=1e-4, atol=1e-5)
