"""Which of splats, points and moving mesh renders show: they lie inside each other."""

import bpy
import pytest
from fabricated_animation import fabricate

from gvf_blender.asset_file import open_asset
from gvf_blender.capture.selection import surface_objects
from gvf_blender.importer import ImportOptions, animation_import, import_animation
from gvf_blender.result_properties import result_controls


@pytest.fixture
def crate(addon):
    bpy.ops.mesh.primitive_cube_add(size=2)
    bpy.context.object.name = "Crate"
    return bpy.context.object


def imported(crate, tmp_path, **options):
    animation = fabricate(tmp_path, crate, frames=3)
    options = ImportOptions(frame_start=1, **options)
    return import_animation(bpy.context, animation.path, animation.sources, options)


def rendered():
    return {thing.name for thing in bpy.context.scene.objects if not thing.hide_render}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "Crate splats"),
        ({"points": False}, "Crate splats"),
        ({"splats": False}, "Crate"),
        ({"splats": False, "points": False}, "Crate"),
    ],
)
def test_renders_show_one_form_of_a_new_result_and_viewports_all(crate, tmp_path, options, expected):
    imported(crate, tmp_path, **options)
    assert rendered() == {expected}
    assert all(thing.visible_get() for thing in bpy.context.scene.objects)


def test_an_original_that_does_not_move_stays_as_it_is(crate, tmp_path):
    imported(crate, tmp_path, motion=False)
    assert rendered() == {"Crate", "Crate splats"}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("splats", [False, True])
def test_the_originals_own_setting_comes_back_with_the_end_of_its_motion(crate, tmp_path, hidden, splats):
    crate.hide_render = hidden
    imported(crate, tmp_path, splats=splats)
    assert crate.hide_render == (hidden or splats)
    crate.gvf.render_shows = {"MESH"}
    assert not crate.hide_render
    imported(crate, tmp_path)
    bpy.ops.object.select_all(action="DESELECT")
    crate.select_set(True)
    assert bpy.ops.gvf.remove_motion() == {"FINISHED"}
    assert crate.hide_render == hidden
    assert not [name for name, _ in crate.items() if name.startswith("gvf_")]


@pytest.mark.parametrize("chosen_on", ["Crate splats", "Crate points", "Crate"])
def test_renders_show_what_is_chosen_on_any_of_the_result(crate, tmp_path, chosen_on):
    imported(crate, tmp_path)
    controls = bpy.data.objects[chosen_on].gvf
    assert "render_shows" in result_controls(bpy.data.objects[chosen_on])
    assert controls.render_shows == {"SPLATS"}
    for choice, expected in (
        ({"MESH"}, {"Crate"}),
        ({"POINTS"}, {"Crate points"}),
        ({"SPLATS", "MESH"}, {"Crate", "Crate splats"}),
    ):
        controls.render_shows = choice
        assert rendered() == expected
        assert controls.render_shows == choice


def test_what_is_not_there_cannot_be_chosen_alone(crate, tmp_path):
    imported(crate, tmp_path, points=False)
    crate.gvf.render_shows = {"POINTS"}
    assert rendered() == {"Crate splats"}


def test_one_undo_takes_a_choice_back(crate, tmp_path):
    imported(crate, tmp_path)
    bpy.ops.ed.undo_push(message="Import")
    crate.gvf.render_shows = {"MESH"}
    bpy.ops.ed.undo_push(message="Render")
    bpy.ops.ed.undo()
    assert rendered() == {"Crate splats"}


def test_an_original_whose_splats_were_deleted_can_be_rendered_again(crate, tmp_path):
    made = imported(crate, tmp_path, points=False)
    bpy.data.objects.remove(made.splats)
    assert rendered() == set()
    assert "render_shows" in result_controls(crate)
    crate.gvf.render_shows = {"MESH"}
    assert rendered() == {"Crate"}


def test_a_later_motion_alone_shows_the_original_again(crate, tmp_path):
    imported(crate, tmp_path)
    imported(crate, tmp_path, splats=False, points=False)
    assert rendered() == {"Crate", "Crate splats"}


def test_an_original_that_its_splats_stand_in_for_is_still_an_asset(crate, tmp_path):
    bpy.ops.object.empty_add()
    rig = bpy.context.object
    crate.parent = rig
    imported(crate, tmp_path)
    assert crate.hide_render
    assert surface_objects(bpy.context, [rig]) == [crate]
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert [thing.name for thing in open_asset(tmp_path / "scene.blend")] == ["Crate"]


def also_in_another_scene(crate):
    bpy.data.scenes.new("Other").collection.objects.link(crate)


def also_instanced(crate):
    """As a part of a collection that another object shows."""
    outer, inner = (bpy.data.collections.new(name) for name in ("Outer", "Inner"))
    outer.children.link(inner)
    inner.objects.link(crate)
    instance = bpy.data.objects.new("Instance", None)
    instance.instance_type, instance.instance_collection = "COLLECTION", outer
    bpy.context.collection.objects.link(instance)


def keyed(crate):
    crate.keyframe_insert("hide_render", frame=1)


def driven(crate):
    crate.driver_add("hide_render").driver.expression = "frame > 100"


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (also_in_another_scene, "other scenes"),
        (also_instanced, "collection instances"),
        (keyed, "keys or a driver"),
        (driven, "keys or a driver"),
    ],
)
def test_an_original_stays_in_renders_where_hiding_it_would_not_last_or_leave_a_hole_elsewhere(
    crate, tmp_path, done, reason
):
    done(crate)
    warnings = imported(crate, tmp_path).warnings
    bpy.context.scene.frame_set(2)
    assert not crate.hide_render
    assert [warning for warning in warnings if reason in warning and "Crate" in warning]


def test_an_original_that_came_into_another_scene_shows_again_with_the_next_import(crate, tmp_path):
    imported(crate, tmp_path)
    also_in_another_scene(crate)
    imported(crate, tmp_path)
    assert not crate.hide_render


def test_nothing_is_said_of_an_original_that_the_artist_hides_himself(crate, tmp_path):
    crate.hide_render = True
    also_in_another_scene(crate)
    assert not [warning for warning in imported(crate, tmp_path).warnings if "other scenes" in warning]
    assert crate.hide_render


def test_a_failed_import_leaves_what_renders_show(crate, tmp_path, monkeypatch):
    def choose_and_fail(transaction, objects):
        choose(transaction, objects)
        raise RuntimeError("no")

    choose = animation_import.choose_rendered
    monkeypatch.setattr(animation_import, "choose_rendered", choose_and_fail)
    with pytest.raises(RuntimeError, match="no"):
        imported(crate, tmp_path)
    assert rendered() == {"Crate"}
    assert not [name for name, _ in crate.items() if name.startswith("gvf_")]
