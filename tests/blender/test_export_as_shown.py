"""What the viewport shows is what every format gets, or a sentence; and the artist's own is left as it was."""

import os
import sys
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate

from gvf_blender.core.errors import FileError, SelectionError, SettingsError
from gvf_blender.core.glb_file import GlbFile
from gvf_blender.core.pc2_file import read_pc2
from gvf_blender.core.splat_ply_file import read_splat_ply
from gvf_blender.importer import ImportOptions, import_animation
from gvf_blender.importer.gaussians import AMOUNT_INPUT
from gvf_blender.importer.nodes import modifier_input_path

FORMATS = ["a.abc", "a.usdc", "a.glb", "a.pc2"]


@pytest.fixture
def ball(addon):
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6)
    bpy.context.object.name = "Ball"
    return bpy.context.object


def bring(thing, tmp_path):
    animation = fabricate(tmp_path, thing, frames=3)
    return import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))


@pytest.mark.parametrize("name", FORMATS)
def test_a_subdivision_on_top_of_the_motion_is_in_the_file(api, ball, tmp_path, name):
    bring(ball, tmp_path)
    ball.modifiers.new("Subdivision", "SUBSURF").levels = 1
    assert api.export(ball, tmp_path / name).error < 1e-4


def sheared(ball):
    parent = bpy.data.objects.new("Stretched", None)
    parent.scale = (1, 2, 3)
    bpy.context.collection.objects.link(parent)
    ball.parent, ball.rotation_euler = parent, (0.5, 0.6, 0.7)
    bpy.context.view_layer.update()


@pytest.mark.parametrize("name", FORMATS[1:])
def test_a_sheared_object_is_exact_where_the_format_can_have_it(api, ball, tmp_path, name):
    sheared(ball)
    assert api.export(ball, tmp_path / name, frame_start=1, frame_end=2).error < 1e-4


def test_a_sheared_object_is_refused_where_blender_writes_it_wrongly(api, ball, tmp_path):
    sheared(ball)
    with pytest.raises(SelectionError, match="sheared"):
        api.export(ball, tmp_path / "a.abc", frame_start=1, frame_end=2)


@pytest.mark.parametrize("name", FORMATS)
def test_vertices_that_are_no_numbers_are_no_success(api, ball, tmp_path, name):
    ball.data.vertices[0].co.x = float("nan")
    (tmp_path / name).write_bytes(b"earlier")
    with pytest.raises((FileError, SelectionError)):
        api.export(ball, tmp_path / name, frame_start=1, frame_end=2)
    assert (tmp_path / name).read_bytes() == b"earlier"


def test_the_colour_space_of_the_artists_image_stays(api, ball, tmp_path):
    (tmp_path / "textures").mkdir()
    image = bpy.data.images.new("picture", 4, 4)
    image.filepath_raw, image.file_format = str(tmp_path / "textures" / "picture.png"), "PNG"
    image.save()
    image = bpy.data.images.load(str(tmp_path / "textures" / "picture.png"))
    image.colorspace_settings.name = "Linear Rec.709"
    material = bpy.data.materials.new("Painted")
    material.use_nodes = True
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    ball.data.materials.append(material)
    api.export(ball, tmp_path / "a.usdc", frame_start=1, frame_end=2)
    assert image.colorspace_settings.name == "Linear Rec.709"


@pytest.mark.parametrize("name", FORMATS)
def test_a_driver_that_asks_the_scene_is_answered(api, ball, tmp_path, name):
    bpy.context.scene["push"] = 1.0
    driver = ball.driver_add("delta_location", 2).driver
    variable = driver.variables.new()
    variable.name, variable.type = "push", "CONTEXT_PROP"
    variable.targets[0].context_property, variable.targets[0].data_path = "ACTIVE_SCENE", '["push"]'
    driver.type, driver.expression = "SCRIPTED", "push * frame"
    bpy.context.scene.frame_set(2)
    api.export(ball, tmp_path / name, frame_start=1, frame_end=6)
    if name == "a.pc2":
        positions = read_pc2(tmp_path / name)
        np.testing.assert_allclose((positions[-1] - positions[0])[:, 2], 5, atol=1e-5)
    bpy.context.scene.frame_set(9)
    assert driver.is_valid and ball.delta_location.z == 9


