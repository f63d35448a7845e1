"""Speed, offset, loop, in-place and display of results, through the properties that the panel draws."""

from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate
from recording_layout import RecordingLayout, panel_context
from shown_splats import splat_matrices
from test_import_results import point_attribute

from gvf_blender.importer import ImportOptions, import_animation, native_splats
from gvf_blender.result_properties import result_controls

FRAMES = 9


@pytest.fixture
def crate(addon):
    bpy.ops.mesh.primitive_cube_add(size=2, location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    bpy.context.object.name = "Crate"
    return bpy.context.object


@pytest.fixture(params=["splats", "points", "shape keys", "modifier"])
def result(request, crate, tmp_path):
    """One result of every kind: (object, where its first points are at an animation frame, the animation)."""
    if request.param == "modifier":
        crate.modifiers.new("Bevel", "BEVEL")
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    if request.param in ("splats", "points"):
        return getattr(imported, request.param), shown_gaussians, animation.world_means, animation
    return crate, shown_vertices, lambda frame: animation.world_vertices(0, frame), animation


def shown_vertices(thing):
    return evaluated_world_vertices(thing.name)


def shown_gaussians(thing):
    if thing.type == "MESH":
        return splat_matrices(thing)[:, :3, 3]
    matrix = np.array(thing.matrix_world)
    return point_attribute(thing, "position", "vector", 3) @ matrix[:3, :3].T + matrix[:3, 3]


def assert_shows(result, scene_frame, animation_frame, offset=(0, 0, 0)):
    thing, shown, expected, _ = result
    bpy.context.scene.frame_set(int(scene_frame), subframe=scene_frame - int(scene_frame))
    np.testing.assert_allclose(shown(thing), expected(animation_frame) + offset, atol=2e-5)


def test_speed_and_start_move_the_keys(result):
    controls = result[0].gvf
    assert (controls.play_start, controls.play_speed) == (1, pytest.approx(1))
    controls.play_speed = 0.5
    assert_shows(result, 1 + 6, 3)
    controls.play_start = 101
    assert (controls.play_start, controls.play_speed) == (101, pytest.approx(0.5))
    assert_shows(result, 101 + 6, 3)
    controls.play_speed = 2
    assert_shows(result, 101 + 3, 6)


def test_the_speed_counts_seconds_whatever_the_frame_rate_of_the_scene(result):
    bpy.context.scene.render.fps = 48
    assert result[0].gvf.play_speed == pytest.approx(2)
    result[0].gvf.play_speed = 1
    assert_shows(result, 1 + 6, 3)


def test_a_loop_starts_again_or_goes_backwards(result):
    controls, last = result[0].gvf, FRAMES - 1
    assert controls.play_loop == "ONCE"
    assert_shows(result, 1 + last + 3, last)
    controls.play_loop = "REPEAT"
    assert_shows(result, 1 + last + 3, 3)
    controls.play_loop = "MIRROR"
    assert_shows(result, 1 + last + 3, last - 3)
    controls.play_loop = "ONCE"
    assert_shows(result, 1 + last + 3, last)


def test_stepped_frames_stand_still_until_the_next_one_also_in_a_loop(result):
    controls = result[0].gvf
    controls.play_speed = 0.25
    controls.play_held = True
    assert_shows(result, 1 + 8, 2)
    assert_shows(result, 1 + 11.5, 2)
    assert_shows(result, 1 + 12, 3)
    controls.play_loop = "REPEAT"
    assert controls.play_held
    assert_shows(result, 1 + 32 + 11, 2)
    controls.play_speed = 0.5
    assert_shows(result, 1 + 5, 2)
    controls.play_held = False
    assert_shows(result, 1 + 5, 2.5)


def test_in_place_takes_out_the_way_over_the_ground_and_puts_it_back(result):
    controls, animation = result[0].gvf, result[3]
    assert not controls.play_in_place
    controls.play_in_place = True
    assert controls.play_in_place
    for frame in (0, 4, 4.5, 8):
        way = animation.world_means(frame).mean(axis=0) - animation.world_means(0).mean(axis=0)
        assert np.abs(way[:2]).max() > 0.05 or frame == 0
        assert_shows(result, 1 + frame, frame, offset=(-way[0], -way[1], 0))
    controls.play_in_place = False
    assert_shows(result, 1 + 4, 4)


def all_of(crate, tmp_path):
    """Splats, points and the mesh itself."""
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    return imported.splats, imported.points, crate


def settings_of(thing):
    controls = thing.gvf
    names = ("play_start", "play_speed", "play_loop", "play_held", "play_in_place")
    return tuple(round(value, 4) if isinstance(value := getattr(controls, name), float) else value for name in names)


CHANGED = (11, 0.5, "REPEAT", True, True)


def change(thing):
    controls = thing.gvf
    controls.play_start, controls.play_speed, controls.play_loop = 11, 0.5, "REPEAT"
    controls.play_held = controls.play_in_place = True


@pytest.mark.parametrize("changed", range(3))
def test_what_is_set_on_one_of_an_import_holds_for_all_of_it(crate, tmp_path, changed):
    results = all_of(crate, tmp_path)
    other_import = import_animation(bpy.context, tmp_path / "animation.safetensors", (), ImportOptions(frame_start=1))
    change(results[changed])
    assert [settings_of(thing) for thing in results] == [CHANGED] * 3
    assert settings_of(other_import.splats) == (1, 1, "ONCE", False, False)
    assert "play_together" in result_controls(results[changed])


def test_one_of_an_import_can_have_a_time_of_its_own(crate, tmp_path):
    splats, points, mesh = all_of(crate, tmp_path)
    before = settings_of(splats)
    points.gvf.play_together = False
    change(points)
    assert [settings_of(thing) for thing in (splats, points, mesh)] == [before, CHANGED, before]
    mesh.gvf.play_start = 5
    assert [thing.gvf.play_start for thing in (splats, points, mesh)] == [5, 11, 5]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("changed", ["copy", "original"])
def test_a_copy_can_have_a_time_of_its_own_whatever_it_shares_with_the_original(result, linked, changed):
    original = result[0]
    before = settings_of(original)
    bpy.ops.object.select_all(action="DESELECT")
    original.select_set(True)
    bpy.context.view_layer.objects.active = original
    bpy.ops.object.duplicate(linked=linked)
    copy = bpy.context.object
    copy.gvf.play_together = False
    change(copy if changed == "copy" else original)
    kept = original if changed == "copy" else copy
    assert [settings_of(thing) for thing in (original, copy)] == [
        before if thing == kept else CHANGED for thing in (original, copy)
    ]
    assert_shows((kept, *result[1:]), 1 + 4, 4)


def test_what_the_artist_adds_to_the_tree_of_a_motion_is_not_copied_with_the_positions(crate, tmp_path):
    crate.modifiers.new("Bevel", "BEVEL")
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    lamp = bpy.data.objects.new("Lamp", None)
    bpy.context.collection.objects.link(lamp)
    tree = crate.modifiers["GVF Motion"].node_group
    tree.nodes.new("GeometryNodeObjectInfo").inputs["Object"].default_value = lamp
    bpy.ops.object.select_all(action="DESELECT")
    crate.select_set(True)
    bpy.context.view_layer.objects.active = crate
    bpy.ops.object.duplicate()
    copy = bpy.context.object
    copy.gvf.play_together = False
    copy.gvf.play_in_place = True
    own = copy.modifiers["GVF Motion"].node_group
    assert own != tree and not crate.gvf.play_in_place
    assert [thing.name for thing in bpy.data.objects if thing.name.startswith("Lamp")] == ["Lamp"]
    data = [each.nodes["Motion data"].inputs["Object"].default_value for each in (own, tree)]
    assert data[0] != data[1]


def test_the_objects_of_an_import_are_known_after_renaming_saving_and_opening(crate, tmp_path):
    for name, thing in zip(("a", "b", "c"), all_of(crate, tmp_path), strict=True):
        thing.name = name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    change(bpy.data.objects["b"])
    assert [settings_of(bpy.data.objects[name]) for name in "abc"] == [CHANGED] * 3


def test_one_undo_takes_a_change_of_the_whole_result_back(crate, tmp_path):
    names = [thing.name for thing in all_of(crate, tmp_path)]
    bpy.ops.ed.undo_push(message="Import")
    bpy.data.objects[names[0]].gvf.play_speed = 0.5
    bpy.ops.ed.undo_push(message="Speed")
    assert [bpy.data.objects[name].gvf.play_speed for name in names] == [pytest.approx(0.5)] * 3
    bpy.ops.ed.undo()
    assert [bpy.data.objects[name].gvf.play_speed for name in names] == [pytest.approx(1)] * 3


def test_a_motion_of_a_later_import_has_left_the_earlier_one(crate, tmp_path):
    earlier = all_of(crate, tmp_path)
    later = all_of(crate, tmp_path)
    change(later[0])
    assert settings_of(crate) == CHANGED
    assert [settings_of(thing) for thing in earlier[:2]] == [(1, 1, "ONCE", False, False)] * 2
    earlier[0].gvf.play_start = 3
    assert (earlier[1].gvf.play_start, crate.gvf.play_start) == (3, 11)


def test_results_of_earlier_versions_stand_alone(crate, tmp_path):
    results = all_of(crate, tmp_path)
    for thing in results:
        del thing["gvf_import"]
    change(results[0])
    assert [thing.gvf.play_start for thing in results] == [11, 1, 1]
    assert "play_together" not in result_controls(results[0])


def test_a_motion_that_is_removed_while_in_place_leaves_the_mesh_as_it_was(crate, tmp_path):
    from gvf_blender.importer import remove_motion

    before = shown_vertices(crate)
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    crate.gvf.play_in_place = True
    assert remove_motion(crate)
    bpy.context.view_layer.update()
    np.testing.assert_array_equal(shown_vertices(crate), before)
    assert not crate.gvf.play_in_place


def test_results_play_as_set_after_saving_and_opening_the_file(result, tmp_path):
    thing = result[0]
    thing.gvf.play_speed, thing.gvf.play_loop, thing.gvf.play_in_place = 0.5, "MIRROR", True
    name = thing.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    controls = bpy.data.objects[name].gvf
    assert (controls.play_speed, controls.play_loop, controls.play_in_place) == (pytest.approx(0.5), "MIRROR", True)


def test_the_display_can_be_chosen_and_thinned_out_for_viewports(crate, tmp_path):
    animation = fabricate(tmp_path, crate, frames=3, gaussians=400)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    splats, points = imported.splats, imported.points
    for choice in ("SOLID", "POINTS", "SPLATS"):
        splats.gvf.display = choice
        assert splats.gvf.display == choice
    assert len(shown_gaussians(splats)) == len(shown_gaussians(points)) == 400
    splats.gvf.display_amount = points.gvf.display_amount = 0.25
    bpy.context.view_layer.update()
    assert 60 <= len(shown_gaussians(splats)) <= 140
    assert 60 <= len(shown_gaussians(points)) <= 140
    splats.gvf.display = "POINTS"
    points.gvf.display_size = 2.0
    bpy.context.view_layer.update()
    small, large = (point_attribute(thing, "radius", "value", 1).mean() for thing in (splats, points))
    assert large == pytest.approx(2 * small, rel=0.2)


def test_the_result_offers_to_raise_the_bounces_that_its_splats_lack_also_in_a_file_that_was_opened(
    crate, tmp_path, monkeypatch
):
    monkeypatch.setattr(native_splats, "has_native_splats", lambda: False)
    animation = fabricate(tmp_path, crate, frames=3)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))

    def shown(name):
        bpy.context.view_layer.objects.active = bpy.data.objects[name]
        layout = RecordingLayout()
        bpy.types.GVF_PT_result.draw(SimpleNamespace(layout=layout), panel_context())
        return layout

    assert "gvf.raise_transparent_bounces" not in shown("Crate points").names("operator")
    layout = shown("Crate splats")
    assert "gvf.raise_transparent_bounces" in layout.names("operator")
    assert "black specks" in layout.texts()
    assert bpy.ops.gvf.raise_transparent_bounces() == {"FINISHED"}
    assert "gvf.raise_transparent_bounces" not in shown("Crate splats").names("operator")


def test_what_plays_without_the_add_on_is_not_keyed_in_it(addon, crate):
    properties = crate.gvf.bl_rna.properties
    assert [one.identifier for one in properties if one.is_animatable and one.identifier != "name"] == []


def test_objects_without_a_result_have_no_controls(crate):
    assert result_controls(crate) == ()
    crate.gvf.play_speed = 3
    crate.gvf.play_in_place = True
    assert crate.gvf.play_speed == 1
    assert crate.gvf.display == "SPLATS"
    # Nor does a tree of the artist's own with inputs of the same names.
    tree = bpy.data.node_groups.new("Own", "GeometryNodeTree")
    for name in ("Frame", "Size", "In Place", "Display"):
        tree.interface.new_socket(name, in_out="INPUT", socket_type="NodeSocketFloat")
    crate.modifiers.new("Own", "NODES").node_group = tree
    assert result_controls(crate) == ()
    bpy.ops.object.light_add()
    assert result_controls(bpy.context.object) == ()
