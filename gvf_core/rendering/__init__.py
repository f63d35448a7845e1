"""Cameras and the differentiable Gaussian rasterizer."""

from gvf_core.rendering.camera import Camera, camera_from_blender, orbit_camera
from gvf_core.rendering.rasterize import BackendName, Rendering, rasterize

__all__ = ["BackendName", "Camera", "Rendering", "camera_from_blender", "orbit_camera", "rasterize"]
