"""What other programs get: every format is read back and lies where Blender shows it."""

import ast
import json
from functools import partial
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate
from recording_layout import RecordingLayout

from gvf_blender.core.errors import FileError, SelectionError, SettingsError
from gvf_blender.core.glb_file import read_morph_mesh
from gvf_blender.core.pc2_file import read_pc2
from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.importer.nodes import modifier_input_path, set_modifier_input
from gvf_blender.importer.retiming import playback_of

FRAMES = 7
MESH_FORMATS = ["a.abc", "a.usdc", "a.glb", "a.pc2"]


@pytest.fixture
def api(addon):
    from gvf_blender import api

    return api


def new_ball(modifier=None):
    bpy.ops.mesh.primitive_uv_sphere_add(segments=12, ring_count=8, location=(3, -1, 2), rotation=(0.3, 0.2, 1.0))
    ball = bpy.context.object
    ball.name = "Ball"
    # Two materials make the GLB exporter split the mesh.
    for name in ("Red", "Blue"):
        ball.data.materials.append(bpy.data.materials.new(name))
    ball.data.polygons.foreach_set("material_index", np.arange(len(ball.data.polygons)) % 2)
    if modifier:
        ball.modifiers.new("Bevel", modifier)
    return ball


def moving(ball, tmp_path):
    animation = fabricate(tmp_path, ball, frames=FRAMES)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=11))
    return animation, imported


def state():
    scene = bpy.context.scene
    kinds = [entry.identifier for entry in bpy.data.bl_rna.properties if entry.type == "COLLECTION"]
    return (
        {kind: sorted(block.name for block in getattr(bpy.data, kind)) for kind in kinds},
        scene.name,
        scene.frame_current,
        sorted(thing.name for thing in bpy.context.selected_objects),
        bpy.context.object.name,
    )


@pytest.mark.parametrize("name", MESH_FORMATS)
@pytest.mark.parametrize("modifier", [None, "BEVEL"])
def test_a_mesh_that_moves_is_in_the_file_as_it_is_shown(api, tmp_path, name, modifier):
    ball = new_ball(modifier)
    moving(ball, tmp_path)
    before = state()
    report = api.export(ball, tmp_path / name)
    assert state() == before
    assert report.frames == FRAMES
    assert report.paths == (tmp_path / name,)
    assert report.size == (tmp_path / name).stat().st_size
    assert 0 <= report.error < 1e-5


def test_a_point_cache_plays_by_the_mesh_cache_modifier(api, tmp_path):
    ball = new_ball()
    animation, _ = moving(ball, tmp_path)
    api.export(ball, tmp_path / "a.pc2", frame_start=12, frame_end=14)
    assert read_pc2(tmp_path / "a.pc2").shape == (3, len(ball.data.vertices), 3)
    bpy.ops.gvf.remove_motion()
    cache = ball.modifiers.new("Cache", "MESH_CACHE")
    cache.cache_format, cache.filepath, cache.frame_start = "PC2", str(tmp_path / "a.pc2"), 12
    bpy.context.scene.frame_set(13)
    np.testing.assert_allclose(evaluated_world_vertices("Ball"), animation.world_vertices(0, 2), atol=1e-5)


def test_a_glb_file_keeps_materials_and_plays_from_zero_at_the_right_speed(api, tmp_path):
    ball = new_ball()
    moving(ball, tmp_path)
    ball.gvf.play_speed = 0.5
    report = api.export(ball, tmp_path / "a.glb")
    assert report.frames == 2 * (FRAMES - 1) + 1
    read = read_morph_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(read.times, np.arange(report.frames) / 24, atol=1e-5)
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(tmp_path / "a.glb"))
    assert {"Red", "Blue"} <= set(bpy.data.materials.keys())


def test_an_object_that_moves_as_a_whole_is_exported_where_it_goes(api, tmp_path):
    ball = new_ball()
    moving(ball, tmp_path)
    for frame, x in ((11, 0), (17, 5)):
        ball.location.x = x
        ball.keyframe_insert("location", frame=frame)
    for name in MESH_FORMATS:
        assert api.export(ball, tmp_path / name).error < 1e-5


