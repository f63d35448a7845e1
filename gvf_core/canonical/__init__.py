"""From a capture to canonical Gaussians, and where they stand in the video."""

from gvf_core.canonical.alignment import Alignment, align_to_frame
from gvf_core.canonical.surface import SurfaceGaussians, gaussians_on_surface

__all__ = ["Alignment", "SurfaceGaussians", "align_to_frame", "gaussians_on_surface"]
