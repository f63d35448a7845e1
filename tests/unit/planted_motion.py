"""A set of small networks whose decoder turns planted latents into exactly the variation that is wanted."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.models.attention import merge_heads
from gvf_core.models.dinov2_names import Dinov2Sizes
from gvf_core.models.image_encoder import ImageEncoder
from gvf_core.models.model_set import ModelSet, Statistics
from gvf_core.models.random_weights import random_image_encoder, without_zeros
from gvf_core.models.static_vae import SlatParams, StaticVae
from gvf_core.models.variation_dit import VariationDit, VariationDitParams
from gvf_core.models.variation_vae import VariationVae, VariationVaeParams
from gvf_core.motion.latent_sampling import LatentCondition, LatentSample

LATENT_MEAN, LATENT_STD = 0.3, 1.7
ENCODER = Dinov2Sizes(width=64, depth=1, heads=1, grid=8)
SLAT = SlatParams(feature_channels=64, width=96, blocks=2, heads=2)
DIT = VariationDitParams(width=96, blocks=2, heads=2, image_channels=64)
VAE = VariationVaeParams(width=96, depth=1, heads=2)


def random_models(seed: int = 0) -> ModelSet:
    """Networks smaller than the nano ones, in memory; their statistics change latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModelSet(
            name="in-memory",
            records=(),
            device=torch.device("cpu"),
            image_encoder=ImageEncoder(random_image_encoder(ENCODER)),
            static_vae=without_zeros(StaticVae(SLAT)).eval(),
            variation_vae=without_zeros(VariationVae(VAE)).eval(),
            dit=without_zeros(VariationDit(DIT)).eval(),
            statistics=Statistics(
                torch.zeros(14), torch.ones(14), torch.full((16,), LATENT_MEAN), torch.full((16,), LATENT_STD)
            ),
        )


@dataclass(frozen=True)
class PlantedSampler:
    """In place of `sample_latents`: gives the same latents whatever is asked for, equal for all tokens of a frame.

    A fake, because no trained network is at hand; everything after it is real.
    """

    latents: Float[Tensor, "frames channels"]

    def __call__(self, dit, condition: LatentCondition, settings, seed, monitor) -> LatentSample:
        monitor(0)
        assert len(condition.image_tokens) == len(self.latents)
        standardised = (self.latents - LATENT_MEAN) / LATENT_STD
        return LatentSample(standardised[:, None].expand(-1, len(condition.positions), -1), {"planted": True})


def plant(vae: VariationVae, deltas: Float[Tensor, "frames 14"]) -> PlantedSampler:
    """Choose a latent for every frame and set the decoder's last layer so that it answers with these raw deltas.

    Attention to equal tokens gives their value, whatever the query; so all Gaussians get the same deltas.
    """
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(len(deltas), vae.params.latent_channels, generator=generator)
    with torch.no_grad():
        contexts = vae.latent_context(latents[None, :, None].expand(-1, -1, vae.params.latents, -1))
        values = torch.stack([merge_heads(context.values)[0, 0] for context in contexts])
        answers = vae.decoder_cross_attn.fn.to_out(values).double()
        solved = torch.linalg.lstsq(answers, deltas.double(), driver="gelsd").solution
        assert torch.dist(answers @ solved, deltas.double()) < 1e-6
        vae.to_outputs.weight.copy_(solved.T)
        vae.to_outputs.bias.zero_()
    return PlantedSampler(latents)