def stretching(ball):
    """A mesh that grows and goes by keys from frame -10 to 20."""
    ball.shape_key_add(name="Basis")
    block = ball.shape_key_add(name="Long")
    for point in block.points:
        point.co.x *= 3
    for frame, value in ((-10, 0.0), (20, 1.0)):
        block.value = ball.location.y = value
        block.keyframe_insert("value", frame=frame)
        ball.keyframe_insert("location", frame=frame)
    bpy.context.scene.frame_set(1)
    return ball


def shown_extents(name, frames):
    """Sizes and middles of an object's bounding box in the viewport."""
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        box = evaluated_world_vertices(name)
        found.append((np.ptp(box, axis=0), (box.max(axis=0) + box.min(axis=0)) / 2))
    return np.array(found)


def read_into_empty_file(path):
    """The mesh object that Blender reads from a file."""
    bpy.ops.wm.read_homefile(use_empty=True)
    read = {".abc": bpy.ops.wm.alembic_import, ".usdc": bpy.ops.wm.usd_import, ".glb": bpy.ops.import_scene.gltf}
    read[path.suffix](filepath=str(path))
    return next(thing for thing in bpy.data.objects if thing.type == "MESH")


def vertices_in(path):
    if path.suffix == ".pc2":
        return read_pc2(path).shape[1]
    return len(read_into_empty_file(path).data.vertices)


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_simplify_is_in_the_file_as_the_viewport_shows_it(api, cube, tmp_path, name):
    render = bpy.context.scene.render
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 2
    render.use_simplify, render.simplify_subdivision = True, 0
    bpy.context.view_layer.update()
    assert len(evaluated_world_vertices("Cube")) == 8
    assert api.export(cube, tmp_path / name, frame_start=1, frame_end=3).error < 1e-5
    # Three normals and so three vertices at a corner, in GLB.
    assert vertices_in(tmp_path / name) in (8, 24)


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_time_stretching_is_in_the_file_as_the_viewport_shows_it(api, tmp_path, name):
    ball = stretching(new_ball())
    bpy.context.scene.render.frame_map_new = 200
    frames = range(4, 9)
    expected = shown_extents("Ball", frames)
    bpy.context.scene.frame_set(4)
    matrix = np.array(ball.matrix_world)
    path = tmp_path / name
    assert api.export(ball, path, frame_start=4, frame_end=8).error < 1e-5
    if name == "a.pc2":
        found = read_pc2(path) @ matrix[:3, :3].T + matrix[:3, 3]
        np.testing.assert_allclose(np.ptp(found, axis=1), expected[:, 0], atol=1e-5)
        return
    read = read_into_empty_file(path).name
    found = shown_extents(read, range(5) if name == "a.glb" else frames)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("new", [50, 200])
def test_splats_follow_time_stretching_over_the_frames_where_they_move(api, tmp_path, new):
    animation, imported = moving(new_ball(), tmp_path)
    bpy.context.scene.render.frame_map_new = new
    report = api.export(imported.splats, tmp_path / "a.ply")
    stretch = new / 100
    first = int(np.floor(11 * stretch))
    assert report.paths[0].name == f"a_{first:04d}.ply"
    assert report.frames == int(np.ceil(17 * stretch)) - first + 1
    for place in (0, 2, -1):
        frame = int(report.paths[place].stem[-4:])
        moment = np.clip(frame / stretch - 11, 0, FRAMES - 1)
        read = read_splat_ply(report.paths[place])
        np.testing.assert_allclose(read.positions, animation.world_means(moment), atol=2e-5)


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_a_single_frame_is_the_asked_one(api, tmp_path, name):
    ball = stretching(new_ball())
    expected = shown_extents("Ball", [9])
    bpy.context.scene.frame_set(1)
    path = tmp_path / name
    report = api.export(ball, path, frame_start=9, frame_end=9)
    assert report.frames == 1 and report.error < 1e-5
    if name != "a.pc2":
        read = read_into_empty_file(path).name
        np.testing.assert_allclose(shown_extents(read, [9]), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["a.abc", "a.glb", "a.pc2"])
