"""From Gaussian motion to the original object, and what of it may move."""

from gvf_core.transfer.held import held, movable_at
from gvf_core.transfer.vertices import vertices_from_gaussians

__all__ = ["held", "movable_at", "vertices_from_gaussians"]
