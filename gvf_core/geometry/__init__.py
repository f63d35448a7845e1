"""Geometry on arrays: interpolation, deformation graphs, rotations, surface sampling."""

from gvf_core.geometry.interpolation import InterpolationWeights, interpolation_weights

__all__ = ["InterpolationWeights", "interpolation_weights"]