def test_frames_before_zero_are_in_the_file(api, tmp_path, name):
    ball = stretching(new_ball())
    expected = shown_extents("Ball", range(-4, 4))
    path = tmp_path / name
    report = api.export(ball, path, frame_start=-4, frame_end=3)
    assert report.frames == 8 and report.error < 1e-5
    if name == "a.glb":
        read = read_into_empty_file(path).name
        np.testing.assert_allclose(shown_extents(read, range(8)), expected, atol=1e-4)


def test_splats_are_exported_at_frames_before_zero(api, tmp_path):
    ball = new_ball()
    animation = fabricate(tmp_path, ball, frames=FRAMES)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    imported.splats.gvf.play_start = -4
    report = api.export(imported.splats, tmp_path / "a.ply")
    assert (report.frames, report.paths[0].name) == (FRAMES, "a_-004.ply")
    np.testing.assert_allclose(read_splat_ply(report.paths[2]).positions, animation.world_means(2), atol=2e-5)


def test_a_glb_file_has_the_materials_of_the_object_itself(api, tmp_path):
    ball = new_ball()
    ball.data.materials.append(None)
    ball.data.polygons.foreach_set("material_index", np.arange(len(ball.data.polygons)) % 3)
    for slot, name in ((1, "Own"), (2, "Third")):
        ball.material_slots[slot].link = "OBJECT"
        ball.material_slots[slot].material = bpy.data.materials.new(name)
    moving(ball, tmp_path)
    api.export(ball, tmp_path / "a.glb")
    read = read_into_empty_file(tmp_path / "a.glb")
    assert [slot.material.name for slot in read.material_slots] == ["Red", "Own", "Third"]


@pytest.mark.parametrize("kind", ["splats", "points"])
def test_gaussians_become_a_ply_sequence_that_the_servers_side_reads(api, tmp_path, kind):
    from gvf_core.export import read_ply

    ball = new_ball()
    animation, imported = moving(ball, tmp_path)
    result = getattr(imported, kind)
    result.rotation_euler.z += 0.5
    result.scale = (2, 2, 2)
    result.gvf.play_speed = 0.5
    bpy.context.view_layer.update()
    report = api.export(result, tmp_path / "fish.ply")
    assert len(report.paths) == report.frames == 2 * (FRAMES - 1) + 1
    assert report.paths[0].name == "fish_0011.ply"
    assert report.error < 1e-5
    read = read_ply(report.paths[3])
    local = animation.at("means", 1.5) * animation.world_from_unit[0, 0]
    matrix = np.array(result.matrix_world)
    np.testing.assert_allclose(read.means, local @ matrix[:3, :3].T + matrix[:3, 3], atol=1e-4)
    np.testing.assert_allclose(
        read.scales, 2 * animation.at("scales", 1.5) * animation.world_from_unit[0, 0], rtol=2e-3
    )
    np.testing.assert_allclose(read.opacities, animation.at("opacities", 1.5), atol=2e-3)
    srgb = 1.055 * animation.at("colors", 0) ** (1 / 2.4) - 0.055
    bright = animation.at("colors", 0) > 0.01
    np.testing.assert_allclose(np.asarray(read.colors)[bright], srgb[bright], atol=2e-3)


def test_gaussians_are_turned_with_their_object(api, tmp_path):
    from gvf_core.export import read_ply

    ball = new_ball()
    still = {"quaternions": np.tile(np.array([1, 0, 0, 0], np.float16), (1, 40, 1))}
    animation = fabricate(tmp_path, ball, frames=3, changes=still)
    splats = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1)).splats
    splats.rotation_mode, splats.rotation_quaternion = "QUATERNION", (0.5, 0.5, -0.5, 0.5)
    bpy.context.view_layer.update()
    report = api.export(splats, tmp_path / "a.ply")
    np.testing.assert_allclose(
        read_ply(report.paths[0]).quaternions, np.tile((0.5, 0.5, -0.5, 0.5), (40, 1)), atol=1e-5
    )


def test_in_place_results_are_exported_in_place(api, tmp_path):
    ball = new_ball()
    _, imported = moving(ball, tmp_path)
    imported.splats.gvf.play_in_place = True
    report = api.export(imported.splats, tmp_path / "a.ply")
    middles = np.array([read_splat_ply(path).positions.mean(axis=0) for path in report.paths])
    assert np.ptp(middles[:, :2], axis=0).max() < 1e-4
    assert np.ptp(middles[:, 2]) > 0.05


