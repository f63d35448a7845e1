"""Metrics between pictures."""

from jaxtyping import Float
from torch import Tensor


def peak_signal_to_noise(
    pictures: Float[Tensor, "batch channels height width"], references: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """PSNR of each picture in decibels, values in 0..1: 20 log10(1 / sqrt(mean squared error))."""
    return -10 * (pictures - references).square().flatten(1).mean(dim=1).log10()
