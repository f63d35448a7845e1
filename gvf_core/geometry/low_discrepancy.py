"""Point sets that cover evenly: Hammersley points in the unit cube and as directions on the sphere."""

import math

import numpy as np
from jaxtyping import Float64

_BASES = (2, 3, 5)


def hammersley(count: int, dimensions: int) -> Float64[np.ndarray, "count dimensions"]:
    """Hammersley points in [0, 1): i / count, then the radical inverses of i in bases 2, 3 and 5."""
    index = np.arange(count)
    columns = [index / max(count, 1), *(_radical_inverse(index, base) for base in _BASES[: dimensions - 1])]
    return np.stack(columns, axis=1)


def sphere_hammersley(count: int, offset: tuple[float, float] = (0.0, 0.0)) -> Float64[np.ndarray, "count 2"]:
    """Evenly spread directions as (azimuth, elevation) in radians, the official camera ring of TRELLIS.

    Args:
        count: Number of directions.
        offset: Moves the points: the first along the elevation in units of one point, the second as a fraction of a
            turn around.
    """
    u, v = hammersley(count, 2).T
    elevation = np.arccos(np.clip(1 - 2 * (u + offset[0] / count), -1, 1)) - math.pi / 2
    return np.stack([2 * math.pi * (v + offset[1]), elevation], axis=1)


def _radical_inverse(index: np.ndarray, base: int) -> np.ndarray:
    """Digits of the index mirrored at the point."""
    result, fraction, rest = np.zeros(len(index)), 1 / base, index.copy()
    while rest.any():
        result += fraction * (rest % base)
        rest //= base
        fraction /= base
    return result
