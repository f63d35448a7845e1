"""Cameras and the differentiable Gaussian rasterizer."""

from gvf_core.rendering.camera import Camera, orbit_camera

__all__ = ["Camera", "orbit_camera"]
