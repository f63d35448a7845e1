"""The squared-cosine noise schedule and its discrete variance-preserving form for DPM-Solver."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Float64, Int
from torch import Tensor

STEPS = 1000
_COSINE_OFFSET = 0.008
_LARGEST_BETA = 0.999
LOWEST_HALF_LOG_SNR = -5.1
"""Where DPM-Solver cuts a discrete schedule off; of the 1000 squared-cosine steps, 996 remain."""


def squared_cosine_betas(steps: int = STEPS) -> Float64[Tensor, " steps"]:
    """Noise added per step (Nichol and Dhariwal 2021, equation 17), at most 0.999."""
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((time + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp_max(_LARGEST_BETA)


def cumulative_alphas(betas: Float64[Tensor, " steps"]) -> Float64[Tensor, " steps"]:
    """Share of the signal's variance that is left after each step."""
    return torch.cumprod(1 - betas, dim=0)


def add_noise(
    clean: Float[Tensor, "batch *rest"],
    noise: Float[Tensor, "batch *rest"],
    step: Int[Tensor, " batch"],
    alphas: Float64[Tensor, " steps"],
) -> Float[Tensor, "batch *rest"]:
    """A sample of the forward process: sqrt(alpha) clean + sqrt(1 - alpha) noise."""
    signal, sigma = _weights(alphas, step, clean)
    return signal * clean + sigma * noise


def velocity_target(
    clean: Float[Tensor, "batch *rest"],
    noise: Float[Tensor, "batch *rest"],
    step: Int[Tensor, " batch"],
    alphas: Float64[Tensor, " steps"],
) -> Float[Tensor, "batch *rest"]:
    """What the network predicts (Salimans and Ho 2022): sqrt(alpha) noise - sqrt(1 - alpha) clean."""
    signal, sigma = _weights(alphas, step, clean)
    return signal * noise - sigma * clean


def without_noise(
    noisy: Float[Tensor, "batch *rest"],
    velocity: Float[Tensor, "batch *rest"],
    step: Int[Tensor, " batch"],
    alphas: Float64[Tensor, " steps"],
) -> Float[Tensor, "batch *rest"]:
    """The clean sample that a predicted velocity stands for: sqrt(alpha) noisy - sqrt(1 - alpha) velocity."""
    signal, sigma = _weights(alphas, step, noisy)
    return signal * noisy - sigma * velocity


def _weights(alphas: Tensor, step: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    alpha = alphas.to(step.device)[step].view(-1, *[1] * (like.dim() - 1))
    return alpha.sqrt().to(like.dtype), (1 - alpha).sqrt().to(like.dtype)


@dataclass(frozen=True)
class VpSchedule:
    """A variance-preserving schedule in continuous time, piecewise linear between the steps of a discrete one.

    Scalars are float32 on the CPU, as officially: the solver's times depend on their last bits.

    Attributes:
        times: Times of the steps, in (0, 1].
        log_alphas: Logarithm of the signal's weight there.
    """

    times: Float32[Tensor, " steps"]
    log_alphas: Float32[Tensor, " steps"]

    def log_alpha(self, t: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """Logarithm of the signal's weight."""
        return _interpolate(t, self.times, self.log_alphas)

    def alpha(self, t: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """Weight of the signal."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """Weight of the noise, sqrt(1 - alpha^2)."""
        return torch.sqrt(1 - torch.exp(2 * self.log_alpha(t)))

    def half_log_snr(self, t: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """Half the logarithm of the signal-to-noise ratio: log(alpha / sigma)."""
        return _half_log_snr(self.log_alpha(t))

    def time_of(self, half_log_snr: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """Inverse of `half_log_snr`."""
        log_alpha = -0.5 * torch.logaddexp(torch.zeros(()), -2 * half_log_snr)
        return _interpolate(log_alpha, self.log_alphas.flip(0), self.times.flip(0))

    def network_time(self, t: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
        """The time that the network is told: its own 1000 steps, begun at 0."""
        return (t - 1 / len(self.times)) * STEPS


def discrete_vp_schedule(betas: Float64[Tensor, " steps"]) -> VpSchedule:
    """The schedule of a discrete diffusion process, without its noisiest steps.

    Steps below a half log-SNR of -5.1 are dropped and the times of the rest spread over (0, 1], as `NoiseScheduleVP`
    of DPM-Solver does; what the network is told of time is thereby stretched by 1000 / 996. The released weights were
    sampled that way.
    """
    log_alphas = 0.5 * torch.log(1 - betas).cumsum(dim=0)
    kept = int((_half_log_snr(log_alphas) >= LOWEST_HALF_LOG_SNR).sum())
    times = torch.linspace(0, 1, kept + 1)[1:]
    return VpSchedule(times, log_alphas[:kept].float())


def _half_log_snr(log_alpha: Tensor) -> Tensor:
    return log_alpha - 0.5 * torch.log(1 - torch.exp(2 * log_alpha))


def _interpolate(x: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through the knots (rising), the outermost pieces continued beyond them."""
    right = torch.searchsorted(known, x.contiguous()).clamp(1, len(known) - 1)
    left = right - 1
    return values[left] + (x - known[left]) * (values[right] - values[left]) / (known[right] - known[left])
