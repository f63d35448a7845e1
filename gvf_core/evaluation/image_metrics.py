"""Metrics between pictures that need no trained network."""

import importlib.util

from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import SettingsError

BEST_PSNR = 100.0
"""Stands for pictures without any difference."""


def peak_signal_to_noise(
    pictures: Float[Tensor, "batch channels height width"], references: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """PSNR of each picture in decibels, values in 0..1: 20 log10(1 / sqrt(mean squared error))."""
    return -10 * (pictures - references).square().flatten(1).mean(dim=1).log10()


def has_structural_similarity() -> bool:
    """Whether the package that computes SSIM is installed; looked up without importing it."""
    return importlib.util.find_spec("torchmetrics") is not None


def structural_similarity(
    pictures: Float[Tensor, "batch channels height width"],
    references: Float[Tensor, "batch channels height width"],
    data_range: float | None = 1.0,
) -> Float[Tensor, " batch"]:
    """SSIM of each picture, by torchmetrics: Gaussian window of deviation 1.5 (11 pixels), k1 0.01, k2 0.03.

    Defined by Wang et al., "Image Quality Assessment", IEEE Transactions on Image Processing 2004.

    Args:
        pictures: Values in 0..1.
        references: What they are compared with.
        data_range: Difference of the largest and the smallest possible value; None takes it from the pictures, as the
            script of Consistent4D does.

    Raises:
        SettingsError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise SettingsError(
            f"SSIM needs torchmetrics, which cannot be imported ({error}).",
            'Install it with `pip install "gvf-blender[evaluate]"`.',
        ) from error
    scores = structural_similarity_index_measure(pictures, references, reduction="none", data_range=data_range)
    return scores.reshape(-1) if isinstance(scores, Tensor) else scores[0].reshape(-1)


def data_range_of(references: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
    """Difference of the largest and smallest value of each picture: the peak that old versions of torchmetrics take."""
    values = references.flatten(1)
    return values.amax(dim=1) - values.amin(dim=1)
