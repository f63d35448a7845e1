"""What a capture contains: evaluated geometry, placed and normalized, and clear refusals."""

import bmesh
import bpy
import numpy as np
import pytest
from mathutils import Euler, Matrix, Vector

from gvf_blender.capture import CaptureOptions, CaptureSession, capture, geometry
from gvf_blender.core.errors import FileError, SelectionError
from gvf_core.capture import load_capture

QUICK = CaptureOptions(views=1, size=16, samples=1)


@pytest.fixture
def captured(empty_scene, tmp_path):
    """Capture objects and return the session's result and the loaded file."""

    def run(*objects):
        path = tmp_path / "capture.safetensors"
        result = capture(bpy.context, objects, path, QUICK)
        return result, load_capture(path)

    return run


def add_object(name, data, location=(0, 0, 0)):
    thing = bpy.data.objects.new(name, data)
    thing.location = location
    bpy.context.scene.collection.objects.link(thing)
    return thing


def box(name="Box", size=(1.0, 1.0, 1.0), location=(0, 0, 0)):
    mesh = bpy.data.meshes.new(name)
    shape = bmesh.new()
    bmesh.ops.create_cube(shape, size=1.0, matrix=Matrix.Diagonal((*size, 1.0)))
    shape.to_mesh(mesh)
    shape.free()
    return add_object(name, mesh, location)


def world_positions(result, file):
    matrix = result.world_from_unit
    return file.vertices @ matrix[:3, :3].T + matrix[:3, 3]


def evaluated_positions(thing):
    evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.array([evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices])


def test_the_unit_frame_is_centered_and_its_longest_side_is_one(captured):
    thing = box(size=(4.0, 1.0, 2.0), location=(10, -3, 7))
    result, file = captured(thing)
    np.testing.assert_allclose(file.vertices.min(axis=0), (-0.5, -0.125, -0.25), atol=1e-6)
    np.testing.assert_allclose(file.vertices.max(axis=0), (0.5, 0.125, 0.25), atol=1e-6)
    np.testing.assert_allclose(result.world_from_unit[:3, 3], (10, -3, 7), atol=1e-5)
    np.testing.assert_array_equal(result.world_from_unit, file.world_from_unit)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_tiny_and_huge_objects_far_away_are_normalized_just_as_well(captured, scale):
    thing = box(location=(300 * scale, 0, -200 * scale))
    thing.scale = (scale, scale, scale)
    result, file = captured(thing)
    np.testing.assert_allclose(np.abs(file.vertices), 0.5, atol=1e-4)
    np.testing.assert_allclose(world_positions(result, file), evaluated_positions(thing), atol=1e-4 * scale)


def test_vertices_lie_where_the_evaluated_object_stands_below_a_sheared_parent(captured):
    parent = add_object("Parent", None, (1, 2, 3))
    parent.scale = (3.0, 0.5, 1.0)
    thing = box()
    thing.parent = parent
    thing.rotation_euler = Euler((0.3, 0.5, 0.7))
    result, file = captured(thing)
    np.testing.assert_allclose(world_positions(result, file), evaluated_positions(thing), atol=1e-5)
    np.testing.assert_allclose(result.sources[0].matrix_world, np.array(thing.matrix_world), atol=1e-6)


def test_modifiers_are_applied_in_the_order_of_the_evaluated_vertices(captured):
    thing = box()
    thing.modifiers.new("Subdivision", "SUBSURF").levels = 2
    result, file = captured(thing)
    assert len(file.vertices) == 98
    np.testing.assert_allclose(world_positions(result, file), evaluated_positions(thing), atol=1e-5)


def test_the_pose_of_the_current_frame_and_subframe_is_captured(captured):
    thing = box()
    thing.shape_key_add(name="Basis")
    key = thing.shape_key_add(name="Tall")
    for point in key.data:
        point.co.z *= 3.0
    for frame, value in ((1, 0.0), (11, 1.0)):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    bpy.context.scene.frame_set(5, subframe=0.5)
    tall = evaluated_positions(thing)
    result, file = captured(thing)
    assert 1.2 < np.ptp(tall[:, 2]) < 2.8
    np.testing.assert_allclose(world_positions(result, file), tall, atol=1e-5)


def test_several_objects_come_in_the_order_of_the_selection(captured):
    small, large = box("Small", (1, 1, 1), (-2, 0, 0)), box("Large", (2, 2, 2), (2, 0, 0))
    result, file = captured(large, small, large)
    assert file.objects == ("Large", "Small")
    assert [(source.vertex_start, source.vertex_count) for source in result.sources] == [(0, 8), (8, 8)]
    np.testing.assert_array_equal(file.object_id, [0] * 8 + [1] * 8)
    assert file.triangles[:12].max() == 7
    assert file.triangles[12:].min() == 8
    assert not any(source.is_instance for source in result.sources)


