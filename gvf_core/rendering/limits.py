"""The thresholds that decide what a Gaussian adds to a pixel.

They are those of gsplat 1.5.3 (`Common.h`, `ProjectionEWA3DGSFused.cu` and `RasterizeToPixels3DGSFwd.cu`), so
that a render on the CPU equals a render on a GPU. Later gsplat versions differ: its main branch caps alpha at
0.99 and keeps the compensation of the filter above 0.005.
"""

from typing import NamedTuple


class Limits(NamedTuple):
    """Thresholds of projection and compositing.

    The numba kernels take them as an argument: as global constants they would be frozen into the kernels' disk
    cache, which does not notice that another file changed.

    Attributes:
        min_alpha: A Gaussian adds nothing to a pixel where its alpha is smaller.
        max_alpha: Alpha is clamped here, and no gradient flows through the clamp.
        min_transmittance: A pixel is finished before the Gaussian that would leave this little or less.
        near: Gaussians whose centre is nearer are dropped (world units).
        far: Gaussians whose centre is farther are dropped (world units).
        max_extent: Largest reach of a footprint in standard deviations. exp(-3.33^2 / 2) = 1 / 255.8, so it
            never cuts a pixel that `min_alpha` keeps.
        frustum_margin: The projection is linearised at most this fraction of half the image outside of it.
    """

    min_alpha: float = 1 / 255
    max_alpha: float = 0.999
    min_transmittance: float = 1e-4
    near: float = 0.01
    far: float = 1e10
    max_extent: float = 3.33
    frustum_margin: float = 0.3


LIMITS = Limits()
"""The limits that every backend uses."""
