"""The source objects themselves move as the file says, whatever modifiers, keys and parents they have."""

import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from fabricated_animation import evaluated_world_vertices, fabricate

from gvf_blender.core.sources import SourceObject
from gvf_blender.importer import ImportOptions, animation_import, import_animation, motion, remove_motion
from gvf_blender.importer.compat import fcurves_of

TOLERANCE = 1e-5
MOTION = ImportOptions(splats=False, points=False, frame_start=1)


def frame_set(frame: float) -> None:
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))


def new_cube(name: str = "Crate") -> bpy.types.Object:
    bpy.ops.mesh.primitive_cube_add(size=1)
    bpy.context.object.name = name
    return bpy.context.object


def plain() -> list[bpy.types.Object]:
    return [new_cube()]


def transformed() -> list[bpy.types.Object]:
    cube = new_cube()
    cube.location, cube.rotation_euler, cube.scale = (1, -2, 0.5), (0.4, 1.0, -0.7), (0.5, 1.5, 0.8)
    return [cube]


def parented() -> list[bpy.types.Object]:
    (cube,) = transformed()
    bpy.ops.object.empty_add(location=(0.3, 0.2, -1), rotation=(0.2, -0.9, 0.1))
    bpy.context.object.scale = (1.2, 0.7, 1)
    cube.parent = bpy.context.object
    return [cube]


def subdivided() -> list[bpy.types.Object]:
    (cube,) = transformed()
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 2
    cube.modifiers["Subdivision"].render_levels = 2
    return [cube]


def with_armature() -> list[bpy.types.Object]:
    cube = new_cube()
    bpy.ops.object.armature_add(location=(0, 0, -0.5))
    armature = bpy.context.object
    cube.vertex_groups.new(name="Bone").add(range(8), 1.0, "REPLACE")
    cube.modifiers.new("Armature", "ARMATURE").object = armature
    armature.pose.bones["Bone"].rotation_mode = "XYZ"
    for frame, angle in ((1, 0.3), (30, 1.5)):
        armature.pose.bones["Bone"].rotation_euler.x = angle
        armature.pose.bones["Bone"].keyframe_insert("rotation_euler", frame=frame)
    frame_set(1)
    return [cube]


def with_shape_keys() -> list[bpy.types.Object]:
    cube = new_cube()
    cube.shape_key_add(name="Basis")
    cube.shape_key_add(name="Smile").points[0].co = (-2, 0, 0)
    cube.data.shape_keys.key_blocks["Smile"].value = 0.5
    return [cube]


def sharing_a_mesh() -> list[bpy.types.Object]:
    cube = new_cube()
    other = bpy.data.objects.new("Twin", cube.data)
    other.location = (3, 0, 0)
    bpy.context.collection.objects.link(other)
    return [cube, other]


def n_gons() -> list[bpy.types.Object]:
    bpy.ops.mesh.primitive_cylinder_add(vertices=9, end_fill_type="NGON")
    bpy.context.object.name = "Crate"
    return [bpy.context.object]


def mirrored() -> list[bpy.types.Object]:
    (cube,) = transformed()
    cube.scale.x = -1.5
    return [cube]


def hanging_on_a_vertex() -> list[bpy.types.Object]:
    cube = new_cube()
    bpy.ops.mesh.primitive_plane_add(location=(1, 2, 0), rotation=(0.3, 0.5, 0))
    cube.parent, cube.parent_type, cube.parent_vertices = bpy.context.object, "VERTEX_3", (0, 1, 2)
    return [cube]


def in_a_lattice() -> list[bpy.types.Object]:
    cube = new_cube()
    bpy.ops.object.add(type="LATTICE")
    lattice = bpy.context.object
    lattice.data.points[0].co_deform = (-1, -1, -1)
    cube.parent, cube.parent_type = lattice, "LATTICE"
    return [cube]


def constrained() -> list[bpy.types.Object]:
    cube = new_cube()
    bpy.ops.object.empty_add(location=(2, 0, 1), rotation=(0, 0, 1))
    constraint = cube.constraints.new("CHILD_OF")
    constraint.target = bpy.context.object
    return [cube]


