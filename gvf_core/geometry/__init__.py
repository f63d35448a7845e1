"""Geometry on arrays: interpolation, neighbours, deformation graphs, rotations, surface sampling."""

from gvf_core.geometry.deformation_graph import DeformationGraph, build_deformation_graph, stack_poses
from gvf_core.geometry.interpolation import InterpolationWeights, interpolation_weights
from gvf_core.geometry.mesh import SurfacePoints, local_spacing, sample_surface, triangle_normals
from gvf_core.geometry.neighbors import farthest_points, nearest_neighbors
from gvf_core.geometry.rotations import (
    matrix_from_normal,
    matrix_from_rotation_vector,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
)

__all__ = [
    "DeformationGraph",
    "InterpolationWeights",
    "SurfacePoints",
    "build_deformation_graph",
    "farthest_points",
    "interpolation_weights",
    "local_spacing",
    "matrix_from_normal",
    "matrix_from_rotation_vector",
    "nearest_neighbors",
    "quaternion_from_matrix",
    "rotation_vector_from_matrix",
    "sample_surface",
    "stack_poses",
    "triangle_normals",
]
