"""From a capture to canonical Gaussians, and where they stand in the video."""

from gvf_core.canonical.agreement import check_views
from gvf_core.canonical.alignment import Alignment, align_to_frame
from gvf_core.canonical.gaussians import CanonicalGaussians
from gvf_core.canonical.surface import SurfaceGaussians, gaussians_on_surface
from gvf_core.canonical.view_search import FoundView, find_view

__all__ = [
    "Alignment",
    "CanonicalGaussians",
    "FoundView",
    "SurfaceGaussians",
    "align_to_frame",
    "check_views",
    "find_view",
    "gaussians_on_surface",
]