def with_driven_shape_keys() -> list[bpy.types.Object]:
    (cube,) = with_shape_keys()
    driver = cube.data.shape_keys.key_blocks["Smile"].driver_add("value").driver
    driver.expression = "0.25"
    return [cube]


def with_more_vertices_from_nodes() -> list[bpy.types.Object]:
    cube = new_cube()
    tree = bpy.data.node_groups.new("Subdivide", "GeometryNodeTree")
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    first, last = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    divide = tree.nodes.new("GeometryNodeSubdivideMesh")
    tree.links.new(first.outputs[0], divide.inputs["Mesh"])
    tree.links.new(divide.outputs[0], last.inputs[0])
    cube.modifiers.new("Nodes", "NODES").node_group = tree
    return [cube]


def several() -> list[bpy.types.Object]:
    (cube,) = transformed()
    bpy.ops.mesh.primitive_uv_sphere_add(segments=8, ring_count=6, location=(2, 1, 0))
    bpy.context.object.modifiers.new("Mirror", "MIRROR")
    return [cube, bpy.context.object]


SHAPE_KEYS, MODIFIER = "shape keys", "modifier"
CASES = [
    (plain, SHAPE_KEYS),
    (transformed, SHAPE_KEYS),
    (parented, SHAPE_KEYS),
    (subdivided, MODIFIER),
    (with_armature, MODIFIER),
    (with_shape_keys, MODIFIER),
    (sharing_a_mesh, MODIFIER),
    (n_gons, SHAPE_KEYS),
    (mirrored, SHAPE_KEYS),
    (hanging_on_a_vertex, SHAPE_KEYS),
    (in_a_lattice, MODIFIER),
    (constrained, SHAPE_KEYS),
    (with_driven_shape_keys, MODIFIER),
    (with_more_vertices_from_nodes, MODIFIER),
]


def means_of_motion(mesh_object: bpy.types.Object) -> str:
    return MODIFIER if any(found.name == "GVF Motion" for found in mesh_object.modifiers) else SHAPE_KEYS


def base_positions(mesh_object: bpy.types.Object) -> np.ndarray:
    positions = np.empty(len(mesh_object.data.vertices) * 3, np.float32)
    mesh_object.data.vertices.foreach_get("co", positions)
    return positions


def state(mesh_object: bpy.types.Object) -> tuple:
    """Everything about an object that an import may touch."""
    keys = mesh_object.data.shape_keys
    return (
        [found.name for found in mesh_object.modifiers],
        [block.name for block in keys.key_blocks] if keys else None,
        keys.use_relative if keys else None,
        mesh_object.active_shape_key_index,
        mesh_object.animation_data is None,
        dict(mesh_object.items()),
        dict(mesh_object.data.items()),
        base_positions(mesh_object).tobytes(),
    )


def counts() -> dict[str, int]:
    kinds = ("actions", "collections", "materials", "meshes", "node_groups", "objects", "pointclouds", "shape_keys")
    return {kind: len(getattr(bpy.data, kind)) for kind in kinds}


@pytest.mark.parametrize("scene_frame", [1, 7, 7.5, 24])
@pytest.mark.parametrize("build, means", CASES)
def test_every_vertex_lies_where_the_file_says(empty_scene, tmp_path, build, means, scene_frame):
    objects = build()
    base = [base_positions(found) for found in objects]
    animation = fabricate(tmp_path, *objects)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert imported.motion == tuple(objects)
    assert imported.warnings == ()
    frame_set(scene_frame)
    for index, found in enumerate(objects):
        assert means_of_motion(found) == means
        expected = animation.world_vertices(index, scene_frame - 1)
        np.testing.assert_allclose(evaluated_world_vertices(found.name), expected, atol=TOLERANCE)
        np.testing.assert_array_equal(base_positions(found), base[index])


def test_each_of_several_objects_takes_its_own_part(empty_scene, tmp_path):
    objects = several()
    animation = fabricate(tmp_path, *objects)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert [means_of_motion(found) for found in objects] == [SHAPE_KEYS, MODIFIER]
    frame_set(12.5)
    for index, found in enumerate(objects):
        expected = animation.world_vertices(index, 11.5)
        np.testing.assert_allclose(evaluated_world_vertices(found.name), expected, atol=TOLERANCE)