def shown_by_a_strip(thing):
    animation = thing.animation_data
    action = animation.action
    strip = animation.nla_tracks.new().strips.new("Walk", 11, action)
    if hasattr(strip, "action_slot"):
        strip.action_slot = action.slots[0]
    animation.action = None


def shown_by_a_driver(thing):
    thing.animation_data_clear()
    driven = thing.driver_add(modifier_input_path(thing.modifiers[0], "Frame"))
    driven.driver.expression = "(frame - 11) * 0.5"


def shown_by_hand(thing):
    thing.animation_data_clear()
    set_modifier_input(thing.modifiers[0], "Frame", 2.5)


def shown_there_and_back(thing):
    keys = playback_of(thing).curve.keyframe_points
    keys.insert(14, 3).interpolation = "LINEAR"
    keys[-1].co.y = 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shown_by_a_strip, (0, 1, 3, 6)),
        (shown_by_a_driver, (0, 0.5, 1.5, 3)),
        (shown_by_hand, (2.5, 2.5, 2.5, 2.5)),
        (shown_there_and_back, (0, 1, 3, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["splats", "points"])
def test_whatever_sets_the_frame_the_files_hold_what_is_shown(api, tmp_path, kind, change, expected):
    animation, imported = moving(new_ball(), tmp_path)
    result = getattr(imported, kind)
    change(result)
    assert playback_of(result) is None
    report = api.export(result, tmp_path / "a.ply", frame_start=11, frame_end=17)
    assert report.error < 1e-5
    for frame, moment in zip((0, 1, 3, 6), expected, strict=True):
        read = read_splat_ply(report.paths[frame])
        np.testing.assert_allclose(read.positions, animation.world_means(moment), atol=2e-5)
        np.testing.assert_allclose(read.opacities, animation.at("opacities", moment), atol=2e-3)


def test_all_gaussians_are_exported_in_their_colors_whatever_is_displayed(api, tmp_path):
    animation, imported = moving(new_ball(), tmp_path)
    splats = imported.splats
    splats.gvf.display, splats.gvf.display_amount, splats.gvf.display_confidence = "SOLID", 0.2, 1.0
    splats.modifiers[0].show_viewport = False
    before = state()
    report = api.export(splats, tmp_path / "a.ply", frame_start=13, frame_end=13)
    assert state() == before
    assert (splats.gvf.display, splats.gvf.display_amount) == ("SOLID", pytest.approx(0.2))
    read = read_splat_ply(report.paths[0])
    np.testing.assert_allclose(read.positions, animation.world_means(2), atol=2e-5)
    np.testing.assert_allclose(read.colors, animation.at("colors", 0), atol=2e-3)


def test_a_result_whose_nodes_show_nothing_is_refused(api, tmp_path):
    _, imported = moving(new_ball(), tmp_path)
    imported.splats.modifiers[0].node_group.nodes.clear()
    with pytest.raises(SelectionError, match="shows no Gaussians"):
        api.export(imported.splats, tmp_path / "a.ply")
    assert "GVF export" not in bpy.data.scenes


def test_what_does_not_fit_together_is_named(api, tmp_path):
    ball = new_ball()
    _, imported = moving(ball, tmp_path)
    with pytest.raises(SelectionError, match="without Gaussians"):
        api.export(ball, tmp_path / "a.ply")
    with pytest.raises(SelectionError, match="consists of Gaussians"):
        api.export(imported.splats, tmp_path / "a.abc")
    with pytest.raises(SettingsError, match="does not tell a format"):
        api.export(ball, tmp_path / "a.docx")
    with pytest.raises(SettingsError, match="5 to 4"):
        api.export(ball, tmp_path / "a.pc2", frame_start=5, frame_end=4)
    with pytest.raises(FileError, match="no folder"):
        api.export(ball, tmp_path / "missing" / "a.abc")
    imported.splats.scale = (1, 2, 1)
    bpy.context.view_layer.update()
    with pytest.raises(SelectionError, match="scaled differently"):
        api.export(imported.splats, tmp_path / "a.ply")


@pytest.mark.parametrize("name", MESH_FORMATS)
def test_an_export_leaves_the_pose_and_the_shown_scene(api, tmp_path, name):
    ball, own = new_ball(), bpy.context.scene
    layer = own.view_layers.new("Second layer")
    # The first one, which Blender would show where the shown one goes.
    bpy.data.scenes.new("AAA")
    for frame, x in ((1, 0.0), (5, 4.0)):
        ball.location.x = x
        ball.keyframe_insert("location", index=0, frame=frame)
    own.frame_set(3)
    bpy.context.window.view_layer = layer
    ball.location.x = 9.0  # and not keyed
    api.export(ball, tmp_path / name, frame_start=1, frame_end=5)
    assert (bpy.context.window.scene, bpy.context.window.view_layer) == (own, layer)
    assert (own.frame_current, ball.location.x) == (3, 9.0)


@pytest.fixture
def pair(api, tmp_path):
    """Two meshes of one import, one hanging on the other, and a third that is of none."""
    first, second, other = (new_ball() for _ in range(3))
    first.name, second.name, other.name = "First part", "Second", "Other"
    second.location, second.parent = (2, 1, 0), first
    # Else each would be as like the other as itself.
    second.scale = (1, 2, 0.5)
    animation = fabricate(tmp_path, first, second, frames=FRAMES)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=11))
    bpy.context.view_layer.objects.active = second
    return first, second


