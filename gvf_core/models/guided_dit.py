"""The variation DiT under guidance, as the noise model that a sampler asks."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.diffusion import Branch, Guidance, VpSchedule, noise_from_velocity
from gvf_core.diffusion.dpm_solver import NoiseModel
from gvf_core.models.variation_dit import DitCondition, VariationDit


def dit_conditions(
    dit: VariationDit,
    image_tokens: Float[Tensor, "batch frames tokens image_channels"],
    static_tokens: Float[Tensor, "batch gaussians static_channels"],
    positions: Float[Tensor, "batch latents 3"],
    guidance: Guidance,
) -> dict[Branch, DitCondition]:
    """The conditions that the guidance needs; one zero token stands for all dropped ones, positions stay.

    Args:
        dit: The network.
        image_tokens: As for `VariationDit.condition`.
        static_tokens: As for `VariationDit.condition`.
        positions: As for `VariationDit.condition`.
        guidance: The scales.
    """
    no_image, no_static = torch.zeros_like(image_tokens[:1, :1, :1]), torch.zeros_like(static_tokens[:1, :1])
    tokens: dict[Branch, tuple[Tensor, Tensor]] = {
        "none": (no_image, no_static),
        "static": (no_image, static_tokens),
        "full": (image_tokens, static_tokens),
    }
    return {branch: dit.condition(*tokens[branch], positions) for branch in guidance.branches}


def guided_noise(
    dit: VariationDit,
    conditions: Mapping[Branch, DitCondition],
    guidance: Guidance,
    schedule: VpSchedule,
    *,
    batched: bool | None = None,
) -> NoiseModel:
    """The noise in latents, as the network sees it under guidance.

    Args:
        dit: The network.
        conditions: From `dit_conditions`.
        guidance: The scales.
        schedule: The noise schedule.
        batched: Evaluate all branches in one batch: on a GPU it saves launches, on a CPU it only takes memory. By the
            network's device if not given.
    """
    if batched is None:
        batched = dit.input_layer.weight.is_cuda
    groups = [guidance.branches] if batched else [(branch,) for branch in guidance.branches]

    def noise(x: Float[Tensor, "batch frames latents channels"], t: Tensor) -> Tensor:
        network_time = schedule.network_time(t).to(x.device).expand(len(x))
        predictions: dict[Branch, Tensor] = {}
        for branches in groups:
            velocities = dit(x, network_time, [conditions[branch] for branch in branches]).chunk(len(branches))
            for branch, velocity in zip(branches, velocities, strict=True):
                predictions[branch] = noise_from_velocity(velocity, x, t, schedule)
        return guidance.combine(predictions)

    return noise