def test_long_motions_stay_exact(empty_scene, tmp_path):
    animation = fabricate(tmp_path, *plain(), frames=240)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    for scene_frame in (121, 200.5, 240):
        frame_set(scene_frame)
        expected = animation.world_vertices(0, scene_frame - 1)
        np.testing.assert_allclose(evaluated_world_vertices("Crate"), expected, atol=2e-5)


def test_the_motion_moves_along_with_an_object_moved_since_the_capture(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    cube.location = (5, 6, 7)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    frame_set(7)
    expected = animation.world_vertices(0, 6) + np.array([5, 6, 7])
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), expected, atol=TOLERANCE)


def test_keys_are_linear_and_retime_the_motion(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube, fps=12)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    (curve,) = fcurves_of(cube.data.shape_keys)
    assert [key.co.x for key in curve.keyframe_points] == [1, 47]
    assert {key.interpolation for key in curve.keyframe_points} == {"LINEAR"}
    curve.keyframe_points[1].co.x = 24
    curve.update()
    frame_set(12.5)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 11.5), atol=TOLERANCE)


def test_the_keys_of_a_modifier_retime_the_motion_without_touching_the_objects_own_action(empty_scene, tmp_path):
    (cube,) = subdivided()
    cube.keyframe_insert("location", frame=1)
    own_curves = len(fcurves_of(cube))
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert len(fcurves_of(cube)) == own_curves
    (curve,) = fcurves_of(cube.modifiers["GVF Motion"].node_group)
    curve.keyframe_points[1].co.x = 47
    curve.update()
    frame_set(14)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6.5), atol=TOLERANCE)


@pytest.mark.parametrize("build", [case[0] for case in CASES])
def test_removing_the_motion_restores_the_object(empty_scene, tmp_path, build):
    objects = build()
    animation = fabricate(tmp_path, *objects)
    before, count_before = [state(found) for found in objects], counts()
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert [remove_motion(found) for found in objects] == [True] * len(objects)
    assert [state(found) for found in objects] == before
    assert counts() == count_before
    assert not remove_motion(objects[0])


@pytest.mark.parametrize("build, means", [(plain, SHAPE_KEYS), (subdivided, MODIFIER), (with_shape_keys, MODIFIER)])
def test_a_second_motion_replaces_the_first(empty_scene, tmp_path, build, means):
    (cube,) = build()
    before = state(cube)
    first = fabricate(tmp_path, cube)
    import_animation(bpy.context, first.path, first.sources, MOTION)
    once = counts()
    frame_set(9)
    second = fabricate(tmp_path, cube, frames=12)
    import_animation(bpy.context, second.path, second.sources, MOTION)
    assert counts() == once
    frame_set(6.5)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), second.world_vertices(0, 5.5), atol=TOLERANCE)
    assert means_of_motion(cube) == means
    assert remove_motion(cube)
    assert state(cube) == before


def test_a_motion_switches_from_shape_keys_to_a_modifier_once_the_object_has_modifiers(empty_scene, tmp_path):
    (cube,) = plain()
    first = fabricate(tmp_path, cube)
    import_animation(bpy.context, first.path, first.sources, MOTION)
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    second = fabricate(tmp_path, cube)
    import_animation(bpy.context, second.path, second.sources, MOTION)
    assert cube.data.shape_keys is None
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), second.world_vertices(0, 6), atol=TOLERANCE)