@pytest.mark.parametrize("name", ["a.abc", "a.usdc", "a.glb"])
@pytest.mark.parametrize("root", [False, True])
def test_several_objects_of_one_result_are_one_file(api, pair, tmp_path, name, root):
    if name == "a.glb":
        # Shears the second, which a node cannot be; what Blender reads of other formats cannot be either.
        pair[0].scale = (1, 3, 1)
    pair[0].gvf.play_root = root
    bpy.context.scene.frame_set(11 + 3)
    expected = evaluated_world_vertices("Second")
    before = state()
    report = api.export([thing.name for thing in pair], tmp_path / name)
    assert state() == before
    assert report.frames == FRAMES and report.error < 1e-5
    assert bpy.ops.gvf.export(filepath=str(tmp_path / f"whole_{name}")) == {"FINISHED"}
    assert (tmp_path / f"whole_{name}").stat().st_size == pytest.approx(report.size, rel=0.01)
    bpy.ops.gvf.export(filepath=str(tmp_path / f"one_{name}"), whole=False)
    assert (tmp_path / f"one_{name}").stat().st_size < 0.7 * report.size
    bpy.ops.wm.read_homefile(use_empty=True)
    read = {".abc": bpy.ops.wm.alembic_import, ".usdc": bpy.ops.wm.usd_import, ".glb": bpy.ops.import_scene.gltf}
    read[f".{name.split('.')[1]}"](filepath=str(tmp_path / name))
    assert sum(thing.type == "MESH" for thing in bpy.data.objects) == 2
    if name == "a.glb":
        assert {"First part", "Second"} <= set(bpy.data.objects.keys())
        bpy.context.scene.frame_set(3)
        found = evaluated_world_vertices("Second")
        assert_same_box(found, expected)


def assert_same_box(found, expected):
    for end in (np.min, np.max):
        np.testing.assert_allclose(end(found, axis=0), end(expected, axis=0), atol=1e-4)


def test_the_whole_result_is_what_shows_of_it(api, pair):
    from gvf_blender.exporter.export import of_one_result

    assert of_one_result(pair[1]) == [pair[1], pair[0]]
    pair[0].hide_viewport = True
    bpy.context.view_layer.update()
    assert of_one_result(pair[1]) == [pair[1]]


def test_an_error_in_one_of_several_objects_keeps_the_file_from_being_written(api, pair, tmp_path, monkeypatch):
    from gvf_blender.exporter import scene_formats

    read = scene_formats.read_vertex_tracks

    def shifted(scene, things, frames):
        found = read(scene, things, frames)
        if len(things) == 2 and things[0] != pair[0]:
            found[1].world[3, 5] += 1
        return found

    monkeypatch.setattr(scene_formats, "read_vertex_tracks", shifted)
    with pytest.raises(FileError, match=r"a\.abc would be off by up to 1"):
        api.export(pair, tmp_path / "a.abc")
    assert not (tmp_path / "a.abc").exists()


