"""What is posed but not keyed outlives a look at other frames."""

import bpy
import pytest

from gvf_blender.animated_values import kept_animated_values


@pytest.fixture
def rig(empty_scene):
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    rig.pose.bones[0].name = 'Arm.L ["x"]'
    return rig


def posed(owner, path, first, last, now, index=-1):
    """Key a value at frames 1 and 5, then set another one; returns what reads it."""
    bpy.context.scene.frame_set(1)
    head, _, name = path.rpartition(".")
    holder = owner.path_resolve(head) if head else owner

    def put(value):
        if name.startswith("["):
            holder[name[2:-2]] = value
        elif index >= 0:
            getattr(holder, name)[index] = value
        else:
            setattr(holder, name, value)

    for frame, value in ((1, first), (5, last)):
        put(value)
        assert owner.keyframe_insert(path, index=index, frame=frame)
    bpy.context.scene.frame_set(1)
    put(now)

    def read():
        value = owner.path_resolve(path)
        return value[index] if index >= 0 else value

    return read


def test_values_of_every_kind_of_owner_are_kept(rig):
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    cube.shape_key_add(name="Basis")
    cube.shape_key_add(name="Smile")
    cube["Wind"] = 0.0
    material = bpy.data.materials.new("Paint")
    material.use_nodes = True
    cube.data.materials.append(material)
    bone = rig.pose.bones[0]
    bone.rotation_mode = "XYZ"
    readers = [
        posed(cube, "location", 1.0, 9.0, 4.5, index=0),
        posed(cube, '["Wind"]', 1.0, 9.0, 4.5),
        posed(cube.data.shape_keys, 'key_blocks["Smile"].value', 0.1, 0.9, 0.4),
        posed(rig, bone.path_from_id("rotation_euler"), 0.1, 0.9, 0.4, index=2),
        posed(material.node_tree, 'nodes["Principled BSDF"].inputs[1].default_value', 0.1, 0.9, 0.4),
    ]
    before = [read() for read in readers]
    with kept_animated_values():
        bpy.context.scene.frame_set(5)
        at_other_frame = [read() for read in readers]
    assert all(one != other for one, other in zip(before, at_other_frame, strict=True))
    assert [read() for read in readers] == before


def test_what_is_removed_meanwhile_is_no_error(rig):
    posed(rig, "location", 1.0, 9.0, 4.5, index=0)
    with kept_animated_values():
        bpy.data.objects.remove(rig)


def test_values_are_kept_when_the_look_fails(rig):
    read = posed(rig, "location", 1.0, 9.0, 4.5, index=0)
    with pytest.raises(ZeroDivisionError), kept_animated_values():
        bpy.context.scene.frame_set(5)
        raise ZeroDivisionError
    assert read() == 4.5