def test_a_selected_armature_stands_for_its_meshes_without_bone_shapes_and_hidden_parts(captured):
    armature = add_object("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bone = armature.data.edit_bones.new("Bone")
    bone.tail = (0, 0, 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    body, shape, hidden, helper = (box(name) for name in ("Body", "Bone shape", "Hidden", "Helper"))
    for thing in (body, shape, hidden, helper):
        thing.parent = armature
    armature.pose.bones[0].custom_shape = shape
    hidden.hide_set(True)
    helper.hide_render = True
    result, _ = captured(armature, shape)
    assert [source.name for source in result.sources] == ["Body"]


def test_a_collection_instance_is_captured_where_it_stands(captured):
    collection = bpy.data.collections.new("Kit")
    part = box("Part")
    bpy.context.scene.collection.objects.unlink(part)
    collection.objects.link(part)
    empty = add_object("Instance", None, (5, 0, 0))
    empty.instance_type, empty.instance_collection = "COLLECTION", collection
    empty.rotation_euler = Euler((0, 0, 0.5))
    result, file = captured(empty)
    (source,) = result.sources
    assert source.is_instance
    assert source.name == "Part"
    expected = np.array([Matrix(source.matrix_world) @ vertex.co for vertex in part.data.vertices])
    np.testing.assert_allclose(world_positions(result, file), expected, atol=1e-5)
    np.testing.assert_allclose(source.matrix_world[:3, 3], (5, 0, 0))


def _points_to_cubes():
    tree = bpy.data.node_groups.new("Scatter", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    source, target = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    scatter, cube = tree.nodes.new("GeometryNodeInstanceOnPoints"), tree.nodes.new("GeometryNodeMeshCube")
    cube.inputs["Size"].default_value = (0.1, 0.1, 0.1)
    tree.links.new(source.outputs[0], scatter.inputs["Points"])
    tree.links.new(cube.outputs["Mesh"], scatter.inputs["Instance"])
    tree.links.new(scatter.outputs[0], target.inputs[0])
    return tree


def test_geometry_nodes_instances_each_stand_at_their_point(captured):
    thing = box(size=(2, 2, 2), location=(0, 0, 1))
    thing.modifiers.new("Scatter", "NODES").node_group = _points_to_cubes()
    result, file = captured(thing)
    assert [source.vertex_count for source in result.sources] == [8] * 8
    assert all(source.is_instance for source in result.sources)
    centers = world_positions(result, file).reshape(8, 8, 3).mean(axis=1)
    expected = [thing.matrix_world @ vertex.co for vertex in thing.data.vertices]
    np.testing.assert_allclose(centers, expected, atol=1e-5)


def test_a_text_object_is_captured_as_the_mesh_it_shows(captured):
    text = bpy.data.curves.new("Word", "FONT")
    text.body, text.extrude = "AB", 0.1
    thing = add_object("Word", text)
    result, file = captured(thing)
    assert [(source.name, source.is_instance) for source in result.sources] == [("Word", False)]
    assert np.ptp(world_positions(result, file)[:, 2]) == pytest.approx(0.2, abs=1e-5)


@pytest.mark.parametrize("levels", [0, 1])
def test_unfinished_edits_in_edit_mode_are_captured(captured, levels):
    thing = box()
    bpy.context.view_layer.objects.active = thing
    if levels:
        thing.modifiers.new("Subdivision", "SUBSURF").levels = levels
    bpy.ops.object.mode_set(mode="EDIT")
    shape = bmesh.from_edit_mesh(thing.data)
    bmesh.ops.translate(shape, verts=[vertex for vertex in shape.verts if vertex.co.z > 0], vec=Vector((0, 0, 5)))
    bmesh.update_edit_mesh(thing.data)
    result, file = captured(thing)
    assert thing.mode == "EDIT"
    assert len(file.vertices) == (26 if levels else 8)
    assert np.ptp(world_positions(result, file)[:, 2]) > 3.0


def _edge_only():
    mesh = bpy.data.meshes.new("Wire")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0)], [(0, 1)], [])
    return add_object("Wire", mesh)


def _hidden():
    thing = box("Ghost")
    thing.hide_set(True)
    return thing


def _excluded():
    collection = bpy.data.collections.new("Attic")
    bpy.context.scene.collection.children.link(collection)
    thing = box("Stored")
    bpy.context.scene.collection.objects.unlink(thing)
    collection.objects.link(thing)
    bpy.context.view_layer.layer_collection.children["Attic"].exclude = True
    return thing


def _flattened():
    thing = box("Flat")
    thing.scale = (0, 0, 0)
    return thing


def _collinear():
    mesh = bpy.data.meshes.new("Line")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (2, 0, 0)], [], [(0, 1, 2)])
    return add_object("Line", mesh)


def _remote():
    return box("Remote", location=(3e6, 0, 0))


