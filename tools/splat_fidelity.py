"""How far splats in Cycles are from the same frame in the core's own rasterizer, seen by the same camera."""

from pathlib import Path

import bpy
import numpy as np
import torch
from PIL import Image

from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera, rasterize
from tools.staging import render_frame

BACKGROUND = 0.7
"""Grey in sRGB that both are laid over, neither bright nor dark as the splats are."""


def psnr_of_splats(splats: bpy.types.Object, camera: Camera, frame: int, folder: Path) -> float:
    """Render a frame with the scene's settings and with the rasterizer; leaves "cycles.png" and the splats as PLY.

    Args:
        splats: A splat object, the only thing that renders show.
        camera: The scene's camera; its size is that of the picture.
        frame: Scene frame.
        folder: For files.

    Returns:
        Peak signal-to-noise ratio of the sRGB pictures in decibels, in the part that the scene renders.
    """
    render_frame(frame, folder / "cycles.png")
    rgba = np.asarray(Image.open(folder / "cycles.png").convert("RGBA"), np.float32) / 255
    shown = rgba[..., :3] * rgba[..., 3:] + BACKGROUND * (1 - rgba[..., 3:])
    picture = rasterize(read_splats(splats, frame, folder), camera, background=(BACKGROUND,) * 3).color.numpy()
    expected = _rendered_part(bpy.context.scene.render, picture)
    return float(-10 * np.log10(np.square(shown - expected).mean()))


def read_splats(splats: bpy.types.Object, frame: int, folder: Path) -> Splats:
    """A frame of a splat object as other programs get it, from its export."""
    from gvf_blender.core.splat_ply_file import read_splat_ply
    from gvf_blender.exporter.splats import export_splats

    (path,), _ = export_splats(bpy.context, splats, folder / "splats", [frame])
    found = read_splat_ply(path)
    linear = np.maximum(found.colors, 0.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    fields = (found.positions, found.rotations, found.scales, found.opacities, srgb)
    return Splats(*(torch.from_numpy(np.ascontiguousarray(field, np.float32)) for field in fields))


def _rendered_part(render: bpy.types.RenderSettings, picture: np.ndarray) -> np.ndarray:
    if not (render.use_border and render.use_crop_to_border):
        return picture
    height, width = picture.shape[:2]
    columns = slice(round(render.border_min_x * width), round(render.border_max_x * width))
    rows = slice(round((1 - render.border_max_y) * height), round((1 - render.border_min_y) * height))
    return picture[rows, columns]
