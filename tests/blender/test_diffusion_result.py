"""A planted variation field goes all the way: decoded, applied, transferred, imported, rendered in Blender."""

import sys
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
import torch
from shown_splats import splat_matrices

from gvf_blender.capture import CaptureOptions, capture
from gvf_blender.importer import ImportOptions, import_animation
from gvf_core.animation import save_animation
from gvf_core.capture import load_capture
from gvf_core.gaussians import VariationField
from gvf_core.motion.diffusion import Diffusion
from gvf_core.pipeline import animate
from gvf_core.rendering import orbit_camera
from gvf_core.settings import AnimateSettings
from tools.staging import add_camera, render_frame, set_up_cycles

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from planted_motion import plant, random_models
from video_files import write_video

SEEN = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.05], [0.2, 0.0, 0.1]])
"""The planted positions as the video sees them: to the right, away, up."""
FRAMES, SIZE, SCALE = len(SEEN), 96, 3.0
AZIMUTH = 90.0
EXPECTED = SCALE * SEEN.numpy() @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
"""The same in the scene: seen from +x, right is +y. The asset is 3 metres long."""


@pytest.fixture
def planted(empty_scene, tmp_path, monkeypatch):
    """An ellipsoid with an imported animation, and the capture's Gaussians at rest."""
    monkeypatch.setenv("GVF_CACHE_DIR", str(tmp_path / "latents"))
    bpy.ops.mesh.primitive_uv_sphere_add(segments=24, ring_count=12, location=(2.0, -1.0, 0.5))
    asset = bpy.context.object
    asset.name, asset.scale = "Egg", (SCALE / 2, 0.45, 0.4)
    bpy.context.view_layer.update()
    file = tmp_path / "capture.safetensors"
    captured = capture(bpy.context, [asset], file, CaptureOptions(views=3, size=64, samples=1))
    models = random_models()
    deltas = torch.zeros(FRAMES, 14)
    deltas[:, VariationField.MEANS] = SEEN
    deltas[:, VariationField.OPACITY] = 6.0  # random weights are nearly transparent
    settings = AnimateSettings(engine="diffusion", azimuth=AZIMUTH)
    engine = Diffusion(models, settings, plant(models.variation_vae, deltas))
    animation = animate(load_capture(file), _film(tmp_path), settings, engine=engine)
    result = tmp_path / "animation.safetensors"
    # Weights in memory carry no record of where they come from.
    save_animation(result, replace(animation, provenance=animation.provenance | {"is_result": False}))
    imported = import_animation(bpy.context, result, captured.sources, ImportOptions(frame_start=1))
    return imported, asset


def _film(folder: Path) -> Path:
    """An ellipse that stands still where the asset is seen."""
    y, x = np.mgrid[:SIZE, :SIZE]
    inside = ((x - SIZE / 2) / (0.16 * SIZE)) ** 2 + ((y - SIZE / 2) / (0.14 * SIZE)) ** 2 < 1
    frame = np.where(inside[..., None], np.uint8(90), np.uint8(255)).repeat(3, axis=2)
    return write_video(folder / "still.mp4", [frame] * FRAMES)


def world_points(thing: bpy.types.Object) -> np.ndarray:
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = thing.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    points = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", points.ravel())
    evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def test_splats_and_mesh_move_exactly_as_planted(planted):
    imported, asset = planted
    for centers in (lambda: splat_matrices(imported.splats)[:, :3, 3], lambda: world_points(asset)):
        bpy.context.scene.frame_set(1)
        rest = centers()
        for index in range(FRAMES):
            bpy.context.scene.frame_set(1 + index)
            np.testing.assert_allclose(centers() - rest, np.tile(EXPECTED[index], (len(rest), 1)), atol=1e-4)


def test_a_render_shows_the_planted_motion(planted, tmp_path):
    imported, asset = planted
    scene = bpy.context.scene
    camera = orbit_camera(AZIMUTH, 0, radius=3 * SCALE, size=SIZE)
    moved = camera.world_to_camera.copy()
    moved[:3, 3] -= moved[:3, :3] @ np.array(asset.location)
    camera = replace(camera, world_to_camera=moved)
    add_camera(scene, camera)
    set_up_cycles(scene, SIZE, samples=16, denoise=False)
    scene.render.film_transparent = True
    for shown in (imported.splats, asset):
        for thing in (imported.splats, imported.points, asset):
            thing.hide_render = thing != shown
        found = [_center(tmp_path, frame) for frame in (1, FRAMES)]
        expected = [camera.project(np.array(asset.location) + EXPECTED[index])[0] for index in (0, FRAMES - 1)]
        np.testing.assert_allclose(found[1] - found[0], expected[1] - expected[0], atol=0.6)


def _center(folder: Path, frame: int) -> np.ndarray:
    """Mean pixel of what a render shows."""
    path = folder / f"{frame}.png"
    render_frame(frame, path)
    image = bpy.data.images.load(str(path))
    alpha = np.array(image.pixels, np.float32).reshape(SIZE, SIZE, 4)[::-1, :, 3]
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    assert alpha.sum() > 50
    return np.array([(alpha * x).sum(), (alpha * y).sum()]) / alpha.sum()


def test_what_random_weights_made_says_so_in_its_name(planted):
    imported, asset = planted
    assert imported.splats.name == "Egg (random weights) splats"
    assert imported.points.name == "Egg (random weights) points"
    assert asset.name == "Egg"
