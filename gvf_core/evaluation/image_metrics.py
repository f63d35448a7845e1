"""Metrics between pictures that need no trained network."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import SettingsError

BEST_PSNR = 100.0
"""Stands for pictures without any difference."""
_WINDOW_REACH = 5
"""Pixels between the centre and the border of the window of SSIM."""


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
        data_range: Difference of the largest and the smallest possible value; None takes it from each pair, as the
            script of Consistent4D does.

    Raises:
        SettingsError: torchmetrics is not installed.
    """
    pairs = zip(pictures.split(1), references.split(1), strict=True)
    return torch.stack([_similarity(*pair, data_range) for pair in pairs])


def _similarity(
    picture: Float[Tensor, "1 channels height width"],
    reference: Float[Tensor, "1 channels height width"],
    data_range: float | None,
) -> Float[Tensor, ""]:
    """SSIM computed only where the pictures differ, because it is 1 where they do not: a quarter of the time."""
    measure = _imported_measure()
    if data_range is None:
        data_range = float(torch.maximum(data_range_of(picture), data_range_of(reference)))
    differs = (picture != reference).any(dim=1)[0]
    rows, columns = (torch.nonzero(differs.any(dim=axis))[:, 0] for axis in (1, 0))
    if not len(rows):
        return torch.ones(())
    # Windows that touch a difference, and what those windows reach, so that the border of the part is without any.
    top, left = (max(int(places[0]) - 2 * _WINDOW_REACH, 0) for places in (rows, columns))
    below, right = (int(places[-1]) + 2 * _WINDOW_REACH + 1 for places in (rows, columns))
    parts = [one[..., top:below, left:right] for one in (picture, reference)]
    return 1 - (1 - measure(*parts, data_range=data_range)) * parts[0].numel() / picture.numel()


def _imported_measure() -> Callable[..., Any]:
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise SettingsError(
            f"SSIM needs torchmetrics, which cannot be imported ({error}).",
            'Install it with `pip install "gvf-blender[evaluate]"`.',
        ) from error
    return structural_similarity_index_measure


def data_range_of(references: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
    """Difference of the largest and smallest value of each picture: the peak that old versions of torchmetrics take."""
    values = references.flatten(1)
    return values.amax(dim=1) - values.amin(dim=1)
