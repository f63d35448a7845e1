"""Remove Result: the file is as it was before the import."""

import bpy
import pytest
from fabricated_animation import fabricate
from shown_splats import splat_matrices

from gvf_blender.importer import ImportOptions, TrackCache, has_result, import_animation

KINDS = [entry.identifier for entry in bpy.data.bl_rna.properties if entry.type == "COLLECTION"]


@pytest.fixture
def crate(addon):
    bpy.ops.mesh.primitive_cube_add(size=2)
    bpy.context.object.name = "Crate"
    return bpy.context.object


def imported(crate, tmp_path, cache=None):
    animation = fabricate(tmp_path, crate, frames=3)
    options = ImportOptions(frame_start=1, cache=cache)
    return import_animation(bpy.context, animation.path, animation.sources, options)


def activate(name):
    bpy.context.view_layer.objects.active = bpy.data.objects[name]


def state():
    crate = bpy.data.objects["Crate"]
    return (
        {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in KINDS},
        crate.hide_render,
        # Up to Blender 4.5 registered properties count as custom ones once somebody has read them.
        sorted(set(crate.keys()) - {"gvf"}),
        len(crate.modifiers),
        crate.data.shape_keys,
    )


@pytest.mark.parametrize("modifier", [None, "BEVEL"])
@pytest.mark.parametrize("name", ["Crate splats", "Crate points", "Crate"])
def test_the_file_is_as_it_was_before_the_import(crate, tmp_path, name, modifier):
    if modifier:
        crate.modifiers.new("Bevel", modifier)
    before = state()
    imported(crate, tmp_path)
    activate(name)
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert state() == before


def duplicate(*things, linked=False):
    bpy.ops.object.select_all(action="DESELECT")
    for thing in things:
        thing.select_set(True)
    bpy.ops.object.duplicate(linked=linked)
    return bpy.context.selected_objects


@pytest.mark.parametrize("linked", [False, True])
def test_copies_of_splats_and_points_go_with_them(crate, tmp_path, linked):
    before = state()
    made = imported(crate, tmp_path)
    duplicate(made.splats, made.points, linked=linked)
    activate("Crate splats")
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert state() == before


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("modifier", [None, "BEVEL"])
def test_what_has_a_time_of_its_own_stays_whole(crate, tmp_path, modifier, linked):
    if modifier:
        crate.modifiers.new("Bevel", modifier)
    made = imported(crate, tmp_path)
    copies = duplicate(made.splats, crate, linked=linked)
    for copy in copies:
        copy.gvf.play_together = False
    activate("Crate splats")
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert {thing.name for thing in bpy.data.objects if thing.users_scene} == {"Crate", *(copy.name for copy in copies)}
    assert all(map(has_result, copies)) and not has_result(crate)
    assert [splat_matrices(copy).shape[0] for copy in copies if "splats" in copy.name] == [40]
    activate(next(copy.name for copy in copies if "splats" in copy.name))
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert {thing.name for thing in bpy.data.objects if "splats" in thing.name} == set()
    assert not bpy.data.materials and has_result(bpy.data.objects["Crate.001"])


def test_renders_show_an_original_again_that_has_a_time_of_its_own_and_lost_its_splats(crate, tmp_path):
    imported(crate, tmp_path)
    crate.gvf.play_together = False
    activate("Crate splats")
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert has_result(crate) and not crate.hide_render


def test_one_undo_brings_the_result_back(crate, tmp_path):
    imported(crate, tmp_path)
    bpy.ops.ed.undo_push(message="Import")
    before = {thing.name: (thing.hide_render, thing.get("gvf_import")) for thing in bpy.data.objects}
    activate("Crate splats")
    bpy.ops.gvf.remove_result()
    bpy.ops.ed.undo_push(message="Remove Result")
    assert bpy.data.objects.keys() == ["Crate"]
    bpy.ops.ed.undo()
    assert {thing.name: (thing.hide_render, thing.get("gvf_import")) for thing in bpy.data.objects} == before
    assert bpy.data.objects["Crate"].data.shape_keys is not None


def test_tracks_in_a_file_of_their_own_are_no_longer_linked_and_stay_on_disk(crate, tmp_path):
    imported(crate, tmp_path, TrackCache(tmp_path / "tracks", 0))
    assert len(bpy.data.libraries) == 1
    activate("Crate points")
    bpy.ops.gvf.remove_result()
    assert not bpy.data.libraries and not bpy.data.pointclouds
    assert len(list((tmp_path / "tracks").iterdir())) == 1


def test_what_is_not_of_the_import_stays(crate, tmp_path):
    imported(crate, tmp_path)
    lamp = bpy.data.objects.new("Lamp", None)
    bpy.data.collections["Crate GVF"].objects.link(lamp)
    later = imported(crate, tmp_path)
    activate("Crate splats")
    bpy.ops.gvf.remove_result()
    assert set(bpy.data.objects.keys()) == {"Crate", "Lamp", later.splats.name, later.points.name}
    assert bpy.data.objects["Crate"].data.shape_keys is not None
    assert bpy.data.objects["Crate"].hide_render
    assert "Crate GVF" in bpy.data.collections


def test_a_result_of_an_earlier_version_goes_alone(crate, tmp_path):
    made = imported(crate, tmp_path)
    for thing in (made.splats, made.points, crate):
        del thing["gvf_import"]
    activate("Crate splats")
    bpy.ops.gvf.remove_result()
    assert set(bpy.data.objects.keys()) == {"Crate", "Crate points"}
    assert crate.data.shape_keys is not None


def linked(path, names, override=False):
    """Objects of another file in an empty one."""
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.objects = list(names)
    for thing in wanted.objects:
        bpy.context.collection.objects.link(thing)
    # Blender 5.3 overrides only what is in use.
    found = [thing.override_create(remap_local_usages=True) for thing in wanted.objects] if override else wanted.objects
    for thing in found:
        thing.select_set(True)
    return found


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize("modifier", [None, "BEVEL"])
def test_what_would_come_back_from_another_file_is_not_removed_here(crate, tmp_path, modifier, override):
    if modifier:
        crate.modifiers.new("Bevel", modifier)
    imported(crate, tmp_path)
    names = ("Crate", "Crate splats", "Crate points")
    for thing in linked(tmp_path / "library.blend", names, override):
        bpy.context.view_layer.objects.active = thing
        with pytest.raises(RuntimeError, match="linked from another file"):
            bpy.ops.gvf.remove_result()
    with pytest.raises(RuntimeError, match="linked from another file"):
        bpy.ops.gvf.remove_motion()


def test_what_is_of_this_file_goes_without_what_is_linked(crate, tmp_path):
    imported(crate, tmp_path)
    splats, points = linked(tmp_path / "library.blend", ("Crate splats", "Crate points"))
    points = points.make_local()
    bpy.context.view_layer.objects.active = points
    assert bpy.ops.gvf.remove_result() == {"FINISHED"}
    assert list(bpy.context.scene.objects) == [splats]


def test_it_is_off_with_the_reason_where_nothing_can_be_removed(crate, tmp_path):
    with pytest.raises(RuntimeError, match="is no result"):
        bpy.ops.gvf.remove_result()
    imported(crate, tmp_path)
    activate("Crate")
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Switch to object mode"):
        bpy.ops.gvf.remove_result()
