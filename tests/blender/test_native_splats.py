"""Where Blender has Gaussian splats of its own, the display "Splats" is made of them and looks as the proxies do."""

import bpy
import numpy as np
import pytest
from fabricated_animation import fabricate
from shown_splats import splat_matrices
from test_import_results import import_one_splat, rendered_pixels

from gvf_blender.importer import (
    ImportOptions,
    import_animation,
    lacks_transparent_bounces,
    native_splats,
    raise_transparent_bounces,
)
from gvf_blender.importer.nodes import set_modifier_input
from gvf_blender.importer.splats import set_display

pytestmark = pytest.mark.skipif(
    not native_splats.has_native_splats(), reason="This Blender has no Gaussian splats of its own; 5.3 has"
)
FRAMES = 3


def import_bunch(folder) -> bpy.types.Object:
    """300 flat, coloured, moving splats, the source object out of sight."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.mesh.primitive_cube_add(size=1)
    scales = np.random.default_rng(1).uniform((0.03, 0.05, 0.005), (0.1, 0.15, 0.02), (1, 300, 3))
    changes = {"scales": scales.astype(np.float16)}
    animation = fabricate(folder, bpy.context.object, frames=FRAMES, gaussians=300, changes=changes)
    bpy.context.object.hide_render = True
    options = ImportOptions(points=False, motion=False, frame_start=1)
    return import_animation(bpy.context, animation.path, animation.sources, options).splats


def picture(path, frame: int) -> np.ndarray:
    """What Cycles shows, before black."""
    raise_transparent_bounces(bpy.context.scene)
    bpy.context.scene.frame_set(frame)
    pixels = rendered_pixels(path, samples=256, size=32)
    return pixels[..., :3] * pixels[..., 3:]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(first - second).mean()))


def shown_kinds(splats: bpy.types.Object) -> set[str]:
    bpy.context.view_layer.update()
    found = bpy.context.evaluated_depsgraph_get().object_instances
    shown = (each.object for each in found if each.is_instance and each.parent.original == splats)
    return {thing.data.type if thing.type == "POINTCLOUD" else thing.type for thing in shown}


def test_native_splats_look_in_cycles_as_the_proxies_do_and_move(tmp_path, monkeypatch):
    import_bunch(tmp_path)
    native = {frame: picture(tmp_path / f"native {frame}.png", frame) for frame in (1, FRAMES)}
    monkeypatch.setattr(native_splats, "has_native_splats", lambda: False)
    import_bunch(tmp_path)
    for frame, other in ((1, FRAMES), (FRAMES, 1)):
        proxies = picture(tmp_path / f"proxies {frame}.png", frame)
        assert psnr(native[frame], proxies) > 30
        assert psnr(native[other], proxies) < 22


def test_each_display_shows_its_kind(tmp_path):
    splats = import_bunch(tmp_path)
    for display, kinds in (("Splats", {"GAUSSIAN_SPLAT"}), ("Solid Ellipsoids", {"MESH"}), ("Points", {"POINTS"})):
        set_display(splats.modifiers[0], display)
        assert shown_kinds(splats) == kinds


def test_the_size_makes_native_splats_larger(tmp_path):
    splats = import_bunch(tmp_path)
    before = splat_matrices(splats)
    set_modifier_input(splats.modifiers[0], "Size", 2.0)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(splat_matrices(splats)[:, :3, :3], 2 * before[:, :3, :3], rtol=1e-4, atol=1e-7)


def test_native_splats_need_no_transparent_bounces(empty_scene, tmp_path):
    import_bunch(tmp_path)
    scene = bpy.context.scene
    assert not lacks_transparent_bounces(scene)
    assert raise_transparent_bounces(scene)


def test_native_splats_light_nothing(empty_scene, tmp_path):
    splats = import_one_splat(tmp_path, color=(50, 50, 50), scale=(0.1, 0.1, 0.08))
    bpy.ops.mesh.primitive_plane_add(size=4, location=(0, 0.5, 0), rotation=(np.pi / 2, 0, 0))
    assert rendered_pixels(tmp_path / "dark.png", samples=8)[:4, :, :3].max() < 0.01
    splats.visible_diffuse = True
    assert rendered_pixels(tmp_path / "lit.png", samples=8)[:4, :, :3].mean() > 0.03


@pytest.mark.parametrize("linear", [0.0, 0.02, 0.18, 1.0])
def test_the_radiance_that_solid_shading_shows_is_the_colour_in_srgb(empty_scene, tmp_path, linear):
    splats = import_one_splat(tmp_path, color=(linear,) * 3, opacity=0.75)
    instances = bpy.context.evaluated_depsgraph_get().object_instances
    radiance = next(
        np.array(each.object.data.attributes["radiance:base"].data[0].color)
        for each in instances
        if each.is_instance and each.parent.original == splats
    )
    srgb = 12.92 * linear if linear < 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    # 3D Gaussian splatting adds 0.5 to the spherical harmonic of degree 0.
    shown = np.maximum(0.5 + 0.28209479 * radiance[:3], 0)
    np.testing.assert_allclose(shown, srgb, atol=0.008)
    assert radiance[3] == pytest.approx(0.75, abs=1e-3)
