"""From Gaussian motion to the original object."""

from gvf_core.transfer.vertices import vertices_from_gaussians

__all__ = ["vertices_from_gaussians"]
