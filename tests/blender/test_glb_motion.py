"""GLB files beyond where their vertices go: when they do, how they are lit, and what else is in the file."""

import addon_utils
import bpy
import numpy as np
import pytest

from gvf_blender.core.errors import FileError
from gvf_blender.core.glb_file import GlbFile, read_morph_mesh
from gvf_blender.exporter import morph_glb


@pytest.fixture
def plane(addon):
    """A smooth plane that turns about its y axis, from facing up at frame 1 to facing left at frame 5."""
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4)
    plane = bpy.context.object
    bpy.ops.object.shade_smooth()
    plane.shape_key_add(name="Basis")
    for name, angle in (("Half", -np.pi / 4), ("Whole", -np.pi / 2)):
        for point in plane.shape_key_add(name=name).points:
            point.co = (point.co.x * np.cos(angle), point.co.y, -point.co.x * np.sin(angle))
    for frame, half, whole in ((1, 0, 0), (3, 1, 0), (5, 0, 1)):
        for name, value in (("Half", half), ("Whole", whole)):
            block = plane.data.shape_keys.key_blocks[name]
            block.value = value
            block.keyframe_insert("value", frame=frame)
    return plane


@pytest.mark.parametrize(("fps", "base"), [(24, 1.0), (24, 1.001), (30, 1.001), (24, 2.0), (25, 0.5)])
def test_a_glb_file_lasts_as_long_as_the_scene_shows_it(api, plane, tmp_path, fps, base):
    render = bpy.context.scene.render
    render.fps, render.fps_base = fps, base
    api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=25)
    times = read_morph_mesh(tmp_path / "a.glb").times
    np.testing.assert_allclose(times, np.arange(25) * base / fps, rtol=1e-5)


def test_a_file_with_other_times_is_not_taken_for_exact(api, plane, tmp_path, monkeypatch):
    monkeypatch.setattr(morph_glb, "scene_fps", lambda scene: 48.0)
    read = morph_glb.read_morph_mesh

    def slower(*arguments):
        found = read(*arguments)
        found.__dict__["times"] = found.times * 2
        return found

    monkeypatch.setattr(morph_glb, "read_morph_mesh", slower)
    with pytest.raises(FileError, match=r"5 frames in 0\.166\d* s instead of 5 in 0\.083"):
        api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=5)


def normals_in(path):
    """Of the first mesh at every frame, in Blender's axes."""
    file = GlbFile.read(path)
    (primitive,) = file.content["meshes"][0]["primitives"]
    base = file.array(primitive["attributes"]["NORMAL"])
    turned = [base + file.array(target["NORMAL"]) for target in primitive["targets"]]
    return np.stack([base, *turned])[..., [0, 2, 1]] * (1, -1, 1)


def test_normals_turn_with_the_surface(api, plane, tmp_path):
    api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=5)
    normals = normals_in(tmp_path / "a.glb")
    for frame, expected in ((0, (0, 0, 1)), (2, (-(0.5**0.5), 0, 0.5**0.5)), (4, (-1, 0, 0))):
        np.testing.assert_allclose(normals[frame], np.broadcast_to(expected, normals[frame].shape), atol=1e-5)


def bent_ball(smooth):
    bpy.ops.mesh.primitive_uv_sphere_add(segments=24, ring_count=16)
    ball = bpy.context.object
    if smooth:
        bpy.ops.object.shade_smooth()
    ball.shape_key_add(name="Basis")
    block = ball.shape_key_add(name="Bent")
    for point in block.points:
        x, y, z = point.co
        point.co = (x + 0.5 * z * z, 1.5 * y, z + 0.3 * x)
    for frame, value in ((1, 0.0), (5, 1.0)):
        block.value = value
        block.keyframe_insert("value", frame=frame)
    return ball


