"""Latents of a clip by diffusion (section 3.3): conditions, guidance, windows of long clips, the solver."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.diffusion import (
    Guidance,
    StepControl,
    VpSchedule,
    discrete_vp_schedule,
    sample_adaptive,
    sample_multistep,
    squared_cosine_betas,
)
from gvf_core.diffusion.dpm_solver import NoiseModel
from gvf_core.memory import free_memory_mb
from gvf_core.models.guided_dit import dit_conditions, guided_noise
from gvf_core.models.variation_dit import VariationDit
from gvf_core.motion.clip_windows import Window, clip_windows
from gvf_core.progress import Monitor
from gvf_core.settings import AnimateSettings

LOGGER = logging.getLogger(__name__)

_KEPT_SHARE = 0.25
"""Of the free memory, for keys and values of image tokens that are kept from one evaluation to the next."""


@dataclass(frozen=True)
class LatentCondition:
    """What a sample is conditioned on.

    Attributes:
        image_tokens: Of every frame of the clip.
        static_tokens: Standardised 14-vectors of canonical Gaussians.
        positions: Of the latent tokens, as the network takes them.
    """

    image_tokens: Float[Tensor, "frames tokens image_channels"]
    static_tokens: Float[Tensor, "gaussians 14"]
    positions: Float[Tensor, "latents 3"]


@dataclass(frozen=True)
class LatentSample:
    """What the sampler drew.

    Attributes:
        latents: Standardised.
        figures: How many steps and evaluations it took.
    """

    latents: Float[Tensor, "frames latents channels"]
    figures: dict[str, Any]


def sample_latents(
    dit: VariationDit, condition: LatentCondition, settings: AnimateSettings, seed: int, monitor: Monitor
) -> LatentSample:
    """Draw the latents of a clip.

    A clip that is longer than a window is sampled as a whole: in every evaluation the windows' predictions are blended
    where they overlap, so that all windows describe one motion.

    Args:
        dit: The network.
        condition: What is asked for.
        settings: Sampler, guidance and windows.
        seed: Of the noise; the same on every device.
        monitor: Takes the progress.

    Raises:
        SamplingError: The network's answers are not finite.
        Cancelled: The caller asked to stop.
    """
    frames, latents = len(condition.image_tokens), len(condition.positions)
    device = condition.positions.device
    # Drawn on the CPU, so that a seed gives the same noise on every device.
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, frames, latents, dit.params.latent_channels, generator=generator).to(device)
    schedule = discrete_vp_schedule(squared_cosine_betas())
    guidance = Guidance(settings.static_guidance, settings.image_guidance)
    windows = clip_windows(frames, settings.window, settings.overlap)
    model = _Watched(_windowed_noise(dit, condition, guidance, schedule, windows), monitor)
    with torch.inference_mode():
        if settings.sampler == "multistep":
            drawn = sample_multistep(model, noise, schedule, settings.steps, on_step=model.advance)
            figures = {"steps": settings.steps}
        else:
            control = StepControl(relative_tolerance=settings.tolerance)
            sample = sample_adaptive(model, noise, schedule, control, on_step=model.advance)
            drawn, figures = sample.state, {"steps": len(sample.times) - 1, "steps_tried": sample.attempts}
    return LatentSample(drawn[0], figures | {"evaluations": model.calls, "windows": len(windows)})


class _Watched:
    """A noise model that asks the monitor before each evaluation and counts them."""

    def __init__(self, model: NoiseModel, monitor: Monitor) -> None:
        self._model, self._monitor, self._done = model, monitor, 0.0
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self._monitor(self._done)
        self.calls += 1
        return self._model(x, t)

    def advance(self, fraction: float) -> None:
        """Take note of how far the solver is."""
        self._done = fraction
        self._monitor(fraction)


def _windowed_noise(
    dit: VariationDit, condition: LatentCondition, guidance: Guidance, schedule: VpSchedule, windows: list[Window]
) -> NoiseModel:
    """The noise in the latents of a whole clip, from what the network says of each window."""
    device = condition.positions.device
    budget = _KEPT_SHARE * free_memory_mb(device) * 2**20
    kept: dict[int, NoiseModel] = {}

    def of_window(index: int) -> NoiseModel:
        """Keys and values of image tokens are kept as far as memory allows, else computed at each evaluation."""
        if index in kept:
            return kept[index]
        tokens = condition.image_tokens[windows[index].frames.to(condition.image_tokens.device)]
        conditions = dit_conditions(
            dit, tokens[None].to(device), condition.static_tokens[None], condition.positions[None], guidance
        )
        model = guided_noise(dit, conditions, guidance, schedule)
        if (len(kept) + 1) * _image_bytes(dit, tokens) <= budget or len(windows) == 1:
            kept[index] = model
        return model

    def noise(x: Float[Tensor, "1 frames latents channels"], t: Tensor) -> Tensor:
        if len(windows) == 1:
            return of_window(0)(x, t)
        total = torch.zeros_like(x)
        for index, window in enumerate(windows):
            frames = window.frames.to(device)
            share = window.weights.to(x)[None, :, None, None] * of_window(index)(x[:, frames], t)
            total.index_add_(1, frames, share)
        return total

    return noise


def _image_bytes(dit: VariationDit, tokens: Tensor) -> int:
    """Memory of the keys and values of image tokens in all blocks."""
    itemsize = next(dit.blocks.parameters()).element_size()
    return 2 * tokens.shape[0] * tokens.shape[1] * dit.params.width * dit.params.blocks * itemsize
