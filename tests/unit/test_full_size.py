"""Every network at full size runs once. Weights are random: only that it runs and its shapes are checked."""

import pytest
import torch

from gvf_core.models.image_encoder import ImageEncoder
from gvf_core.models.model_set import ModelSet, Statistics
from gvf_core.models.presets import create
from gvf_core.models.random_weights import ENCODERS, random_image_encoder, without_zeros
from gvf_core.models.roles import Role
from gvf_core.models.variation_vae import pad_gaussians
from gvf_core.motion.diffusion import Diffusion
from gvf_core.pipeline import animate
from gvf_core.rendering import orbit_camera
from gvf_core.settings import AnimateSettings
from tests.unit.small_assets import painted_body, picture, straight
from tests.unit.small_networks import noise, some_voxels
from tests.unit.video_files import write_video

pytestmark = pytest.mark.slow


def network(role: Role):
    """Random weights, cheaply: Xavier-uniform values of 600 million parameters take half a minute."""
    built = create(role, device="meta").to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for tensor in built.state_dict().values():
        tensor.uniform_(-0.03, 0.03, generator=generator)
    return built


@torch.inference_mode()
def test_variation_dit():
    dit = network(Role.VARIATION_DIT)
    condition = dit.condition(noise(1, 2, 1370, 1024), noise(1, 4096, 14), noise(1, 512, 3))
    out = dit(noise(1, 2, 512, 16), torch.tensor([500.0]), [condition])
    assert out.shape == (1, 2, 512, 16) and out.isfinite().all()


@torch.inference_mode()
def test_variation_vae():
    vae = network(Role.VARIATION_VAE)
    vae.position_encoding[0].omega.copy_(10_000.0 ** -(torch.arange(128, dtype=torch.float64) / 64))
    gaussians, counts = pad_gaussians([noise(5000, 14)])
    encoded = vae.encode(gaussians, counts, noise(1, 8192, 3), 0.1 * noise(1, 2, 8192, 3))
    assert encoded.posterior.mean.shape == (1, 2, 512, 16)
    deltas = vae.decode(encoded.posterior.mean, gaussians)
    assert deltas.shape == (1, 2, 5000, 14) and deltas.isfinite().all()


@torch.inference_mode()
def test_static_vae():
    vae = network(Role.STATIC_VAE)
    coordinates = some_voxels(2000, items=1, extent=64)
    latents = vae.encode(noise(2000, 1024), coordinates).mean
    (gaussians,) = vae.decode(latents, coordinates)
    assert latents.shape == (2000, 8) and len(gaussians) == 16_000
    assert gaussians.to_vector().isfinite().all()


@pytest.mark.parametrize(("role", "per_voxel"), [(Role.SLAT_DECODER_GS8, 8), (Role.SLAT_DECODER_GS32, 32)])
@torch.inference_mode()
def test_trellis_encoder_and_decoders(role, per_voxel):
    coordinates = some_voxels(500, items=1, extent=64)
    mean = network(Role.SLAT_ENCODER).encode(noise(500, 1024), coordinates).mean
    (gaussians,) = network(role).decode(mean, coordinates)
    assert len(gaussians) == 500 * per_voxel


@torch.inference_mode()
def test_structure_flow():
    flow = network(Role.STRUCTURE_FLOW)
    out = flow(noise(1, 8, 16, 16, 16), torch.tensor([500.0]), flow.condition(noise(1, 1374, 1024)))
    assert out.shape == (1, 8, 16, 16, 16) and out.isfinite().all()


@torch.inference_mode()
def test_structure_encoder_and_decoder():
    occupancy = (noise(1, 1, 64, 64, 64) > 1).float()
    latent = network(Role.STRUCTURE_ENCODER)(occupancy).mean
    assert latent.shape == (1, 8, 16, 16, 16)
    assert network(Role.STRUCTURE_DECODER)(latent).shape == (1, 1, 64, 64, 64)


@torch.inference_mode()
def test_slat_flow():
    flow = network(Role.SLAT_FLOW)
    grid = flow.prepare(some_voxels(1000, items=1, extent=64))
    out = flow(noise(1000, 8), grid, torch.tensor([500.0]), flow.condition(noise(1, 1374, 1024)))
    assert out.shape == (1000, 8) and out.isfinite().all()


@pytest.mark.timeout(1200)
def test_the_whole_chain_animates_four_frames(tmp_path, monkeypatch):
    monkeypatch.setenv("GVF_CACHE_DIR", str(tmp_path / "latents"))
    body = painted_body(views=2, size=128, axes=(0.5, 0.1, 0.08))
    camera = orbit_camera(30, 10, size=96)
    frame = straight(picture(body.vertices, body.vertices, body.triangles, camera))
    film = write_video(tmp_path / "still.mov", [frame] * 4, "png", "rgba")
    settings = AnimateSettings(engine="diffusion", azimuth=30, elevation=10, sampler="multistep", steps=2)
    models = ModelSet(
        name="in-memory",
        records=(),
        device=torch.device("cpu"),
        image_encoder=ImageEncoder(random_image_encoder(ENCODERS["full"])),
        static_vae=without_zeros(create(Role.STATIC_VAE)),
        variation_vae=without_zeros(create(Role.VARIATION_VAE)),
        dit=without_zeros(create(Role.VARIATION_DIT)),
        statistics=Statistics(torch.zeros(14), torch.ones(14), torch.zeros(16), torch.ones(16)),
    )
    animation = animate(body, film, settings, engine=Diffusion(models, settings))
    provenance = animation.provenance
    assert animation.variation.deltas.shape == (4, 8 * provenance["voxels"], 14)
    assert animation.variation.deltas.isfinite().all()
    assert provenance["evaluations"] == 2
    assert all(seconds >= 0 for seconds in provenance["seconds"].values())
    assert provenance["peak_memory_mb"]["Finding motion"] > 2000
