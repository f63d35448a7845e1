"""The variation VAE over batches, frames, chunks and padding."""

import pytest
import torch

from gvf_core.models.variation_vae import VariationVae, pad_gaussians
from tests.plain import plain_networks
from tests.unit.small_networks import VAE, assert_close, noise, small_vae


def asset(count: int, seed: int) -> torch.Tensor:
    return torch.cat([noise(count, 3, seed=seed), noise(count, 11, seed=seed + 1)], dim=1)


def clip(frames: int = 3, points: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two objects and their displacements."""
    return noise(2, points, 3, seed=5), 0.1 * noise(2, frames, points, 3, seed=6)


@pytest.mark.parametrize("chunk", [1, 7, 30, 1000])
@torch.inference_mode()
def test_decoding_in_chunks_gives_what_the_plain_network_gives(chunk):
    vae = small_vae()
    latents, gaussians = noise(2, 3, VAE.latents, VAE.latent_channels), noise(2, 30, 14, seed=1)
    expected = plain_networks.variation_vae_decode(vae.state_dict(), VAE.heads, latents, gaussians)
    assert_close(vae.decode(latents, gaussians, chunk), expected, 2e-6)


@torch.inference_mode()
def test_padding_changes_nothing_for_the_gaussians_that_are_there():
    vae = small_vae()
    items = [asset(30, 1), asset(21, 3)]
    gaussians, counts = pad_gaussians(items)
    assert gaussians.shape == (2, 30, 14) and counts.tolist() == [30, 21]
    assert gaussians[1, 21:].unique(dim=0).tolist() == [[0.0] * 10 + [1.0] + [0.0] * 3]
    points, displacements = clip()
    together = vae.encode(gaussians, counts, points, displacements)
    latents = together.posterior.mean
    deltas = vae.decode(latents, gaussians)
    for item, own in enumerate(items):
        one = slice(item, item + 1)
        alone = vae.encode(own[None], counts[one], points[one], displacements[one])
        assert torch.equal(alone.index[0], together.index[item])
        assert_close(alone.posterior.mean[0], latents[item], 2e-6)
        assert_close(vae.decode(latents[one], own[None])[0], deltas[item, :, : len(own)], 2e-6)


@torch.inference_mode()
def test_frames_do_not_see_each_other_and_any_number_of_them_works():
    vae = small_vae()
    gaussians, counts = pad_gaussians([asset(30, 1), asset(25, 3)])
    points, displacements = clip(frames=5)
    whole = vae.encode(gaussians, counts, points, displacements).posterior.mean
    some = vae.encode(gaussians, counts, points, displacements[:, 1:3]).posterior.mean
    assert whole.shape == (2, 5, VAE.latents, VAE.latent_channels)
    assert_close(some, whole[:, 1:3], 2e-6)
    assert_close(vae.decode(whole, gaussians)[:, 1:3], vae.decode(whole[:, 1:3], gaussians), 2e-6)


@torch.inference_mode()
def test_latent_tokens_sit_at_gaussians_far_from_each_other():
    vae = small_vae()
    gaussians, counts = pad_gaussians([asset(30, 1), asset(25, 3)])
    encoded = vae.encode(gaussians, counts, *clip())
    assert encoded.index[:, 0].tolist() == [0, 0]
    assert all(len(set(index)) == VAE.latents for index in encoded.index.tolist())
    assert torch.equal(encoded.gaussians[1], gaussians[1, encoded.index[1]])


@torch.inference_mode()
def test_the_first_selected_gaussian_is_drawn_where_a_generator_is_given():
    vae = small_vae()
    gaussians, counts = pad_gaussians([asset(30, 1), asset(25, 3)])

    def first(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return vae.encode(gaussians, counts, *clip(), generator=generator).index[:, 0].tolist()

    starts = [first(seed) for seed in range(8)]
    assert first(3) == starts[3]
    assert len({tuple(start) for start in starts}) > 3
    assert all(second < 25 for _, second in starts)


@torch.inference_mode()
def test_an_asset_with_too_few_gaussians_is_refused():
    gaussians, counts = pad_gaussians([asset(30, 1), asset(VAE.latents - 1, 3)])
    with pytest.raises(ValueError, match=f"{VAE.latents} points.*cannot be selected from {VAE.latents - 1}"):
        small_vae().encode(gaussians, counts, *clip())


def test_a_fresh_decoder_leaves_the_asset_as_it_is():
    vae = VariationVae(VAE).eval()
    with torch.inference_mode():
        deltas = vae.decode(noise(1, 2, VAE.latents, VAE.latent_channels), noise(1, 9, 14))
    assert torch.equal(deltas, torch.zeros(1, 2, 9, 14))


def test_the_posterior_is_sampled_around_its_mean_and_has_no_divergence_where_it_is_standard():
    vae = small_vae()
    gaussians, counts = pad_gaussians([asset(30, 1), asset(25, 3)])
    posterior = vae.encode(gaussians, counts, *clip()).posterior
    draws = torch.stack([posterior.sample(torch.Generator().manual_seed(seed)) for seed in range(400)])
    spread = (0.5 * posterior.logvar).exp()
    assert ((draws.mean(dim=0) - posterior.mean).abs() < 6 * spread / 20).all()
    torch.testing.assert_close(draws.std(dim=0), spread, rtol=0.25, atol=0)
    assert (posterior.kl_divergence() >= 0).all()
    standard = type(posterior)(torch.zeros(4), torch.zeros(4))
    assert torch.equal(standard.kl_divergence(), torch.zeros(4))