@pytest.mark.parametrize("smooth", [True, False])
def test_a_bent_surface_has_the_normals_that_blender_shows(api, tmp_path, smooth):
    ball = bent_ball(smooth)
    api.export(ball, tmp_path / "a.glb", frame_start=1, frame_end=5)
    bpy.context.scene.frame_set(5)
    evaluated = ball.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    shown = np.array([corner.vector for corner in evaluated.corner_normals])
    places = np.array([evaluated.vertices[loop.vertex_index].co for loop in evaluated.loops])
    read = read_morph_mesh(tmp_path / "a.glb")
    found = read.at_key(4)[:, [0, 2, 1]] * (1, -1, 1)
    off = [
        np.linalg.norm(shown[np.linalg.norm(places - place, axis=-1) < 1e-5] - normal, axis=-1).min()
        for place, normal in zip(found, normals_in(tmp_path / "a.glb")[4], strict=True)
    ]
    # Blender weighs the faces around a vertex by their angles, the file by their areas.
    assert max(off) < (0.06 if smooth else 0.02)


def test_a_mesh_that_grows_from_a_point_is_exact_and_lit(api, plane, tmp_path):
    plane.shape_key_clear()
    plane.shape_key_add(name="Basis")
    block = plane.shape_key_add(name="Point")
    block.points.foreach_set("co", np.zeros(len(block.points) * 3, np.float32))
    for frame, value in ((1, 1.0), (5, 0.0)):
        block.value = value
        block.keyframe_insert("value", frame=frame)
    assert api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=5).error < 1e-6
    normals = normals_in(tmp_path / "a.glb")[1:]
    np.testing.assert_allclose(normals, np.broadcast_to((0, 0, 1), normals.shape), atol=1e-5)


def test_one_animation_plays_all_objects(api, plane, tmp_path):
    ball = bent_ball(smooth=True)
    for frame, x in ((1, 0.0), (5, 2.0)):
        ball.location.x = x
        ball.keyframe_insert("location", frame=frame)
    assert api.export([plane, ball], tmp_path / "a.glb", frame_start=1, frame_end=5).error < 1e-5
    (animation,) = GlbFile.read(tmp_path / "a.glb").content["animations"]
    played = [(channel["target"]["node"], channel["target"]["path"]) for channel in animation["channels"]]
    assert len({node for node, _ in played}) == 2
    assert sorted(path for _, path in played) == ["translation", "weights", "weights"]


def test_attributes_for_the_export_and_of_the_artist_are_not_in_the_file(api, plane, tmp_path):
    plane.data.attributes.new("_work", "INT", "POINT")
    image = bpy.data.images.new("Dots", 4, 4)
    image.pack()
    material = bpy.data.materials.new("Dotted")
    material.use_nodes = True
    texture = material.node_tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    plane.data.materials.append(material)
    api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=5)
    file = GlbFile.read(tmp_path / "a.glb")
    (primitive,) = file.content["meshes"][0]["primitives"]
    assert primitive["attributes"].keys() == {"POSITION", "NORMAL", "TEXCOORD_0"}
    (picture,) = file.content["images"]
    assert file.views[picture["bufferView"]].startswith(b"\x89PNG")
    used = {accessor["bufferView"] for accessor in file.content["accessors"]} | {picture["bufferView"]}
    assert used == set(range(len(file.views)))
    assert list(plane.data.attributes.keys()).count("_work") == 1


def test_without_blenders_own_add_on_it_is_named(api, plane, tmp_path):
    addon_utils.disable("io_scene_gltf2")
    try:
        with pytest.raises(FileError, match=r"Enable the add-on glTF 2\.0"):
            api.export(plane, tmp_path / "a.glb", frame_start=1, frame_end=5)
    finally:
        addon_utils.enable("io_scene_gltf2")
    assert list(tmp_path.glob("*.glb")) == []


def test_places_that_are_no_numbers_are_refused(tmp_path):
    file = GlbFile({}, [])
    file.add_array(np.array([1, np.nan], np.float32))
    with pytest.raises(FileError, match="numbers only"):
        file.write(tmp_path / "a.glb")


def test_more_than_such_a_file_can_hold_is_refused(tmp_path):
    file = GlbFile({"bufferViews": [{"buffer": 0}] * 3}, [_Long(2**31)] * 3)
    with pytest.raises(FileError, match=r"would need 6\.0"):
        file.write(tmp_path / "a.glb")
    assert not (tmp_path / "a.glb").exists()


class _Long(bytes):
    """Says that it is long."""

    def __new__(cls, length):
        made = super().__new__(cls)
        made.length = length
        return made

    def __len__(self):
        return self.length