def test_shape_keys_that_the_artist_added_to_a_motion_are_not_removed(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    cube.shape_key_add(name="Correction")
    assert not remove_motion(cube)
    assert "Correction" in cube.data.shape_keys.key_blocks


def test_a_changed_source_is_left_out_with_a_warning_and_the_others_move(empty_scene, tmp_path):
    cube, sphere = several()
    animation = fabricate(tmp_path, cube, sphere)
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 1
    before = state(cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert imported.motion == (sphere,)
    assert imported.warnings == (
        "Crate now has 26 vertices, but 8 were captured, so its own motion was left out: capture it again.",
    )
    assert state(cube) == before
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices(sphere.name), animation.world_vertices(1, 6), atol=TOLERANCE)


def test_a_deleted_source_is_left_out_with_a_warning_and_the_others_move(empty_scene, tmp_path):
    cube, sphere = several()
    animation = fabricate(tmp_path, cube, sphere)
    bpy.data.objects.remove(cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert imported.motion == (sphere,)
    assert imported.warnings == ("Crate is no longer in the scene, so its own motion was left out.",)


def test_instances_do_not_move_on_their_own(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    (source,) = animation.sources
    instance = SourceObject(source.name, source.matrix_world, 0, source.vertex_count, is_instance=True)
    before = state(cube)
    imported = import_animation(bpy.context, animation.path, [instance], MOTION)
    assert imported.motion == ()
    assert state(cube) == before
    assert any("Crate was captured as an instance" in warning for warning in imported.warnings)


def key_location(thing: bpy.types.Object) -> None:
    thing.keyframe_insert("location", frame=1)
    thing.location.x += 1
    thing.keyframe_insert("location", frame=9)


def own_keys(cube: bpy.types.Object) -> None:
    key_location(cube)


def keys_of_a_parent(cube: bpy.types.Object) -> None:
    bpy.ops.object.empty_add()
    cube.parent = bpy.context.object
    key_location(cube.parent)


def strips(cube: bpy.types.Object) -> None:
    key_location(cube)
    action = cube.animation_data.action
    cube.animation_data.action = None
    cube.animation_data.nla_tracks.new().strips.new("Walk", 1, action)


def muted_strips(cube: bpy.types.Object) -> None:
    strips(cube)
    cube.animation_data.nla_tracks[0].mute = True


def drivers(cube: bpy.types.Object) -> None:
    cube.driver_add("rotation_euler", 2).driver.expression = "frame / 10"


def keys_of_a_bone(cube: bpy.types.Object) -> None:
    bpy.ops.object.armature_add()
    cube.parent, cube.parent_type, cube.parent_bone = bpy.context.object, "BONE", "Bone"
    cube.parent.pose.bones["Bone"].keyframe_insert("location", frame=1)


def keys_of_another_property(cube: bpy.types.Object) -> None:
    cube.keyframe_insert("hide_render", frame=1)


@pytest.mark.parametrize(
    ("animate", "warned"),
    [
        (own_keys, True),
        (keys_of_a_parent, True),
        (strips, True),
        (drivers, True),
        (keys_of_a_bone, True),
        (muted_strips, False),
        (keys_of_another_property, False),
    ],
)
def test_an_object_that_moves_as_a_whole_already_is_warned_about(empty_scene, tmp_path, animate, warned):
    (cube,) = plain()
    animate(cube)
    frame_set(1)
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert imported.motion == (cube,)
    assert any("Crate is moved as a whole by an animation" in warning for warning in imported.warnings) == warned


def test_the_objects_own_action_gets_no_keys_and_keeps_its_name(empty_scene, tmp_path):
    (cube,) = plain()
    keys_of_another_property(cube)
    action = cube.animation_data.action
    name, users = action.name, action.users
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert (action.name, action.users) == (name, users)
    assert [curve.data_path for curve in fcurves_of(cube)] == ["hide_render"]
    assert cube.data.shape_keys.animation_data.action != action
    remove_motion(cube)
    assert cube.animation_data.action == action


def test_an_armature_that_deforms_the_mesh_is_no_movement_as_a_whole(empty_scene, tmp_path):
    animation = fabricate(tmp_path, *with_armature())
    assert import_animation(bpy.context, animation.path, animation.sources, MOTION).warnings == ()


def test_a_curve_is_to_be_converted_before_it_can_move(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    bpy.data.objects.remove(cube)
    bpy.ops.curve.primitive_bezier_circle_add()
    bpy.context.object.name = "Crate"
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert imported.warnings == (
        "Crate is not a mesh object, so its own motion was left out: convert it to a mesh for that.",
    )


def test_a_modifier_that_renders_at_another_level_is_warned_about(empty_scene, tmp_path):
    (cube,) = subdivided()
    cube.modifiers["Subdivision"].render_levels = 3
    animation = fabricate(tmp_path, cube)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert any("Subdivision of Crate differs between viewport and render" in warning for warning in imported.warnings)


def test_a_geometry_that_got_other_vertices_after_the_import_stays_in_shape(empty_scene, tmp_path):
    (cube,) = subdivided()
    animation = fabricate(tmp_path, cube)
    rest = len(evaluated_world_vertices("Crate"))
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    cube.modifiers["Subdivision"].levels = 1
    frame_set(12)
    vertices = evaluated_world_vertices("Crate")
    assert len(vertices) < rest
    cube.modifiers.remove(cube.modifiers["GVF Motion"])
    np.testing.assert_array_equal(vertices, evaluated_world_vertices("Crate"))


def test_an_object_in_edit_mode_gets_its_motion_by_a_modifier(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    bpy.ops.object.mode_set(mode="EDIT")
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    bpy.ops.object.mode_set(mode="OBJECT")
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)


def test_an_object_that_showed_one_shape_key_alone_moves_and_does_so_again_afterwards(empty_scene, tmp_path):
    (cube,) = plain()
    cube.show_only_shape_key = True
    animation = fabricate(tmp_path, cube)
    for _ in range(2):
        import_animation(bpy.context, animation.path, animation.sources, MOTION)
        frame_set(7)
        np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)
    remove_motion(cube)
    assert cube.show_only_shape_key


def test_the_motion_comes_after_modifiers_that_are_pinned(empty_scene, tmp_path):
    (cube,) = subdivided()
    cube.modifiers["Subdivision"].use_pin_to_last = True
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)


def test_modifiers_that_are_added_later_come_after_the_motion(empty_scene, tmp_path):
    (cube,) = subdivided()
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    cube.modifiers.new("Later", "BEVEL")
    assert [modifier.name for modifier in cube.modifiers] == ["Subdivision", "GVF Motion", "Later"]


def test_an_object_that_is_sculpted_with_dyntopo_is_left_alone(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    bpy.ops.object.mode_set(mode="SCULPT")
    bpy.ops.sculpt.dynamic_topology_toggle()
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert any("Crate is sculpted with Dyntopo" in warning for warning in imported.warnings)
    bpy.ops.object.mode_set(mode="OBJECT")
    assert cube.data.shape_keys is None


@pytest.mark.parametrize("already_moving", [False, True])
@pytest.mark.parametrize("fails_in", ["add_motion", "add_shape_key_motion", "add_modifier_motion"])
def test_a_failure_midway_leaves_the_file_as_it_was(empty_scene, tmp_path, monkeypatch, already_moving, fails_in):
    objects = several()
    animation = fabricate(tmp_path, *objects)
    everything = ImportOptions(frame_start=1)
    if already_moving:
        import_animation(bpy.context, animation.path, animation.sources, everything)
    before, count_before = [state(found) for found in objects], counts()
    module = animation_import if fails_in == "add_motion" else motion
    original = getattr(module, fails_in)

    def fail_at_the_end(*arguments):
        original(*arguments)
        raise MemoryError("out of memory")

    monkeypatch.setattr(module, fails_in, fail_at_the_end)
    with pytest.raises(MemoryError):
        import_animation(bpy.context, animation.path, animation.sources, everything)
    assert counts() == count_before
    assert [state(found) for found in objects] == before
    if already_moving:
        frame_set(12.5)
        for index, found in enumerate(objects):
            expected = animation.world_vertices(index, 11.5)
            np.testing.assert_allclose(evaluated_world_vertices(found.name), expected, atol=TOLERANCE)


REOPEN = """
import sys
import bpy, numpy as np

blend, output, tests = sys.argv[1:]
sys.path.append(tests)
from shown_splats import splat_matrices
bpy.ops.wm.open_mainfile(filepath=blend)
assert "gvf_blender" not in sys.modules
positions = {}
for frame in (1, 12.5, 24):
    bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
    depsgraph = bpy.context.evaluated_depsgraph_get()
    for name in ("Crate", "Sphere", "Crate points"):
        evaluated = bpy.data.objects[name].evaluated_get(depsgraph)
        attribute = evaluated.data.attributes["position"]
        local = np.empty((len(attribute.data), 3), np.float32)
        attribute.data.foreach_get("vector", local.ravel())
        matrix = np.array(evaluated.matrix_world)
        positions[f"{name} {frame}"] = local @ matrix[:3, :3].T + matrix[:3, 3]
    positions[f"Crate splats {frame}"] = splat_matrices(bpy.data.objects["Crate splats"])[:, :3, 3]
np.savez(output, **positions)
"""


def test_a_saved_file_plays_in_a_new_process_without_the_extension(empty_scene, tmp_path):
    objects = several()
    animation = fabricate(tmp_path, *objects)
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    blend, output, script = tmp_path / "saved.blend", tmp_path / "positions.npz", tmp_path / "reopen.py"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    script.write_text(REOPEN)
    command = [sys.executable, str(script), str(blend), str(output), str(Path(__file__).parent)]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    positions = np.load(output)
    for frame in (1, 12.5, 24):
        for index, name in enumerate(("Crate", "Sphere")):
            expected = animation.world_vertices(index, frame - 1)
            np.testing.assert_allclose(positions[f"{name} {frame}"], expected, atol=TOLERANCE)
        for name in ("Crate splats", "Crate points"):
            np.testing.assert_allclose(positions[f"{name} {frame}"], animation.world_means(frame - 1), atol=TOLERANCE)


def test_undo_takes_the_motion_back_and_redo_brings_it_again(empty_scene, tmp_path):
    (cube,) = plain()
    animation = fabricate(tmp_path, cube)
    bpy.ops.ed.undo_push(message="Before")
    import_animation(bpy.context, animation.path, animation.sources, ImportOptions(frame_start=1))
    bpy.ops.ed.undo_push(message="Import")
    bpy.ops.ed.undo()
    assert bpy.data.objects["Crate"].data.shape_keys is None
    assert len(bpy.data.objects) == 1 and not bpy.data.pointclouds
    bpy.ops.ed.redo()
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)


@pytest.mark.parametrize("build", [plain, subdivided])
def test_removing_the_motion_of_a_duplicate_leaves_the_original_moving(empty_scene, tmp_path, build):
    (cube,) = build()
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    bpy.ops.object.select_all(action="DESELECT")
    cube.select_set(True)
    bpy.context.view_layer.objects.active = cube
    bpy.ops.object.duplicate()
    assert remove_motion(bpy.context.object)
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)


@pytest.mark.parametrize("build", [plain, subdivided])
@pytest.mark.parametrize("link", [True, False])
def test_a_moving_object_plays_in_another_file(empty_scene, tmp_path, build, link):
    (cube,) = build()
    animation = fabricate(tmp_path, cube)
    import_animation(bpy.context, animation.path, animation.sources, MOTION)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=link) as (_, wanted):
        wanted.objects = ["Crate"]
    bpy.context.scene.collection.objects.link(wanted.objects[0])
    frame_set(7)
    np.testing.assert_allclose(evaluated_world_vertices("Crate"), animation.world_vertices(0, 6), atol=TOLERANCE)


def test_instances_move_once_the_artist_has_made_them_real(empty_scene, tmp_path):
    cube = new_cube()
    group = bpy.data.collections.new("Group")
    group.objects.link(cube)
    bpy.context.scene.collection.objects.unlink(cube)
    for x in (0, 3):
        bpy.ops.object.collection_instance_add(collection="Group", location=(x, 0, 0))
    bpy.ops.object.select_all(action="SELECT")
    bpy.ops.object.duplicates_make_real()
    real = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
    assert len(real) == 2
    animation = fabricate(tmp_path, *real)
    imported = import_animation(bpy.context, animation.path, animation.sources, MOTION)
    assert set(imported.motion) == set(real)
    frame_set(7)
    for index, thing in enumerate(real):
        found = evaluated_world_vertices(thing.name)
        np.testing.assert_allclose(found, animation.world_vertices(index, 6), atol=TOLERANCE)