def test_a_file_of_one_object_refuses_several_with_a_sentence(api, pair, tmp_path):
    with pytest.raises(SelectionError, match="given are: 'First part', 'Second'"):
        api.export(pair, tmp_path / "a.pc2")
    with pytest.raises(SelectionError, match="No object"):
        api.export([], tmp_path / "a.abc")
    assert bpy.ops.gvf.export(filepath=str(tmp_path / "a.pc2")) == {"FINISHED"}
    assert read_pc2(tmp_path / "a.pc2").shape == (FRAMES, len(pair[1].data.vertices), 3)


def test_a_mesh_whose_number_of_vertices_changes_is_refused(api, tmp_path):
    ball = new_ball()
    build = ball.modifiers.new("Build", "BUILD")
    build.frame_start, build.frame_duration = 1, 20
    with pytest.raises(SelectionError, match="vertices at frame"):
        api.export(ball, tmp_path / "a.pc2", frame_start=5, frame_end=15)
    assert "GVF export" not in bpy.data.scenes


def test_a_mesh_without_a_size_goes_where_positions_are_in_the_world(api, tmp_path):
    ball = new_ball()
    moving(ball, tmp_path)
    ball.scale = (0, 0, 0)
    assert api.export(ball, tmp_path / "a.abc").error < 1e-5
    for name in ("a.glb", "a.pc2"):
        with pytest.raises(SelectionError, match="'Ball' has a scale of zero at frame 11"):
            api.export(ball, tmp_path / name)


def test_a_hidden_mesh_is_refused_because_it_would_stand_still(api, tmp_path):
    ball = new_ball()
    moving(ball, tmp_path)
    ball.hide_set(True)
    assert api.export(ball, tmp_path / "a.pc2").error < 1e-5
    ball.hide_viewport = True
    with pytest.raises(SelectionError, match="hidden"):
        api.export(ball, tmp_path / "a.pc2")


def test_the_operator_reports_the_error_of_the_file(api, tmp_path):
    ball = new_ball()
    moving(ball, tmp_path)
    bpy.context.view_layer.objects.active = ball
    assert bpy.ops.gvf.export(filepath=str(tmp_path / "a.pc2")) == {"FINISHED"}
    with pytest.raises(RuntimeError, match="does not tell a format"):
        bpy.ops.gvf.export(filepath=str(tmp_path / "a"))
    bpy.ops.object.camera_add()
    with pytest.raises(RuntimeError, match="neither a mesh nor a result"):
        bpy.ops.gvf.export(filepath=str(tmp_path / "a.pc2"))


@pytest.fixture
def dialog(addon):
    """The export's operator as the file browser holds it, which a Blender without windows does not open."""
    from gvf_blender.operators.export import GVF_OT_export

    class Dialog:
        format, filepath, frame_start, frame_end, shown_format = "ALEMBIC", "", 0, 0, ""
        check, _offers_formats = GVF_OT_export.check, staticmethod(GVF_OT_export._offers_formats)
        properties = SimpleNamespace(is_property_set=lambda name: False)

        def open(self):
            manager = SimpleNamespace(fileselect_add=lambda operator: None)
            context = SimpleNamespace(object=bpy.context.object, scene=bpy.context.scene, window_manager=manager)
            GVF_OT_export.invoke(self, context, None)
            return self

        def shown(self):
            layout = RecordingLayout()
            drawn = SimpleNamespace(
                layout=layout,
                format=self.format,
                _offers_formats=self._offers_formats,
                _replaced=partial(GVF_OT_export._replaced, self),
                bl_rna=bpy.ops.gvf.export.get_rna_type(),
            )
            GVF_OT_export.draw(drawn, bpy.context)
            return layout

    return Dialog()


def test_the_dialog_shows_the_frames_of_the_animation(dialog, tmp_path):
    _, imported = moving(new_ball(), tmp_path)
    bpy.context.view_layer.objects.active = imported.splats
    dialog.open()
    assert (dialog.frame_start, dialog.frame_end) == (11, 11 + FRAMES - 1)
    assert dialog.filepath == "Ball_splats.ply"
    assert dialog.shown().names("prop") == ["frame_start", "frame_end"]