@pytest.mark.parametrize("asked", ["frame_end", "render.resolution_x", "cursor.location.x"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_driver_that_asks_for_a_setting_of_the_scene_gets_it_or_is_refused(api, ball, tmp_path, name, asked):
    scene = bpy.context.scene
    scene.frame_end, scene.render.resolution_x, scene.cursor.location.x = 70, 700, 7
    driver = ball.driver_add("delta_location", 2).driver
    variable = driver.variables.new()
    variable.name, variable.type = "asked", "CONTEXT_PROP"
    variable.targets[0].context_property, variable.targets[0].data_path = "ACTIVE_SCENE", asked
    driver.type, driver.expression = "SCRIPTED", "asked"
    bpy.context.view_layer.update()
    height = ball.matrix_world.translation.z
    assert height in (70, 700, 7)
    if (name, asked) == ("a.usdc", "frame_end"):
        with pytest.raises(FileError, match="would be off by"):
            api.export(ball, tmp_path / name, frame_start=1, frame_end=3)
        return
    api.export(ball, tmp_path / name, frame_start=1, frame_end=3)
    ball.driver_remove("delta_location", 2)
    if name == "a.abc":
        bpy.ops.wm.alembic_import(filepath=str(tmp_path / name), as_background_job=False)
    elif name == "a.usdc":
        bpy.ops.wm.usd_import(filepath=str(tmp_path / name))
    elif name == "a.glb":
        bpy.ops.import_scene.gltf(filepath=str(tmp_path / name))
    else:
        return  # relative to where the object stands
    (read,) = (thing for thing in bpy.context.scene.objects if thing.type == "MESH" and thing != ball)
    bpy.context.view_layer.update()
    assert np.mean(evaluated_world_vertices(read.name)[:, 2]) == pytest.approx(height, rel=1e-5)


def test_what_a_simulation_moves_is_refused(api, ball, tmp_path):
    bpy.ops.rigidbody.object_add(type="ACTIVE")
    with pytest.raises(SelectionError, match="rigid body"):
        api.export(ball, tmp_path / "a.pc2", frame_start=1, frame_end=2)


@pytest.mark.parametrize("name", FORMATS)
def test_instances_are_refused_as_they_would_be_missing(api, ball, tmp_path, name):
    tree = bpy.data.node_groups.new("Scatter", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    given, result = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    scatter, shape = tree.nodes.new("GeometryNodeInstanceOnPoints"), tree.nodes.new("GeometryNodeMeshCube")
    tree.links.new(given.outputs[0], scatter.inputs["Points"])
    tree.links.new(shape.outputs[0], scatter.inputs["Instance"])
    tree.links.new(scatter.outputs[0], result.inputs[0])
    ball.modifiers.new("Scatter", "NODES").node_group = tree
    with pytest.raises(SelectionError, match=r"shows instances.*Realize Instances"):
        api.export(ball, tmp_path / name, frame_start=1, frame_end=2)


@pytest.mark.parametrize("of", ["mesh", "splats"])
def test_nothing_is_exported_beside_sculpting_which_would_crash(api, ball, tmp_path, of):
    splats = bring(ball, tmp_path).splats
    ball.modifiers.new("Subdivision", "SUBSURF")
    bpy.context.view_layer.objects.active = ball
    bpy.ops.object.mode_set(mode="SCULPT")
    thing, name = (ball, "a.pc2") if of == "mesh" else (splats, "a.ply")
    with pytest.raises(SelectionError, match="Sculpt Mode"):
        api.export(thing, tmp_path / name)
    bpy.ops.object.mode_set(mode="OBJECT")
    api.export(thing, tmp_path / name)


def test_keys_of_the_display_are_no_part_of_the_splats(api, ball, tmp_path):
    splats = bring(ball, tmp_path).splats
    modifier = splats.modifiers[0]
    path = modifier_input_path(modifier, AMOUNT_INPUT)
    splats.gvf.display_amount = 0.1
    splats.keyframe_insert(path, frame=1)
    modifier.show_viewport = False
    splats.keyframe_insert(f'modifiers["{modifier.name}"].show_viewport', frame=1)
    splats.hide_viewport = True
    splats.keyframe_insert("hide_viewport", frame=1)
    splats.location.x = 1
    splats.keyframe_insert("location", frame=1)
    bpy.context.view_layer.objects.active = splats
    first = api.export(splats, tmp_path / "a.ply").paths[0]
    splats.animation_data_clear()
    splats.hide_viewport, modifier.show_viewport, splats.gvf.display_amount = False, True, 1.0
    plain = api.export(splats, tmp_path / "b.ply").paths[0]
    np.testing.assert_allclose(read_splat_ply(first).positions, read_splat_ply(plain).positions, atol=1e-6)


def grow_and_hide(ball, *keys):
    """A mesh that grows and moves in frames 1 to 5, with keys (frame, hidden)."""
    ball.shape_key_add(name="Basis")
    key = ball.shape_key_add(name="Large")
    for point in key.data:
        point.co *= 3
    for frame, value in ((1, 0.0), (5, 1.0)):
        key.value, ball.location.x = value, 4 * value
        key.keyframe_insert("value", frame=frame)
        ball.keyframe_insert("location", frame=frame)
    for frame, hidden in keys:
        ball.hide_viewport = hidden
        ball.keyframe_insert("hide_viewport", frame=frame)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("current", [1, 4])
def test_frames_in_which_a_key_hides_the_object_count_for_nothing(api, ball, tmp_path, name, current):
    grow_and_hide(ball, (1, False), (3, True))
    bpy.context.scene.frame_set(current)
    assert api.export(ball, tmp_path / name, frame_start=1, frame_end=5).error < 1e-5


@pytest.mark.parametrize("name", FORMATS[1:])
@pytest.mark.parametrize("current", [1, 4])
def test_an_object_that_appears_later_is_exported_with_its_modifiers(api, ball, tmp_path, name, current):
    grow_and_hide(ball, (1, True), (3, False))
    ball.modifiers.new("Subdivision", "SUBSURF")
    bpy.context.scene.frame_set(current)
    assert api.export(ball, tmp_path / name, frame_start=1, frame_end=5).error < 1e-5
    if name == "a.pc2":
        shapes = read_pc2(tmp_path / name)
        np.testing.assert_array_equal(shapes[0], shapes[2])
        np.testing.assert_array_equal(shapes[1], shapes[2])
        assert np.ptp(shapes[4][:, 2]) > 1.2 * np.ptp(shapes[2][:, 2])


def test_the_still_mesh_of_glb_is_that_of_the_frame_in_which_the_object_appears(api, ball, tmp_path):
    grow_and_hide(ball, (1, True), (3, False))
    warp = ball.modifiers.new("Warp", "UV_WARP")
    for frame in range(1, 6):
        warp.offset = (frame, 0)
        warp.keyframe_insert("offset", frame=frame)
    api.export(ball, tmp_path / "a.glb", frame_start=1, frame_end=5)
    file = GlbFile.read(tmp_path / "a.glb")
    (mesh,) = file.content["meshes"]
    coordinates = file.array(mesh["primitives"][0]["attributes"]["TEXCOORD_0"])
    assert 3 <= coordinates[:, 0].min() <= coordinates[:, 0].max() <= 4


def test_a_shape_that_comes_back_is_refused_where_blender_writes_it_too_early(api, ball, tmp_path):
    grow_and_hide(ball, (1, False), (2, True), (3, False))
    with pytest.raises(FileError, match=r"off by up to.*keys of the visibility"):
        api.export(ball, tmp_path / "a.abc", frame_start=1, frame_end=5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_an_object_that_is_hidden_in_all_frames_is_refused(api, ball, tmp_path, name):
    grow_and_hide(ball, (1, True), (9, False))
    bpy.context.scene.frame_set(9)
    with pytest.raises(SelectionError, match="'Ball' is hidden in all frames"):
        api.export(ball, tmp_path / name, frame_start=1, frame_end=5)


def paint(thing, color):
    """A picture that lies in the .blend file only, always under the same name."""
    for image in [one for one in bpy.data.images if one.name == "Wood"]:
        bpy.data.images.remove(image)
    image = bpy.data.images.new("Wood", 4, 4)
    image.pixels[:] = [*color, 1.0] * 16
    image.pack()
    material = bpy.data.materials.new("Wood")
    material.use_nodes = True
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = material.node_tree.nodes["Principled BSDF"]
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    thing.data.materials.clear()
    thing.data.materials.append(material)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def colors_in(path):
    """What Blender finds as pictures of a USD file."""
    before = set(bpy.data.images)
    bpy.ops.wm.usd_import(filepath=str(path))
    found = [image for image in bpy.data.images if image not in before]
    colors = [tuple(image.pixels[:3]) for image in found]
    bpy.data.batch_remove(found)  # Or Blender would take them again for pictures of the same path.
    return colors


@pytest.mark.parametrize("suffix", [".usd", ".usda", ".usdc"])
def test_every_usd_file_has_pictures_of_its_own(api, ball, tmp_path, suffix):
    colors = {"a": (1.0, 0.0, 0.0), "b": (0.0, 0.0, 1.0), "\u00e4 c@1[x]": (0.0, 1.0, 0.0)}
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures" / "Wood.png").write_bytes(b"the artist's")
    for name, color in colors.items():
        paint(ball, color)
        assert api.export(ball, tmp_path / (name + suffix), frame_start=1, frame_end=2).error < 1e-5
    assert (tmp_path / "textures" / "Wood.png").read_bytes() == b"the artist's"
    for name, color in colors.items():
        assert colors_in(tmp_path / (name + suffix)) == [color]


@pytest.mark.parametrize("suffix", [".usda", ".usdc"])
def test_pictures_of_a_usd_file_are_replaced_with_it_or_not_at_all(api, ball, tmp_path, monkeypatch, suffix):
    def exported():
        return api.export(ball, tmp_path / f"a{suffix}", frame_start=1, frame_end=2)

    def fails():
        before = contents(tmp_path)
        with pytest.raises(FileError):
            exported()
        assert contents(tmp_path) == before
        assert {path.name for path in tmp_path.iterdir()} <= {f"a{suffix}", f"a{suffix}_textures"}

    from gvf_blender.core import drafts

    move = drafts._move

    def is_open(path, target):
        if target.suffix == suffix:
            raise FileError(f"{target} could not be replaced (it is open).")
        move(path, target)

    for color in ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)):
        paint(ball, color)
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["gvf_blender.exporter.export"], "error_of", lambda *_: 1.0)
            fails()
        with monkeypatch.context() as patch:
            patch.setattr(drafts, "_move", is_open)
            fails()
        exported()
        assert len(contents(tmp_path)) == 2
        assert colors_in(tmp_path / f"a{suffix}") == [color]
    ball.data.materials.clear()
    exported()
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_pictures_of_a_usd_file_that_was_renamed_are_kept(api, ball, tmp_path):
    paint(ball, (1.0, 0.0, 0.0))
    api.export(ball, tmp_path / "a.usdc", frame_start=1, frame_end=2)
    (tmp_path / "a.usdc").rename(tmp_path / "take 1.usdc")
    before = contents(tmp_path)
    with pytest.raises(FileError, match=r"a\.usdc_textures is there already, but no a\.usdc"):
        api.export(ball, tmp_path / "a.usdc", frame_start=1, frame_end=2)
    assert contents(tmp_path) == before
    assert colors_in(tmp_path / "take 1.usdc") == [(1.0, 0.0, 0.0)]


def test_a_usd_file_that_cannot_be_changed_is_told(api, ball, tmp_path, monkeypatch):
    paint(ball, (1.0, 0.0, 0.0))
    monkeypatch.setattr(sys.modules["gvf_blender.core.usd_pictures"], "_unpacked", lambda _: [][0])
    with pytest.raises(FileError, match=r"a\.usdc.*no crate"):
        api.export(ball, tmp_path / "a.usdc", frame_start=1, frame_end=2)
    assert not list(tmp_path.iterdir())


def test_a_sequence_is_replaced_as_a_whole_or_not_at_all(api, ball, tmp_path, monkeypatch):
    splats = bring(ball, tmp_path).splats
    for frame in (1, 3):
        (tmp_path / f"a_{frame:04d}.ply").write_bytes(b"earlier")
    (tmp_path / "a_0002.ply").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(FileError, match=r"a_0002\.ply is no file"):
        api.export(splats, tmp_path / "a.ply")
    (tmp_path / "a_0002.ply").rmdir()
    from gvf_blender.core import drafts

    move = drafts._move

    def fails_at_the_last(path, target):
        if target.name == "a_0003.ply":
            raise FileError(f"{target} could not be replaced (it is open).")
        move(path, target)

    monkeypatch.setattr(drafts, "_move", fails_at_the_last)
    with pytest.raises(FileError, match="it is open"):
        api.export(splats, tmp_path / "a.ply")
    assert sorted([*(path.name for path in tmp_path.iterdir()), "a_0002.ply"]) == before
    assert {(tmp_path / f"a_{frame:04d}.ply").read_bytes() for frame in (1, 3)} == {b"earlier"}
    monkeypatch.undo()
    assert len(api.export(splats, tmp_path / "a.ply").paths) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_long_names_are_no_problem_and_too_long_ones_a_sentence(api, ball, tmp_path):
    name = "a" * 251 + ".pc2"
    assert api.export(ball, tmp_path / name, frame_start=1, frame_end=2).paths[0].name == name
    for suffix in (".abc", ".usdc", ".pc2", ".glb"):
        with pytest.raises(FileError, match="cannot be written"):
            api.export(ball, tmp_path / ("a" * 256 + suffix), frame_start=1, frame_end=2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_a_pipe_is_not_replaced_by_a_file(api, ball, tmp_path):
    os.mkfifo(tmp_path / "a.pc2")
    with pytest.raises(FileError, match="is no file"):
        api.export(ball, tmp_path / "a.pc2", frame_start=1, frame_end=2)


def test_a_disk_without_room_is_told_before_blender_writes(api, ball, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(FileError, match="MB of room"):
        api.export(ball, tmp_path / "a.abc", frame_start=1, frame_end=2)


def test_the_button_checks_frames_as_the_console_does(api, ball, tmp_path):
    with pytest.raises(RuntimeError, match="Choose a scene frame from"):
        bpy.ops.gvf.export(filepath=str(tmp_path / "a.pc2"), frame_start=2_000_000, frame_end=2_000_002)
    with pytest.raises(SettingsError, match="Choose a scene frame from"):
        api.export(ball, tmp_path / "a.pc2", frame_start=2_000_000, frame_end=2_000_002)


def test_the_stage_leaves_the_mesh_where_it_was(api, ball, tmp_path):
    before = evaluated_world_vertices("Ball")
    api.export(ball, tmp_path / "a.usdc", frame_start=1, frame_end=2)
    np.testing.assert_array_equal(evaluated_world_vertices("Ball"), before)
