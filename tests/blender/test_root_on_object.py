"""Root on Object: the way over the ground as keys of the objects, in worlds that stay as they were."""

from dataclasses import replace

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate
from shown_splats import splat_matrices

from gvf_blender.core.errors import FileError
from gvf_blender.importer import ImportOptions, import_animation, remove_motion
from gvf_blender.importer.compat import fcurves_of
from gvf_blender.importer.root import obstacle_to_root
from gvf_blender.result_properties import result_controls

FRAMES = 9
TIMES = (-3, 1, 4, 4.5, 9, 14, 20.25)


def new_crate(name="Crate", **where):
    bpy.ops.mesh.primitive_cube_add(size=2, **where)
    bpy.context.object.name = name
    return bpy.context.object


@pytest.fixture(params=[None, "BEVEL"], ids=["shape keys", "modifier"])
def crate(addon, request):
    """Turned, scaled, with a delta location, below a parent that is turned, scaled and moves."""
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.collection.objects.link(parent)
    parent.rotation_euler, parent.scale = (0.5, 0.1, -0.4), (1.5, 1.5, 1.5)
    crate = new_crate(location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    crate.scale, crate.delta_location, crate.delta_rotation_euler = (1, 2, 0.5), (0.3, 0.2, 0.1), (0, 0, 0.7)
    crate.parent = parent
    if request.param:
        crate.modifiers.new("Bevel", request.param)
    return crate


def moving(*objects, path, **options):
    animation = fabricate(path, *objects, frames=FRAMES)
    return import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1, **options))


def shown(*names, times=TIMES):
    """World positions of the vertices, or Gaussians, of objects at scene frames."""
    found = []
    for time in times:
        bpy.context.scene.frame_set(int(np.floor(time)), subframe=time - np.floor(time))
        for name in names:
            is_mesh = "splats" not in name
            positions = evaluated_world_vertices(name) if is_mesh else splat_matrices(bpy.data.objects[name])[:, :3, 3]
            found.append(positions)
    return found


def assert_same(found, expected, atol=1e-4):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=atol, rtol=0)


def places(name, times=TIMES):
    found = []
    for time in times:
        bpy.context.scene.frame_set(int(np.floor(time)), subframe=time - np.floor(time))
        found.append(np.array(bpy.data.objects[name].matrix_world.translation))
    return np.array(found)


def state():
    kinds = [entry.identifier for entry in bpy.data.bl_rna.properties if entry.type == "COLLECTION"]
    things = {
        # Before 5.0, keys also name the add-on's property group, which is there once it was looked at.
        thing.name: (tuple(thing.delta_location), thing.animation_data is None, sorted({*thing.keys()} - {"gvf"}))
        for thing in bpy.data.objects
    }
    return {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds}, things


def test_the_object_goes_the_way_and_the_vertices_stay_where_they_were(crate, tmp_path):
    moving(crate, path=tmp_path)
    crate.parent.keyframe_insert("rotation_euler", frame=1)
    crate.parent.rotation_euler.z += 1
    crate.parent.keyframe_insert("rotation_euler", frame=9)
    before, still, as_before = shown("Crate"), places("Crate"), state()
    assert "play_root" in result_controls(crate) and not crate.gvf.play_root
    crate.gvf.play_root = True
    assert crate.gvf.play_root and not crate.gvf.play_in_place
    assert_same(shown("Crate"), before)
    assert np.abs(places("Crate") - still).max() > 0.5
    crate.gvf.play_root = False
    assert_same(shown("Crate"), before, atol=2e-6)
    assert state() == as_before


