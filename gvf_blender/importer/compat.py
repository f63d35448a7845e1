"""The differences between the Blenders that the importer meets, guarded by capability."""

from collections.abc import Iterator

import bpy
import numpy as np

from .nodes import TreeWriter


def fcurves_of(datablock: bpy.types.ID) -> list[bpy.types.FCurve]:
    """The F-curves that animate a datablock.

    From Blender 4.4 on an action has layers, strips and one channel bag per slot; 5.0 dropped `Action.fcurves`,
    which shows those of the first slot only, maybe another datablock's.
    """
    animation = datablock.animation_data
    if animation is None or animation.action is None:
        return []
    return action_fcurves(animation.action, getattr(animation, "action_slot", None))


def action_fcurves(action: bpy.types.Action, slot: "bpy.types.ActionSlot | None") -> list[bpy.types.FCurve]:
    """The F-curves of one slot of an action; before Blender 4.4 those of the whole action."""
    return [curve for bag in curve_bags(action, slot) for curve in bag.fcurves]


def bags_of(datablock: bpy.types.ID, muted: bool = True) -> Iterator["bpy.types.Action | bpy.types.ActionChannelbag"]:
    """What holds the F-curves that animate a datablock: its action, and those of its NLA strips.

    Args:
        datablock: What is animated.
        muted: Also those of muted tracks and strips.
    """
    animation = datablock.animation_data
    if animation is None:
        return
    tracks = (track for track in animation.nla_tracks if muted or not track.mute)
    strips = (strip for track in tracks for strip in track.strips if muted or not strip.mute)
    for user in (animation, *strips):
        if user.action is not None:
            yield from curve_bags(user.action, getattr(user, "action_slot", None))


def curve_bags(
    action: bpy.types.Action, slot: "bpy.types.ActionSlot | None"
) -> list["bpy.types.Action | bpy.types.ActionChannelbag"]:
    """What holds the F-curves of one slot of an action; before Blender 4.4 the action itself."""
    if not hasattr(action, "slots"):
        return [action]
    if slot is None:
        return []
    bags = (strip.channelbag(slot) for layer in action.layers for strip in layer.strips)
    return [bag for bag in bags if bag is not None]


def assign_action(datablock: bpy.types.ID, action: bpy.types.Action) -> None:
    """Let an action animate a datablock; from Blender 4.4 on this includes its slot."""
    animation = datablock.animation_data_create()
    animation.action = action
    if hasattr(animation, "action_slot") and animation.action_slot is None and len(action.slots):
        animation.action_slot = action.slots[0]


def clear_node_tree(material: bpy.types.Material) -> bpy.types.NodeTree:
    """The material's node tree without nodes.

    From Blender 5.0 on every material has one, and `use_nodes` is deprecated.
    """
    if material.node_tree is None:
        material.use_nodes = True
    material.node_tree.nodes.clear()
    return material.node_tree


def remove_attributes(writer: TreeWriter, geometry: bpy.types.NodeSocket, pattern: str) -> bpy.types.NodeSocket:
    """Nodes that remove the attributes whose names match a pattern with one asterisk."""
    node = writer.node("GeometryNodeRemoveAttribute", {"Geometry": geometry, "Name": pattern})
    if "Pattern Mode" in node.inputs:
        # A menu socket since Blender 5.0.
        node.inputs["Pattern Mode"].default_value = "Wildcard"
    else:
        node.pattern_mode = "WILDCARD"
    return node.outputs["Geometry"]


def new_point_cloud(context: bpy.types.Context, name: str, positions: np.ndarray) -> bpy.types.PointCloud:
    """A point cloud with points at the given positions, metres [N, 3].

    Where `PointCloud.resize` is missing (up to Blender 5.0.1 at least) Python cannot add points, so a
    throw-away Geometry Nodes tree makes them and the evaluated datablock is copied.
    """
    if hasattr(bpy.types.PointCloud, "resize"):
        cloud = bpy.data.pointclouds.new(name)
        cloud.resize(len(positions))
    else:
        cloud = _evaluated_point_cloud(context, name, positions)
    cloud.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(positions, np.float32).ravel())
    return cloud


def _evaluated_point_cloud(context: bpy.types.Context, name: str, positions: np.ndarray) -> bpy.types.PointCloud:
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(positions))
    source = bpy.data.objects.new(name, mesh)
    empty = bpy.data.pointclouds.new(name)
    target = bpy.data.objects.new(name, empty)
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    info = tree.nodes.new("GeometryNodeObjectInfo")
    info.inputs["Object"].default_value = source
    to_points = tree.nodes.new("GeometryNodeMeshToPoints")
    output = tree.nodes.new("NodeGroupOutput")
    tree.links.new(info.outputs["Geometry"], to_points.inputs["Mesh"])
    tree.links.new(to_points.outputs["Points"], output.inputs["Geometry"])
    # Only objects of the scene are evaluated, so the target is in it for a moment.
    context.scene.collection.objects.link(target)
    target.modifiers.new(name, "NODES").node_group = tree
    try:
        cloud = target.evaluated_get(context.evaluated_depsgraph_get()).data.copy()
    finally:
        bpy.data.batch_remove([target, source, empty, mesh, tree])
    cloud.name = name
    return cloud
