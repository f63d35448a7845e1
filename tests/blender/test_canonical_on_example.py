"""Canonical Gaussians of the example asset look like the views that Blender takes of it."""

import bpy
import cv2
import numpy as np
import pytest

from gvf_blender.capture import CaptureOptions, capture
from gvf_core.canonical import gaussians_on_surface
from gvf_core.capture import Capture, load_capture
from gvf_core.rendering import rasterize

SIZE = 256


@pytest.fixture
def shark(empty_scene, examples, tmp_path) -> Capture:
    """A dozen views of the example, 512 pixels wide."""
    bpy.ops.import_scene.gltf(filepath=str(examples / "shark.glb"))
    capture(bpy.context, list(bpy.context.scene.objects), tmp_path / "shark.safetensors", CaptureOptions(views=12))
    return load_capture(tmp_path / "shark.safetensors")


def test_gaussians_on_the_surface_look_like_the_captured_views(shark):
    splats = gaussians_on_surface(shark, 20_000, np.random.default_rng(0)).gaussians.activate()
    ratios = []
    for view in shark.views:
        rendering = rasterize(splats, view.camera.resized(SIZE, SIZE), background=(1.0, 1.0, 1.0))
        rgba = view.rgba.astype(np.float32) / 255
        expected = cv2.resize(
            rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:], (SIZE, SIZE), interpolation=cv2.INTER_AREA
        )
        ratios.append(-10 * np.log10(np.square(rendering.color.numpy() - expected).mean()))
    assert np.mean(ratios) >= 27
    assert np.min(ratios) >= 25