def test_the_keys_are_the_way_over_the_ground_in_the_scene(addon, tmp_path):
    crate = new_crate(location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    crate.gvf.play_root = True
    way = np.array([animation.world_means(frame).mean(axis=0) for frame in range(FRAMES)])
    way -= way[0]
    found = places("Crate", times=range(1, FRAMES + 1)) - (3, -1, 2)
    assert np.abs(way[-1, :2]).max() > 0.2
    np.testing.assert_allclose(found[:, :2], way[:, :2], atol=1e-5)
    np.testing.assert_allclose(found[:, 2], 0, atol=1e-5)
    # The artist's own location is free.
    crate.location.x += 5
    assert np.isclose(places("Crate", times=[9])[0, 0], 8 + way[-1, 0], atol=1e-5)


def test_splats_that_hang_on_the_object_stay_where_they_were(addon, tmp_path):
    crate = new_crate(location=(3, -1, 2))
    splats = moving(crate, path=tmp_path).splats
    assert splats.parent == crate
    before = shown("Crate splats")
    splats.gvf.play_root = True
    assert crate.gvf.play_root and splats.gvf.play_root
    assert not splats.gvf.play_in_place
    assert_same(shown("Crate splats"), before)
    crate.gvf.play_in_place = True
    assert splats.gvf.play_in_place and not splats.gvf.play_root
    on_the_spot = shown("Crate", "Crate splats")
    splats.gvf.play_root = True
    assert not crate.gvf.play_in_place
    crate.gvf.play_in_place = False
    assert_same(shown("Crate splats"), before)
    crate.gvf.play_in_place = True
    assert_same(shown("Crate", "Crate splats"), on_the_spot, atol=1e-5)
    crate.gvf.play_in_place = False
    assert_same(shown("Crate splats"), before, atol=1e-5)


def test_objects_of_one_import_go_together_and_what_hangs_on_one_gets_no_keys(addon, tmp_path):
    cart = new_crate("Cart", location=(1, 2, 0), rotation=(0, 0, 0.5))
    box = new_crate("Box", location=(1, 2, 2), rotation=(0.4, 0, 0))
    apart = new_crate("Apart", location=(-4, 0, 0))
    bpy.context.view_layer.update()
    box.parent, box.matrix_parent_inverse = cart, cart.matrix_world.inverted()
    moving(cart, box, apart, path=tmp_path)
    names = ("Cart", "Box", "Apart", "Cart splats")
    before = shown(*names)
    box.gvf.play_root = True
    assert_same(shown(*names), before)
    assert [len(fcurves_of(thing)) for thing in (cart, box, apart)] == [3, 0, 3]
    assert not any(thing.gvf.play_in_place for thing in (cart, box, apart))
    apart.gvf.play_root = False
    assert_same(shown(*names), before, atol=2e-6)
    box.rotation_euler.z += 1
    bpy.context.view_layer.update()
    assert "Box hangs on Cart" in obstacle_to_root(cart)
    cart.gvf.play_root = True
    assert not cart.gvf.play_root


def slower(controls):
    controls.play_start, controls.play_speed = 3, 0.7


def looping(controls):
    controls.play_loop = "REPEAT"


def back_and_forth_in_steps(controls):
    controls.play_speed, controls.play_loop, controls.play_held = 0.5, "MIRROR", True


@pytest.mark.parametrize("change", [slower, looping, back_and_forth_in_steps])
def test_the_root_keeps_the_time_of_the_result(crate, tmp_path, change):
    moving(crate, path=tmp_path)
    crate.gvf.play_root = True
    change(crate.gvf)
    found = shown("Crate")
    crate.gvf.play_root = False
    expected = shown("Crate")
    assert_same(found, expected)
    crate.gvf.play_root = True
    assert_same(shown("Crate"), expected)
    crate.gvf.play_start, crate.gvf.play_speed, crate.gvf.play_loop, crate.gvf.play_held = 1, 1, "ONCE", False
    found = shown("Crate")
    crate.gvf.play_root = False
    assert_same(found, shown("Crate"))


def test_a_frame_that_the_artist_eased_is_followed_at_every_frame_of_the_scene(crate, tmp_path):
    from gvf_blender.importer.retiming import playback_of

    moving(crate, path=tmp_path)
    for key in playback_of(crate).curve.keyframe_points:
        key.interpolation = "BEZIER"
        key.handle_left_type = key.handle_right_type = "AUTO_CLAMPED"
    crate.gvf.play_speed = 0.5
    times = range(-1, 20)
    before = shown("Crate", times=times)
    crate.gvf.play_root = True
    assert_same(shown("Crate", times=times), before)
    crate.gvf.play_root = False
    crate.gvf.play_held = True
    crate.gvf.play_root = True
    crate.gvf.play_held = False
    assert_same(shown("Crate", times=times), before)


def test_location_keys_of_the_artist_stay_and_add_up(crate, tmp_path):
    for frame, x in ((1, 3), (6, 5)):
        crate.location.x = x
        crate.keyframe_insert("location", frame=frame)
    action = crate.animation_data.action
    bpy.context.scene.frame_set(1)
    moving(crate, path=tmp_path)
    keys = [[tuple(key.co) for key in curve.keyframe_points] for curve in fcurves_of(crate)]
    before, as_before = shown("Crate"), state()
    crate.gvf.play_root = True
    assert_same(shown("Crate"), before)
    crate.gvf.play_start = 4
    # Blender 4.2 puts the curves of a new group first.
    own = [curve for curve in fcurves_of(crate) if curve.data_path == "location"]
    assert [[tuple(key.co) for key in curve.keyframe_points] for curve in own] == keys
    crate.gvf.play_start = 1
    crate.gvf.play_root = False
    assert crate.animation_data.action == action
    assert [[tuple(key.co) for key in curve.keyframe_points] for curve in fcurves_of(crate)] == keys
    assert_same(shown("Crate"), before, atol=2e-6)
    assert state() == as_before


def turned_by_keys(crate):
    crate.keyframe_insert("rotation_euler", frame=1)


def turned_by_a_strip(crate):
    turned_by_keys(crate)
    animation = crate.animation_data
    animation.nla_tracks.new().strips.new("Turn", 1, animation.action)
    animation.action = None


def driven_delta(crate):
    crate.driver_add("delta_location", 0)


def constrained(crate):
    crate.constraints.new("COPY_ROTATION")


def sharing_its_action(crate):
    other = new_crate("Other")
    crate.keyframe_insert("location", frame=1)
    other.animation_data_create().action = crate.animation_data.action
    if hasattr(other.animation_data, "action_slot"):
        other.animation_data.action_slot = crate.animation_data.action_slot


def without_keys_of_its_frame(crate):
    keys = crate.data.shape_keys
    (keys or crate.modifiers[-1].node_group).animation_data_clear()


def in_edit_mode(crate):
    bpy.context.view_layer.objects.active = crate
    bpy.ops.object.mode_set(mode="EDIT")


OBSTACLES = {
    turned_by_keys: "turn or scale it",
    turned_by_a_strip: "turn or scale it",
    driven_delta: "Delta Location",
    constrained: "constraints",
    sharing_its_action: "shared",
    without_keys_of_its_frame: "lost the keys",
    in_edit_mode: "Edit Mode",
}


@pytest.mark.parametrize("hinder", OBSTACLES, ids=lambda hinder: hinder.__name__)
def test_what_would_break_the_motion_is_refused_with_a_sentence(crate, tmp_path, hinder):
    from recording_layout import RecordingLayout, panel_context

    moving(crate, path=tmp_path, splats=False, points=False)
    hinder(crate)
    bpy.context.view_layer.objects.active = crate
    # Blender evaluates no mesh in Edit Mode.
    times = () if hinder is in_edit_mode else (1, 5)
    before, as_before = shown("Crate", times=times), state()
    crate.gvf.play_root = True
    assert not crate.gvf.play_root
    assert OBSTACLES[hinder] in obstacle_to_root(crate)
    assert_same(shown("Crate", times=times), before, atol=0)
    assert state() == as_before
    layout = RecordingLayout()
    bpy.types.GVF_PT_result.draw(type("Drawn", (), {"layout": layout}), panel_context())
    assert OBSTACLES[hinder] in layout.texts()


def half_as_strong(crate, animation, curve):
    animation.action_influence = 0.5


def added(crate, animation, curve):
    animation.action_blend_type = "ADD"


def beside_a_solo_track(crate, animation, curve):
    animation.nla_tracks[0].is_solo = True


def extrapolated(crate, animation, curve):
    curve.extrapolation = "LINEAR"


def noisy(crate, animation, curve):
    curve.modifiers.new("NOISE")


def drifting(crate, animation, curve):
    crate.gvf.play_loop = "REPEAT"
    curve.modifiers[0].mode_after = "REPEAT_OFFSET"


def muted(crate, animation, curve):
    curve.mute = True


@pytest.mark.parametrize("of_motion", [False, True])
def test_keys_that_do_not_play_as_they_say_are_refused(addon, tmp_path, of_motion):
    from gvf_blender.importer.retiming import playback_of

    changes = [half_as_strong, added, beside_a_solo_track]
    for index, change in enumerate([*changes, extrapolated, noisy, drifting, muted] if of_motion else changes):
        crate = new_crate(f"Crate {index}")
        crate.keyframe_insert("location", frame=1)
        moving(crate, path=tmp_path, splats=False, points=False)
        playback = playback_of(crate)
        animation = (playback.owner if of_motion else crate).animation_data
        animation.nla_tracks.new().strips.new("Strip", 100, bpy.data.actions.new("Empty"))
        assert obstacle_to_root(crate) is None
        change(crate, animation, playback.curve)
        assert "mixed with NLA" in obstacle_to_root(crate), change


def pulled(box):
    box.constraints.new("COPY_LOCATION")


def eased(box):
    from gvf_blender.importer.retiming import playback_of

    playback_of(box).curve.keyframe_points[0].interpolation = "BEZIER"


def without_keys_of_both(box):
    without_keys_of_its_frame(box)
    without_keys_of_its_frame(box.parent)


HANGING = {
    turned_by_keys: "Box has keys",
    pulled: "Box has keys",
    eased: "Box hangs on Cart",
    without_keys_of_its_frame: "Box hangs on Cart",
    without_keys_of_both: "has lost the keys",
}


def test_what_hangs_on_an_object_and_would_not_go_along_is_refused(addon, tmp_path):
    for change, reason in HANGING.items():
        bpy.data.batch_remove(list(bpy.data.objects))
        cart, box = new_crate("Cart"), new_crate("Box", location=(0, 0, 3))
        box.parent = cart
        moving(cart, box, path=tmp_path, splats=False, points=False)
        assert obstacle_to_root(box) is None
        change(box)
        for thing in (cart, box):
            assert reason in obstacle_to_root(thing), change


def test_splats_that_were_unparented_go_their_way_again(addon, tmp_path):
    crate = new_crate()
    splats = moving(crate, path=tmp_path, points=False).splats
    before = shown("Crate splats")
    bpy.context.scene.frame_set(1)
    crate.gvf.play_root = True
    splats.parent = None
    crate.gvf.play_root = False
    assert not splats.gvf.play_in_place
    assert_same(shown("Crate splats"), before)


@pytest.mark.parametrize("remove", ["remove_motion", "remove_result"])
def test_removing_leaves_the_file_as_it_was(crate, tmp_path, remove):
    before, as_before = shown("Crate", times=[1]), state()
    imported = moving(crate, path=tmp_path, splats=remove == "remove_result", points=False)
    crate.gvf.play_root = True
    bpy.context.view_layer.objects.active = imported.splats or crate
    crate.select_set(True)
    bpy.context.scene.frame_set(7)
    assert getattr(bpy.ops.gvf, remove)() == {"FINISHED"}
    bpy.context.view_layer.update()
    assert_same(shown("Crate", times=[1]), before, atol=0)
    assert state() == as_before


def test_splats_go_their_way_again_when_the_motion_of_their_original_is_removed(addon, tmp_path):
    crate = new_crate()
    moving(crate, path=tmp_path)
    before = shown("Crate splats")
    crate.gvf.play_root = True
    assert remove_motion(crate)
    assert_same(shown("Crate splats"), before)


@pytest.mark.parametrize("fails", [False, True])
def test_an_import_over_a_root_is_a_new_one_and_one_that_fails_leaves_the_root(crate, tmp_path, monkeypatch, fails):
    from gvf_blender.importer import animation_import

    animation = fabricate(tmp_path, crate, frames=FRAMES)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1, points=False))
    before = shown("Crate", "Crate splats")
    crate.gvf.play_root = True
    bpy.context.scene.frame_set(7)
    if fails:
        monkeypatch.setattr(animation_import, "choose_rendered", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
        assert crate.gvf.play_root
        assert_same(shown("Crate", "Crate splats"), before)
    else:
        options = ImportOptions(frame_start=1, points=False)
        later = import_animation(bpy.context, animation.path, animation.sources, options)
        assert not crate.gvf.play_root
        assert_same(shown("Crate", later.splats.name), before)
        assert_same(shown("Crate splats"), before[1::2])
        # The earlier splats are of another import: they go along, and are in place or not as ever.
        crate.gvf.play_root = True
        bpy.data.objects["Crate splats"].gvf.play_in_place = True
        assert bpy.data.objects["Crate splats"].gvf.play_in_place and not later.splats.gvf.play_in_place
        bpy.data.objects["Crate splats"].gvf.play_in_place = False
    crate.gvf.play_root = False
    assert_same(shown("Crate", "Crate splats"), before)


def test_an_object_in_edit_mode_keeps_its_way(addon, tmp_path):
    from recording_layout import RecordingLayout, panel_context

    from gvf_blender.core.errors import SelectionError

    first, second = new_crate("First"), new_crate("Second", location=(4, 0, 0))
    moving(first, second, path=tmp_path, splats=False, points=False)
    before = shown("Second")
    first.gvf.play_root = True
    bpy.context.scene.frame_set(1)
    animation = fabricate(tmp_path, first, frames=FRAMES)
    in_edit_mode(second)
    with pytest.raises(SelectionError, match=r"Second is in Edit Mode.*Then import again"):
        import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    second.gvf.play_in_place = True
    layout = RecordingLayout()
    bpy.types.GVF_PT_result.draw(type("Drawn", (), {"layout": layout}), panel_context())
    assert "Second is in Edit Mode" in layout.texts()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert second.gvf.play_root
    assert_same(shown("Second"), before)
    first.gvf.play_root = False
    in_edit_mode(second)
    second.gvf.play_in_place = True
    bpy.ops.object.mode_set(mode="OBJECT")
    assert not first.gvf.play_in_place and not second.gvf.play_in_place
    assert_same(shown("Second"), before)


def test_an_import_of_splats_alone_takes_the_root_back_and_no_warning_asks_for_it(addon, tmp_path):
    from gvf_blender.importer.motion import own_movement

    crate = new_crate()
    moving(crate, path=tmp_path, splats=False, points=False)
    animation = fabricate(tmp_path, crate, frames=FRAMES)
    crate.gvf.play_root = True
    child = new_crate("Child")
    child.parent = crate
    assert own_movement(crate) is None and own_movement(child) is None
    bpy.context.scene.frame_set(7)
    options = ImportOptions(frame_start=1, points=False, motion=False)
    splats = import_animation(bpy.context, animation.path, animation.sources, options).splats
    assert not crate.gvf.play_root
    means = [animation.world_means(0), animation.world_means(FRAMES - 1)]
    assert_same(shown(splats.name, times=[1, FRAMES]), means)


def test_undo_takes_the_root_back_and_a_saved_file_keeps_it(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    before = shown("Crate")
    bpy.ops.ed.undo_push(message="Import")
    crate.gvf.play_root = True
    bpy.ops.ed.undo_push(message="Root on Object")
    bpy.ops.ed.undo()
    crate = bpy.data.objects["Crate"]
    assert not crate.gvf.play_root and not fcurves_of(crate)
    assert_same(shown("Crate"), before, atol=0)
    bpy.ops.ed.redo()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert bpy.data.objects["Crate"].gvf.play_root
    assert_same(shown("Crate"), before)
    bpy.data.objects["Crate"].gvf.play_root = False
    assert_same(shown("Crate"), before, atol=2e-6)


def test_keys_that_the_artist_pushed_down_are_found_and_go(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    before = shown("Crate", times=(1, 4, 9))
    crate.gvf.play_root = True
    animation = crate.animation_data
    animation.nla_tracks.new().strips.new("Root", 1, animation.action)
    animation.action = None
    assert_same(shown("Crate", times=(1, 4, 9)), before)
    crate.gvf.play_root = False
    assert_same(shown("Crate", times=(1, 4, 9)), before)


def test_copies_stay_where_they_were_when_the_root_of_their_import_goes(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    before = shown("Crate")
    crate.gvf.play_root = True
    for linked in (False, True):
        bpy.ops.object.select_all(action="DESELECT")
        crate.select_set(True)
        bpy.context.view_layer.objects.active = crate
        bpy.ops.object.duplicate(linked=linked)
    names = ("Crate", "Crate.001", "Crate.002")
    assert_same(shown(*names), [one for one in before for _ in names])
    crate.gvf.play_root = False
    assert_same(shown(*names), [one for one in before for _ in names])


def test_the_root_of_one_copy_can_go_without_the_others(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    before = shown("Crate")
    crate.gvf.play_root = True
    bpy.ops.object.select_all(action="DESELECT")
    crate.select_set(True)
    bpy.context.view_layer.objects.active = crate
    bpy.ops.object.duplicate()
    assert bpy.context.object.gvf.play_root and bpy.ops.gvf.remove_motion() == {"FINISHED"}
    assert crate.gvf.play_root and not bpy.context.object.gvf.play_root
    assert not fcurves_of(bpy.context.object)
    assert_same(shown("Crate"), before)


def test_objects_of_other_scenes_and_files_are_left_alone(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    own = bpy.context.scene
    bpy.ops.scene.new(type="FULL_COPY")
    copy, bpy.context.window.scene = bpy.context.object, own
    crate.gvf.play_root = True
    assert "gvf_root" not in copy
    # Of a modifier the copy has the same motion, which would lose its way.
    assert crate.gvf.play_root or "shared" in obstacle_to_root(crate)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"), copy=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.objects = ["Crate"]
    linked = wanted.objects[0]
    bpy.context.collection.objects.link(linked)
    crate = next(thing for thing in bpy.context.scene.objects if thing.name == "Crate" and thing.library is None)
    assert obstacle_to_root(crate) is None and "linked" in obstacle_to_root(linked)
    crate.gvf.play_root = True
    assert "gvf_root" in crate and "gvf_root" not in linked


def test_keys_of_other_objects_that_a_strip_plays_stay(crate, tmp_path):
    moving(crate, path=tmp_path, points=False, splats=False)
    crate.gvf.play_root = True
    other = new_crate("Other")
    other.keyframe_insert("delta_location", frame=1)
    strip = crate.animation_data.nla_tracks.new().strips.new("Shake", 1, other.animation_data.action)
    if hasattr(strip, "action_slot"):
        strip.action_slot = other.animation_data.action_slot
    crate.gvf.play_root = False
    assert len(fcurves_of(other)) == 3
    assert not fcurves_of(crate)


@pytest.mark.parametrize("on", [False, True])
def test_applied_rotation_and_scale_turn_and_scale_the_way(addon, tmp_path, on):
    crate = new_crate(location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    crate.scale = (0.1, 0.3, 0.2)
    moving(crate, path=tmp_path, points=False, splats=False)
    before = shown("Crate")
    crate.gvf.play_root = True
    expected = places("Crate")
    crate.gvf.play_root = on
    assert bpy.ops.object.transform_apply(location=False, rotation=True, scale=True) == {"FINISHED"}
    assert_same(shown("Crate"), before)
    crate.gvf.play_root = not on
    assert_same(shown("Crate"), before)
    crate.gvf.play_root = True
    np.testing.assert_allclose(places("Crate"), expected, atol=1e-5)


def test_points_that_were_moved_by_hand_do_not_turn_the_way(addon, tmp_path):
    crate = new_crate(rotation=(0.3, 0.2, 1.0))
    moving(crate, path=tmp_path, points=False, splats=False)
    crate.gvf.play_root = True
    expected = places("Crate")
    crate.gvf.play_root = False
    for block in crate.data.shape_keys.key_blocks:
        for point in block.points[:3]:
            point.co.x += 0.3
    crate.gvf.play_root = True
    np.testing.assert_allclose(places("Crate"), expected, atol=1e-5)


def test_for_an_object_of_no_import_nobody_looks_through_the_scene(addon):
    from gvf_blender.importer.same_import import same_import

    crate = new_crate()
    assert same_import(crate, (1 / 0 for _ in range(1))) == [crate]


def node_places(path):
    """Where the node of a GLB file's mesh is at every key, in Blender's axes."""
    from gvf_blender.core.glb_file import read_morph_mesh

    x, y, z = read_morph_mesh(path).places.T
    return np.column_stack([x, -z, y])


def test_a_glb_file_has_the_way_on_its_node(crate, tmp_path, monkeypatch):
    from gvf_blender import api
    from gvf_blender.exporter import morph_glb

    moving(crate, path=tmp_path, points=False, splats=False)
    crate.gvf.play_root = True
    report = api.export(crate, tmp_path / "a.glb")
    assert report.error < 1e-5
    np.testing.assert_allclose(node_places(tmp_path / "a.glb"), places("Crate", times=range(1, FRAMES + 1)), atol=1e-5)
    with monkeypatch.context() as patch:
        read = morph_glb.read_morph_mesh
        patch.setattr(morph_glb, "read_morph_mesh", lambda *a: replace(read(*a), places=read(*a).places + 1))
        with pytest.raises(FileError, match=r"would be off by up to 1\.7e\+03 mm"):
            api.export(crate, tmp_path / "a.glb")
    crate.gvf.play_root = False
    assert api.export(crate, tmp_path / "b.glb").error < 1e-5
    assert len(node_places(tmp_path / "b.glb")) == 1


def test_blenders_own_exporter_writes_the_keys_as_a_translation(crate, tmp_path):
    import json

    moving(crate, path=tmp_path, points=False, splats=False)
    crate.parent = None
    crate.gvf.play_root = True
    bpy.ops.export_scene.gltf(filepath=str(tmp_path / "a.gltf"), export_format="GLTF_SEPARATE", export_skins=False)
    file = json.loads((tmp_path / "a.gltf").read_text())
    (name,) = {
        file["nodes"][channel["target"]["node"]]["name"]
        for animation in file["animations"]
        for channel in animation["channels"]
        if channel["target"]["path"] == "translation"
    }
    assert name == "Crate"


def test_the_console_puts_the_root_and_tells_why_it_does_not(crate, tmp_path):
    from gvf_blender import api
    from gvf_blender.core.errors import SelectionError

    with pytest.raises(SelectionError, match="no motion"):
        api.root_on_object("Crate")
    moving(crate, path=tmp_path, points=False, splats=False)
    api.root_on_object("Crate")
    assert crate.gvf.play_root
    api.root_on_object(crate, on=False)
    assert not crate.gvf.play_root
    crate.constraints.new("COPY_ROTATION")
    with pytest.raises(SelectionError, match="constraints"):
        api.root_on_object(crate)
