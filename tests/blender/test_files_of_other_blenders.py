"""Splats that another Blender saved show here, whichever of the two has splats of its own."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from shown_splats import splat_matrices

from gvf_blender.importer.native_splats import has_native_splats
from gvf_blender.importer.playback import stored_frames
from gvf_blender.importer.splats import display_of, shows_proxies

HERE = Path(__file__).parent
# As `bpy.app.version` and `libraries.load` compare.
OLD, NEW = HERE / "splats_5_0.blend", HERE / "splats_5_3.blend"


def open_splats(path: Path) -> bpy.types.Object:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(path)) as (_, wanted):
        wanted.objects = ["Splats"]
    (splats,) = wanted.objects
    bpy.context.scene.collection.objects.link(splats)
    return splats


def assert_shows(splats: bpy.types.Object, scene_frame: int, animation_frame: int) -> None:
    bpy.context.scene.frame_set(scene_frame)
    shown = splat_matrices(splats)
    position, scale = (stored_frames(splats.data, name)[animation_frame] for name in ("position", "scale"))
    np.testing.assert_allclose(shown[:, :3, 3] - splats.matrix_world.translation, position, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(shown[:, :3, :3], axis=1), scale, rtol=1e-3)


@pytest.mark.skipif(bpy.app.version < (5, 0), reason="Blender opens no appended data of a later major version")
def test_splats_of_a_blender_without_native_ones_play_as_they_did():
    splats = open_splats(OLD)
    assert shows_proxies(splats)
    for frame in range(3):
        assert_shows(splats, 1 + frame, frame)


@pytest.mark.skipif(bpy.app.version < (5, 0), reason="Blender opens no appended data of a later major version")
def test_splats_of_a_blender_with_native_ones_show_as_proxies_where_there_are_none():
    """The first frame, as other Blenders do not know under which name 5.3 keys the frame."""
    splats = open_splats(NEW)
    assert display_of(splats.modifiers[0]) == "Splats"
    assert shows_proxies(splats) == (not has_native_splats())
    assert_shows(splats, 1, 0)
    if has_native_splats():
        assert_shows(splats, 3, 2)
