"""Distances between what a network says of found and of true videos."""

import numpy as np
from jaxtyping import Float


def frechet_distance(
    found: Float[np.ndarray, "videos features"], true: Float[np.ndarray, "others features"]
) -> float | None:
    """Fréchet distance of two normal distributions with the means and covariances of the samples.

    The Fréchet video distance (FVD; Unterthiner et al., "Towards Accurate Generative Models of Video", 2018) of
    features of I3D: |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). Populations smaller than the number of features bias it
    upwards, so that only figures of equally many videos may be compared.

    Returns:
        None if a side has less than two videos, and therefore no covariance.
    """
    if min(len(found), len(true)) < 2:
        return None
    first, second = found.astype(np.float64), true.astype(np.float64)
    shift = first.mean(axis=0) - second.mean(axis=0)
    # The nonzero eigenvalues of C1 C2 are squares of the singular values of this product of centred samples, which
    # needs no square root of a singular matrix.
    centred = [(part - part.mean(axis=0)) / np.sqrt(len(part) - 1) for part in (first, second)]
    roots = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False)
    spread = sum(float(np.square(part).sum()) for part in centred)
    return max(float(shift @ shift) + spread - 2 * float(roots.sum()), 0.0)


def single_video_distance(found: Float[np.ndarray, " features"], true: Float[np.ndarray, " features"]) -> float:
    """What Consistent4D's evaluation calls FVD: of one video per side.

    Its `compute_fvd.py` hands one row of 400 features to `numpy.cov(..., rowvar=False)`, which takes a single row as
    one variable with 400 observations. What comes out with numpy 1 is the squared distance of the features, plus the
    squared difference of their standard deviations over the classes (ddof 1). It says nothing about a distribution of
    videos, so that it has a name of its own here.
    """
    first, second = found.astype(np.float64), true.astype(np.float64)
    return float(np.square(first - second).sum() + (first.std(ddof=1) - second.std(ddof=1)) ** 2)