def test_the_dialog_tells_which_files_of_a_sequence_are_replaced(dialog, tmp_path):
    _, imported = moving(new_ball(), tmp_path)
    bpy.context.view_layer.objects.active = imported.splats
    dialog.filepath = str(tmp_path / "new" / "a.ply")
    assert not dialog.open().shown().texts()
    for name in ("a.ply", "a_0010.ply", "a_0011.ply", "a_0012.ply"):
        (tmp_path / name).touch()
    dialog.filepath = str(tmp_path / "a.ply")
    assert dialog.shown().texts() == "Files that are replaced: 2"
    dialog.filepath = "~nobody-of-that-name/a.ply"
    assert not dialog.shown().texts()


def test_the_dialog_offers_the_whole_result_where_a_file_can_hold_it(dialog, pair):
    dialog.open()
    assert "whole" in dialog.shown().names("prop")
    dialog.format = "PC2"
    assert "whole" not in dialog.shown().names("prop")
    bpy.context.view_layer.objects.active = bpy.data.objects["Other"]
    dialog.format = "GLB"
    assert "whole" not in dialog.shown().names("prop")


def test_the_dialogs_format_and_the_suffix_follow_each_other(dialog):
    new_ball()
    dialog.open()
    assert (dialog.filepath, dialog.format, dialog.shown().names("prop")[0]) == ("Ball.abc", "ALEMBIC", "format")
    dialog.format = "GLB"
    assert dialog.check(bpy.context) and dialog.filepath == "Ball.glb"
    dialog.filepath = "v1.2.usda"
    assert dialog.check(bpy.context) and (dialog.format, dialog.filepath) == ("USD", "v1.2.usda")
    dialog.filepath = "v1.2"
    assert not dialog.check(bpy.context)
    dialog.format = "PC2"
    assert dialog.check(bpy.context) and dialog.filepath == "v1.2.pc2"


MADE = '{"engine": "fit", "version": "0.3.0", "is_result": true, "settings": {"seed": 7}}'


def note_in(path):
    """The note about where a file comes from, found by what its format keeps it in."""
    content = path.read_bytes()
    if path.suffix == ".ply":
        (line,) = (line for line in content.splitlines()[:4] if line.startswith(b"comment gvf_provenance "))
        return json.loads(line.split(b" ", 2)[2])
    if path.suffix == ".glb":
        length = int.from_bytes(content[12:16], "little")
        assert int.from_bytes(content[8:12], "little") == len(content) and length % 4 == 0
        return json.loads(content[20 : 20 + length])["asset"]["extras"]["gvf_provenance"]
    if path.suffix == ".usda":
        (line,) = (line for line in content.decode().splitlines() if "gvf_provenance" in line)
        return json.loads(ast.literal_eval(line.split(" = ", 1)[1]))
    start = content.index(b'{"generator"')
    return json.loads(content[start : content.index(b"}", start) + 1])


@pytest.mark.parametrize("modifier", [None, "BEVEL"])
@pytest.mark.parametrize("name", ["a.ply", "a.glb", "a.usda", "a.abc"])
def test_a_file_tells_what_made_it(api, tmp_path, name, modifier):
    ball = new_ball(modifier)
    animation = fabricate(tmp_path, ball, frames=3, provenance=MADE)
    imported = import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    exported = imported.splats if name == "a.ply" else ball
    before = dict(exported.items())
    note = note_in(api.export(exported, tmp_path / name).paths[0])
    assert note.pop("generator").startswith("Gaussian Variation Fields for Blender, version ")
    assert note == {
        "ai_generated_motion": True,
        "engine": "fit",
        "engine_version": "0.3.0",
        "seed": 7,
        "is_result": True,
    }
    assert dict(exported.items()) == before


def test_a_mesh_without_motion_of_ours_is_not_called_generated(api, tmp_path):
    ball = new_ball()
    bpy.context.scene.frame_end = 3
    assert note_in(api.export(ball, tmp_path / "a.usda").paths[0]).keys() == {"generator"}
