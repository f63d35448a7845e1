"""The splats of a .blend file look in Cycles like the same frame in the core's rasterizer, from the same camera."""

from dataclasses import dataclass, replace
from pathlib import Path

import bpy
import numpy as np
import pytest
import torch

from gvf_blender.capture import CaptureOptions, capture
from gvf_blender.importer import ImportOptions, import_animation, raise_transparent_bounces
from gvf_core.animation import Animation, save_animation
from gvf_core.canonical.surface import gaussians_on_surface
from gvf_core.capture import load_capture
from gvf_core.gaussians import VariationField
from gvf_core.rendering import Camera, orbit_camera, rasterize
from tools.staging import add_camera, render_frame, set_up_cycles

SIZE, FRAMES, BACKGROUND = 96, 3, 0.7
CAMERA = orbit_camera(azimuth=20, elevation=15, radius=2.0, fov=40, size=SIZE)


@dataclass(frozen=True)
class Imported:
    splats: bpy.types.Object
    animation: Animation


@pytest.fixture(scope="module")
def monkey(tmp_path_factory) -> Imported:
    """A two-coloured monkey that stretches and turns its head, anywhere in the scene, as imported splats alone."""
    folder = tmp_path_factory.mktemp("monkey")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_monkey_add(size=3, location=(4, -2, 1))
    asset = bpy.context.object
    asset.modifiers.new("Smooth", "SUBSURF").levels = 1
    asset.data.materials.append(_checker())
    captured = capture(bpy.context, [asset], folder / "capture", CaptureOptions(views=8, size=192, samples=2))
    file = load_capture(folder / "capture")
    gaussians = gaussians_on_surface(file, 6000, np.random.default_rng(0)).gaussians
    deltas = torch.zeros(FRAMES, len(gaussians), 14)
    share = torch.linspace(0, 1, FRAMES)[:, None, None]
    deltas[..., VariationField.MEANS] = share * gaussians.means * torch.tensor([0.3, 0.2, -0.2])
    animation = Animation(
        gaussians, VariationField(deltas), np.tile(file.vertices, (FRAMES, 1, 1)), captured.world_from_unit, 24.0, {}
    )
    save_animation(folder / "animation", animation)
    asset.hide_render = True
    options = ImportOptions(points=False, motion=False, frame_start=1)
    return Imported(import_animation(bpy.context, folder / "animation", captured.sources, options).splats, animation)


def _checker() -> bpy.types.Material:
    material = bpy.data.materials.new("Checker")
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    checker = tree.nodes.new("ShaderNodeTexChecker")
    checker.inputs["Scale"].default_value = 3.0
    checker.inputs["Color1"].default_value, checker.inputs["Color2"].default_value = (
        (0.6, 0.1, 0.05, 1),
        (0.1, 0.3, 0.6, 1),
    )
    shader = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeBsdfPrincipled")
    tree.links.new(checker.outputs["Color"], shader.inputs["Base Color"])
    return material


def _in_world(camera: Camera, world_from_unit: np.ndarray) -> Camera:
    """The camera of the unit frame as it stands in the scene."""
    scale, origin = world_from_unit[0, 0], world_from_unit[:3, 3]
    moved = camera.world_to_camera.copy()
    moved[:3, 3] = scale * moved[:3, 3] - moved[:3, :3] @ origin
    return replace(camera, world_to_camera=moved)


def _cycles_picture(path: Path, frame: int) -> np.ndarray:
    """What Cycles shows before the background, sRGB [SIZE, SIZE, 3]."""
    render_frame(frame, path)
    image = bpy.data.images.load(str(path))
    rgba = np.array(image.pixels, np.float32).reshape(SIZE, SIZE, 4)[::-1]
    return rgba[..., :3] * rgba[..., 3:] + BACKGROUND * (1 - rgba[..., 3:])


def _psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(first - second).mean()))


@pytest.mark.parametrize("frame", [0, FRAMES - 1])
def test_cycles_shows_the_splats_of_a_frame_as_the_rasterizer_does(monkey, tmp_path, frame):
    scene = bpy.context.scene
    add_camera(scene, _in_world(CAMERA, monkey.animation.world_from_unit))
    set_up_cycles(scene, SIZE, samples=32, denoise=False)
    raise_transparent_bounces(scene)
    shown = _cycles_picture(tmp_path / "cycles.png", 1 + frame)
    splats = monkey.animation.gaussians.activate(monkey.animation.variation.deltas[frame])
    expected = rasterize(splats, CAMERA, background=(BACKGROUND,) * 3).color.numpy()
    assert 0.1 < (np.abs(expected - BACKGROUND).max(axis=-1) > 0.1).mean() < 0.8
    assert _psnr(shown, expected) > 30
    other = monkey.animation.gaussians.activate(monkey.animation.variation.deltas[FRAMES - 1 - frame])
    assert _psnr(shown, rasterize(other, CAMERA, background=(BACKGROUND,) * 3).color.numpy()) < 22
