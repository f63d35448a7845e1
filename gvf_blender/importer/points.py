"""The point-cloud object: a native point cloud with radius and color, moved by a Geometry Nodes tree."""

import bpy

from .compat import new_point_cloud
from .gaussians import (
    AMOUNT_INPUT,
    FRAME_INPUT,
    OVERLAY_INPUT,
    SIZE_INPUT,
    GaussianFields,
    GaussianTracks,
    add_inputs,
    stored_radius,
    thinned_out,
    without_frames,
)
from .keyframes import FrameMapping, key_modifier_input
from .materials import new_solid_material
from .nodes import TreeWriter, arrange, new_geometry_tree


def new_point_cloud_object(
    context: bpy.types.Context, name: str, tracks: GaussianTracks, mapping: FrameMapping
) -> bpy.types.Object:
    """Create the object, in no collection yet, with its Frame input keyed.

    Args:
        context: Where a scene to evaluate comes from.
        name: Name of the object; its data, tree, material and action are named after it.
        tracks: What it shows.
        mapping: When it plays.
    """
    cloud = new_point_cloud(context, name, tracks.position.values[0])
    tracks.store(cloud)
    material = new_solid_material(name, instances=False)
    cloud.materials.append(material)
    point_object = bpy.data.objects.new(name, cloud)
    # The colors are captured, not emitted: they must not light their surroundings.
    point_object.visible_diffuse = False
    modifier = point_object.modifiers.new("GVF Points", "NODES")
    modifier.node_group = _new_tree(name, tracks, material)
    key_modifier_input(point_object, modifier, FRAME_INPUT, mapping)
    return point_object


def _new_tree(name: str, tracks: GaussianTracks, material: bpy.types.Material) -> bpy.types.NodeTree:
    tree = new_geometry_tree(name)
    add_inputs(tree, tracks)
    writer = TreeWriter(tree)
    inputs = writer.node("NodeGroupInput").outputs
    gaussians = GaussianFields.at_frame(writer, tracks, inputs)
    points = gaussians.store_for_display(writer, inputs["Geometry"], inputs[OVERLAY_INPUT])
    points = writer.output("GeometryNodeSetPosition", {"Geometry": points, "Position": gaussians.position})
    radius = stored_radius(writer, inputs[SIZE_INPUT])
    points = writer.output("GeometryNodeSetPointRadius", {"Points": points, "Radius": radius})
    points = thinned_out(writer, points, without_frames(writer, tracks, points), inputs[AMOUNT_INPUT])
    points = writer.output("GeometryNodeSetMaterial", {"Geometry": points, "Material": material})
    writer.node("NodeGroupOutput", {"Geometry": points})
    arrange(tree)
    return tree
