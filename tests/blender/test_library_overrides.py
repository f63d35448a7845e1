"""Motion on library overrides, which forget custom properties when they are saved."""

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate

from gvf_blender.asset_summary import summarise
from gvf_blender.importer import ImportOptions, has_motion, has_result, import_animation
from gvf_blender.importer.render_choice import is_kept_out_of_renders
from gvf_blender.importer.root import obstacle_to_root

TOLERANCE = 1e-5


@pytest.fixture
def crate(addon, tmp_path):
    """An override of a cube that has a bevel and shape keys in its own file."""
    bpy.ops.mesh.primitive_cube_add(size=2)
    bpy.context.object.name = "Crate"
    bpy.context.object.modifiers.new("Bevel", "BEVEL")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = ["Crate"]
    # Blender 5.3 overrides only what is in use.
    bpy.context.scene.collection.objects.link(wanted.objects[0])
    return wanted.objects[0].override_create(remap_local_usages=True)


def bring(crate, tmp_path):
    animation = fabricate(tmp_path, crate, frames=3)
    return animation, import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))


def reopened(tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    crate = bpy.context.scene.objects["Crate"]
    bpy.context.view_layer.objects.active = crate
    crate.select_set(True)
    assert crate.override_library is not None
    return crate


def values(datablock):
    return {key: list(value) if hasattr(value, "typecode") else value for key, value in datablock.items()}


def check_moves(animation):
    for frame in (1, 3):
        bpy.context.scene.frame_set(frame)
        np.testing.assert_allclose(
            evaluated_world_vertices("Crate"), animation.world_vertices(0, frame - 1), atol=TOLERANCE
        )


def test_it_moves_in_the_saved_file_and_belongs_to_its_import(crate, tmp_path):
    assert not any("override" in warning for warning in summarise([crate]).warnings)
    animation, imported = bring(crate, tmp_path)
    assert imported.motion == (crate,) and not any("Crate" in warning for warning in imported.warnings)
    check_moves(animation)
    crate = reopened(tmp_path)
    check_moves(animation)
    assert crate.hide_render and not is_kept_out_of_renders(crate)
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert list(bpy.context.scene.objects) == [crate]
    crate = reopened(tmp_path)
    assert [modifier.name for modifier in crate.modifiers] == ["Bevel"]
    assert not crate.hide_render and not has_result(crate)


@pytest.mark.parametrize("own", [False, True])
def test_it_is_shown_in_renders_as_before_once_the_motion_is_removed(crate, tmp_path, own):
    crate.hide_render = own
    for _ in range(2):  # the second import replaces the motion of the first
        bring(crate, tmp_path)
        crate = reopened(tmp_path)
        assert crate.hide_render
    assert len(crate.modifiers) == 2
    assert bpy.ops.gvf.remove_motion() == {"FINISHED"}
    for _ in range(2):
        assert crate.hide_render == own and not has_motion(crate)
        crate = reopened(tmp_path)


def test_a_copy_keeps_what_it_needs_to_be_shown_again(crate, tmp_path):
    bring(crate, tmp_path)
    bpy.ops.object.select_all(action="DESELECT")
    crate.select_set(True)
    bpy.ops.object.duplicate()
    copy = bpy.context.selected_objects[0]
    for thing in (crate, copy):
        bpy.ops.object.select_all(action="DESELECT")
        thing.select_set(True)
        assert bpy.ops.gvf.remove_motion() == {"FINISHED"}
        assert not thing.hide_render


def test_a_failed_import_leaves_it_as_it_was(crate, tmp_path, monkeypatch):
    bring(crate, tmp_path)
    before = crate.modifiers[-1].node_group
    notes = values(before)
    monkeypatch.setattr("gvf_blender.importer.animation_import.mark_import", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bring(crate, tmp_path)
    assert [modifier.node_group for modifier in crate.modifiers if modifier.type == "NODES"] == [before]
    assert values(before) == notes and crate.hide_render and not is_kept_out_of_renders(crate)


def test_it_gets_no_root_which_it_would_forget(crate, tmp_path):
    bring(crate, tmp_path)
    assert obstacle_to_root(crate) is not None
