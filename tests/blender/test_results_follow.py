"""Splats and points hang on their original: they go where the artist moves it, and nowhere by themselves."""

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate
from mathutils import Matrix
from test_applied_transforms import apply, shown

from gvf_blender.asset_file import open_asset
from gvf_blender.asset_summary import summarise
from gvf_blender.asset_vertices import world_vertices
from gvf_blender.capture.selection import surface_objects
from gvf_blender.core.errors import SelectionError
from gvf_blender.core.motion_settings import MotionSettings
from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.exporter.splats import export_splats
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.request import check_selection, make_request

FRAMES = 3


def crate(name="Crate"):
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, -1, 2), rotation=(0.3, 0.2, 1.0), scale=(1, 2, 1))
    bpy.context.object.name = name
    return bpy.context.object


def imported(tmp_path, *objects):
    animation = fabricate(tmp_path, *objects, frames=FRAMES)
    return animation, import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))


@pytest.mark.parametrize("kind", ["splats", "points"])
def test_results_follow_their_original_from_where_they_were_placed(empty_scene, tmp_path, kind):
    original = crate()
    animation, made = imported(tmp_path, original)
    result = getattr(made, kind)
    np.testing.assert_allclose(shown(result, 2)[0], animation.world_means(1), atol=2e-5)
    move = np.array(Matrix.Translation((5, 1, 0)) @ Matrix.Rotation(0.7, 4, "X") @ Matrix.Scale(2, 4))
    original.matrix_world = Matrix(move) @ original.matrix_world
    bpy.context.view_layer.update()
    moved = animation.world_means(1) @ move[:3, :3].T + move[:3, 3]
    np.testing.assert_allclose(shown(result, 2)[0], moved, atol=1e-4)
    vertices = animation.world_vertices(0, 1) @ move[:3, :3].T + move[:3, 3]
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), vertices, atol=1e-4)


def test_results_stay_when_the_transforms_of_their_original_are_applied(empty_scene, tmp_path):
    original = crate()
    animation, made = imported(tmp_path, original)
    apply(original)
    for result in (made.splats, made.points):
        np.testing.assert_allclose(shown(result, 2)[0], animation.world_means(1), atol=2e-5)
        apply(result)
        np.testing.assert_allclose(shown(result, 3)[0], animation.world_means(2), atol=2e-5)


def test_results_can_be_let_loose_and_outlive_their_original(empty_scene, tmp_path):
    original = crate()
    animation, made = imported(tmp_path, original)
    bpy.ops.object.select_all(action="DESELECT")
    made.splats.select_set(True)
    bpy.context.view_layer.objects.active = made.splats
    bpy.ops.object.parent_clear(type="CLEAR_KEEP_TRANSFORM")
    original.location.x += 1
    np.testing.assert_allclose(shown(made.splats, 2)[0], animation.world_means(1), atol=2e-5)
    bpy.data.objects.remove(original)
    np.testing.assert_allclose(shown(made.points, 2)[0], animation.world_means(1), atol=2e-5)


def keyed(thing):
    thing.keyframe_insert("location", frame=1)
    thing.location.x += 1
    thing.keyframe_insert("location", frame=3)
    bpy.context.scene.frame_set(1)


def constrained(thing):
    thing.constraints.new("LIMIT_LOCATION")


def below_something_constrained(thing):
    bpy.ops.object.empty_add()
    constrained(bpy.context.object)
    thing.parent = bpy.context.object


def instancing(thing):
    thing.instance_type = "VERTS"


@pytest.mark.parametrize("change", [keyed, constrained, below_something_constrained, instancing])
def test_results_do_not_follow_what_moves_or_multiplies_by_itself(empty_scene, tmp_path, change):
    original = crate()
    change(original)
    animation, made = imported(tmp_path, original)
    assert (made.splats.parent, made.points.parent) == (None, None)
    np.testing.assert_allclose(shown(made.splats, 3)[0], animation.world_means(2), atol=2e-5)


def test_results_of_several_objects_follow_none(empty_scene, tmp_path):
    made = imported(tmp_path, crate(), crate("Other"))[1]
    assert made.splats.parent is None


def test_the_results_below_a_rig_are_no_part_of_the_asset(addon, tmp_path):
    original = crate()
    bpy.ops.object.empty_add()
    rig = bpy.context.object
    original.parent = rig
    imported(tmp_path, original)
    assert original.children
    assert surface_objects(bpy.context, [rig]) == [original]
    assert summarise([rig]).vertices == 8
    assert len(world_vertices(bpy.context, [rig])) == 8


def test_results_that_are_selected_too_are_no_part_of_the_asset(addon, tmp_path, video):
    original = crate()
    made = imported(tmp_path, original)[1]
    selected = [made.splats, made.points, original]
    assert surface_objects(bpy.context, selected) == [original]
    assert summarise(selected).objects == 1
    assert len(world_vertices(bpy.context, selected)) == 8
    assert make_request(selected, video, MotionSettings()).objects == ("Crate",)


def test_a_selection_of_nothing_but_results_is_refused(addon, tmp_path):
    made = imported(tmp_path, crate())[1]
    bpy.ops.object.light_add()
    with pytest.raises(SelectionError, match="holds only results: 'Crate splats', 'Crate points'"):
        check_selection([made.splats, made.points, bpy.context.object])
    with pytest.raises(SelectionError, match="'Crate splats' is a result"):
        surface_objects(bpy.context, [made.splats])


def test_the_results_in_a_blend_file_are_no_asset(empty_scene, tmp_path):
    imported(tmp_path, crate())
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    assert [thing.name for thing in open_asset(path)] == ["Crate"]
    bpy.data.objects.remove(bpy.data.objects["Crate"])
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    with pytest.raises(SelectionError, match="no visible mesh"):
        open_asset(path)


def test_an_export_follows_an_original_that_was_keyed_later(empty_scene, tmp_path):
    original = crate()
    animation, made = imported(tmp_path, original)
    keyed(original)
    paths, _ = export_splats(bpy.context, made.splats, tmp_path / "splats", [1, 3])
    for path, frame, way in zip(paths, (0, 2), (0, 1), strict=True):
        expected = animation.world_means(frame) + np.array([way, 0, 0])
        np.testing.assert_allclose(read_splat_ply(path).positions, expected, atol=2e-5)
    assert bpy.context.scene.frame_current == 1