def _broken():
    thing = box("Broken")
    thing.data.vertices[3].co.x = float("nan")
    return thing


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: add_object("Lamp", bpy.data.lights.new("Lamp", "POINT")), "'Lamp' is a light, not a mesh. Select"),
        (lambda: add_object("Nothing", None), "There is no visible mesh below 'Nothing'. Select"),
        (_edge_only, "'Wire' has no faces. Select"),
        (_hidden, "'Ghost' is hidden. Make it visible"),
        (_excluded, "'Stored' is not in the view layer 'ViewLayer'. Enable"),
        (_flattened, "'Flat': the faces have no area .* Check the scale"),
        (_collinear, "'Line': the faces have no area .* Check the scale"),
        (_remote, "'Remote': .* m large but 3e\\+06 m away from the origin.* Move it closer"),
        (_broken, "'Broken' has vertices or a transform with values that are not finite. Check"),
    ],
)
def test_what_cannot_be_captured_is_named_with_the_next_step(captured, make, sentence):
    thing = make()
    with pytest.raises(SelectionError, match=sentence):
        captured(thing)


def test_an_empty_selection_asks_for_one(captured):
    with pytest.raises(SelectionError, match=r"Nothing is selected\. Select the mesh"):
        captured()


def test_a_wire_selected_along_with_a_body_is_named(captured):
    with pytest.raises(SelectionError, match="'Wire' has no faces"):
        captured(box("Body"), _edge_only())


def test_cameras_and_lights_selected_along_with_a_body_are_passed_over(captured):
    lamp = add_object("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    result, _ = captured(lamp, box("Body"))
    assert [source.name for source in result.sources] == ["Body"]


def test_more_vertices_than_a_result_can_carry_are_refused(captured, monkeypatch):
    monkeypatch.setattr(geometry, "MAX_VERTICES", 10)
    with pytest.raises(SelectionError, match=r"more than 10 vertices \('Second' exceeds it\). Select fewer"):
        captured(box("First"), box("Second"))


def test_shape_keys_deform_geometry_made_into_an_instance_once(captured):
    thing = box()
    thing.shape_key_add(name="Basis")
    key = thing.shape_key_add(name="Tall")
    for point in key.data:
        point.co.z *= 3.0
    key.value = 1.0
    tree = bpy.data.node_groups.new("Wrap", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    wrap = tree.nodes.new("GeometryNodeGeometryToInstance")
    tree.links.new(tree.nodes.new("NodeGroupInput").outputs[0], wrap.inputs[0])
    tree.links.new(wrap.outputs[0], tree.nodes.new("NodeGroupOutput").inputs[0])
    thing.modifiers.new("Wrap", "NODES").node_group = tree
    result, file = captured(thing)
    assert result.sources[0].is_instance
    np.testing.assert_allclose(np.ptp(world_positions(result, file), axis=0), (1, 1, 3), atol=1e-5)
    assert len(bpy.data.shape_keys) == 1


def test_a_missing_folder_is_noticed_before_anything_is_rendered(empty_scene, tmp_path):
    with pytest.raises(FileError, match="There is no folder"):
        CaptureSession(bpy.context, [box()], tmp_path / "missing" / "capture.safetensors", QUICK)


def test_a_rig_imported_from_gltf_is_captured_without_the_shapes_of_its_bones(captured, examples):
    bpy.ops.import_scene.gltf(filepath=str(examples / "shark.glb"))
    result, file = captured(*bpy.context.scene.objects)
    assert {source.name for source in result.sources}.isdisjoint({"Icosphere"})
    assert len(file.vertices) > 1000


def test_a_vertex_group_says_what_may_move(empty_scene, tmp_path):
    first, second = box(), box()
    first.name, second.name = "Pinned", "Free"
    group = first.vertex_groups.new(name="Moves")
    group.add([0, 1], 0.25, "REPLACE")
    group.add([2], 1.0, "REPLACE")
    first.modifiers.new("Subdivision", "SUBSURF")
    options = CaptureOptions(views=1, size=16, samples=1, movable="Moves")
    result = capture(bpy.context, [first, second], tmp_path / "a.safetensors", options)
    weights = load_capture(result.path).movable
    start, count = result.sources[0].vertex_start, result.sources[0].vertex_count
    pinned = weights[start : start + count]
    assert count > 8 and pinned.min() == 0 and 0.25 < pinned.max() <= 1
    free = np.delete(weights, np.arange(start, start + count))
    assert (free == 1).all()


def test_a_vertex_group_that_nothing_has_is_refused(empty_scene, tmp_path):
    options = CaptureOptions(views=1, size=16, samples=1, movable="Moves")
    with pytest.raises(SelectionError, match="None of the objects has a vertex group called 'Moves'"):
        capture(bpy.context, [box()], tmp_path / "a.safetensors", options)
