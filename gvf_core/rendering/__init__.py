"""Cameras and the differentiable Gaussian rasterizer."""

from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.rendering.rasterize import BackendName, Rendering, rasterize

__all__ = ["BackendName", "Camera", "Rendering", "orbit_camera", "rasterize"]
