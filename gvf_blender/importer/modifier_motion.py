"""Motion of a mesh by a Geometry Nodes modifier, for objects whose captured vertices are not the mesh's own.

The modifier stands at the end of the stack and sets the position of every vertex that arrives there from a
data object with the same number of vertices, which is in no collection and lives by the tree's reference.
"""

import json
from typing import Any

import bpy
import numpy as np

from ..datablocks import user_count
from .keyframes import FrameMapping, key_playback
from .nodes import TreeWriter, arrange, new_geometry_tree
from .playback import FramePicker, Track, new_point_mesh, store_track

MODIFIER_NAME = "GVF Motion"
MARKER = "gvf_motion"
_FRAME_NODE = "Frame"
FRAME_PATH = f'nodes["{_FRAME_NODE}"].outputs[0].default_value'
"""Data path of the keyed frame, from the tree."""
_DATA_NODE = "Motion data"
_TRACK = "position"


def add_modifier_motion(
    mesh_object: bpy.types.Object, positions: np.ndarray, mapping: FrameMapping, provenance: dict[str, Any]
) -> bpy.types.NodesModifier:
    """Add the modifier with its tree and data.

    The Frame is a keyed node of the tree, not an input of the modifier: keying the modifier would write
    into whatever action the artist's object has.

    Args:
        mesh_object: Any mesh object.
        positions: Object-local positions of its evaluated vertices [T, V, 3].
        mapping: When it plays.
        provenance: Stored with the tree.
    """
    name = f"{mesh_object.name} motion"
    track = Track(_TRACK, "FLOAT_VECTOR", positions)
    data = new_point_mesh(name, positions[0])
    store_track(data, track)
    tree = _new_tree(name, bpy.data.objects.new(name, data), track)
    tree[MARKER] = json.dumps({"provenance": provenance})
    key_playback(tree, FRAME_PATH, mapping, 0.0, mapping.count - 1, action_name=name)
    modifier = mesh_object.modifiers.new(MODIFIER_NAME, "NODES")
    modifier.node_group = tree
    stack = mesh_object.modifiers
    if stack[-1] != modifier:
        # Pinned ones stay behind what is added, but for what is pinned, too.
        modifier.use_pin_to_last = True
        stack.move(stack.find(modifier.name), len(stack) - 1)
    return modifier


def find_modifier_motion(mesh_object: bpy.types.Object) -> list[bpy.types.NodesModifier]:
    """The object's modifiers that are a motion of ours."""
    return [
        found
        for found in mesh_object.modifiers
        if found.type == "NODES" and found.node_group is not None and MARKER in found.node_group
    ]


def motion_attributes(tree: bpy.types.NodeTree) -> list[bpy.types.Attribute]:
    """The stored positions of a motion's tree, one attribute per frame; none if its data is gone."""
    data_object = _data_object(tree)
    if data_object is None:
        return []
    found = data_object.data.attributes
    names = (f"{_TRACK}_{frame}" for frame in range(len(found)))
    return [found[name] for name in names if name in found]


def make_positions_own(tree: bpy.types.NodeTree) -> bool:
    """Copy the stored positions if another tree plays them, too, as a copied tree does; whether they were."""
    shared = _data_object(tree)
    if shared is None or user_count(shared) == 1:
        return False
    own = shared.copy()
    own.data = shared.data.copy()
    tree.nodes[_DATA_NODE].inputs["Object"].default_value = own
    return True


def remove_modifier_motion(mesh_object: bpy.types.Object, modifier: bpy.types.NodesModifier) -> None:
    """Remove the modifier, and its tree and data unless another object uses them."""
    tree = modifier.node_group
    mesh_object.modifiers.remove(modifier)
    if tree.users > 0:
        return
    leftovers = [tree]
    data_object = _data_object(tree)
    if data_object is not None and data_object.users == 1:
        leftovers += [data_object, data_object.data]
    if (
        tree.animation_data is not None
        and tree.animation_data.action is not None
        and tree.animation_data.action.users == 1
    ):
        leftovers.append(tree.animation_data.action)
    bpy.data.batch_remove(leftovers)


def _data_object(tree: bpy.types.NodeTree) -> bpy.types.Object | None:
    """None if the artist took it or its node away."""
    node = tree.nodes.get(_DATA_NODE)
    return None if node is None else node.inputs["Object"].default_value


def _new_tree(name: str, data_object: bpy.types.Object, track: Track) -> bpy.types.NodeTree:
    tree = new_geometry_tree(name)
    writer = TreeWriter(tree)
    geometry = writer.node("NodeGroupInput").outputs["Geometry"]
    frame = writer.node("ShaderNodeValue", label=_FRAME_NODE)
    frame.name = _FRAME_NODE
    info = writer.node("GeometryNodeObjectInfo", {"Object": data_object}, label=_DATA_NODE)
    info.name = _DATA_NODE
    data = info.outputs["Geometry"]
    position = FramePicker(writer, frame.outputs[0], track.frame_count).field(track, geometry=data)
    moved = writer.output("GeometryNodeSetPosition", {"Geometry": geometry, "Position": position})
    # A geometry with another number of vertices (a modifier was changed) stays as it is instead of bursting.
    counts = [
        writer.node("GeometryNodeAttributeDomainSize", {"Geometry": found}, component="MESH").outputs["Point Count"]
        for found in (geometry, data)
    ]
    fits = writer.output(
        "FunctionNodeCompare",
        {"A": counts[0], "B": counts[1]},
        data_type="INT",
        operation="EQUAL",
        label="Same vertices",
    )
    result = writer.output(
        "GeometryNodeSwitch", {"Switch": fits, "False": geometry, "True": moved}, input_type="GEOMETRY"
    )
    writer.node("NodeGroupOutput", {"Geometry": result})
    arrange(tree)
    return tree
