"""The splat object: a mesh of loose vertices that a Geometry Nodes tree shows as Gaussian splats."""

import bpy

from .gaussians import (
    FRAME_INPUT,
    OVERLAY_INPUT,
    SOLID_SIGMAS,
    GaussianFields,
    GaussianTracks,
    add_overlay_input,
)
from .keyframes import FrameMapping, key_modifier_input
from .materials import CUTOFF_SIGMAS, new_solid_material, new_splat_material
from .nodes import TreeWriter, add_float_input, arrange, new_geometry_tree, socket
from .playback import new_point_mesh

DISPLAY_INPUT = "Display"
SIZE_INPUT = "Splat Size"
DISPLAY_SPLATS, DISPLAY_SOLID, DISPLAY_POINTS = "Splats", "Solid Ellipsoids", "Points"
# Circumscribed by inscribed radius of an icosahedron (1.2585), a little more: its faces then lie outside
# the sphere with the inscribed radius.
_ICOSAHEDRON_RATIO = 1.26


def new_splat_object(name: str, tracks: GaussianTracks, mapping: FrameMapping) -> bpy.types.Object:
    """Create the object, in no collection yet, with its Frame input keyed.

    Args:
        name: Name of the object; its data, tree, materials and action are named after it.
        tracks: What it shows.
        mapping: When it plays.
    """
    mesh = new_point_mesh(name, tracks.position.values[0])
    tracks.store(mesh)
    exact = new_splat_material(name)
    solid = new_solid_material(f"{name} solid", instances=True)
    points = new_solid_material(f"{name} as points", instances=False)
    for material in (exact, solid, points):
        mesh.materials.append(material)
    splat_object = bpy.data.objects.new(name, mesh)
    # The colors are captured, not emitted: they must not light their surroundings.
    splat_object.visible_diffuse = False
    modifier = splat_object.modifiers.new("GVF Splats", "NODES")
    modifier.node_group = _new_tree(name, tracks, exact, solid, points)
    key_modifier_input(splat_object, modifier, FRAME_INPUT, mapping)
    return splat_object


def _new_tree(
    name: str,
    tracks: GaussianTracks,
    exact: bpy.types.Material,
    solid: bpy.types.Material,
    points_material: bpy.types.Material,
) -> bpy.types.NodeTree:
    tree = new_geometry_tree(name)
    add_float_input(tree, FRAME_INPUT, 0.0, "Frame of the animation that is shown; frames in between are mixed")
    display = tree.interface.new_socket(
        DISPLAY_INPUT,
        description="Exact splats, a fast preview with opaque ellipsoids, or points",
        in_out="INPUT",
        socket_type="NodeSocketMenu",
    )
    add_float_input(tree, SIZE_INPUT, 1.0, "Size of every splat relative to the captured one")
    add_overlay_input(tree)
    writer = TreeWriter(tree)
    inputs = writer.node("NodeGroupInput").outputs
    gaussians = GaussianFields.at_frame(writer, tracks, inputs[FRAME_INPUT])
    points = writer.output(
        "GeometryNodeMeshToPoints",
        {
            "Mesh": inputs["Geometry"],
            "Position": gaussians.position,
            "Radius": gaussians.radius(writer, inputs[SIZE_INPUT]),
        },
    )
    points = gaussians.store_for_display(writer, points, inputs[OVERLAY_INPUT])
    size = writer.node("ShaderNodeVectorMath", operation="SCALE")
    writer.feed(size.inputs[0], gaussians.scale)
    writer.feed(socket(size.inputs, "Scale"), inputs[SIZE_INPUT])

    def instances(proxy_radius: float, subdivisions: int, material: bpy.types.Material) -> bpy.types.NodeSocket:
        proxy = writer.output("GeometryNodeMeshIcoSphere", {"Radius": proxy_radius, "Subdivisions": subdivisions})
        proxy = writer.output("GeometryNodeSetMaterial", {"Geometry": proxy, "Material": material})
        placement = {"Rotation": gaussians.rotation, "Scale": size.outputs["Vector"]}
        return writer.output("GeometryNodeInstanceOnPoints", {"Points": points, "Instance": proxy, **placement})

    menu = writer.node("GeometryNodeMenuSwitch", data_type="GEOMETRY")
    menu.enum_items.clear()
    for item in (DISPLAY_SPLATS, DISPLAY_SOLID, DISPLAY_POINTS):
        menu.enum_items.new(item)
    writer.feed(socket(menu.inputs, "Menu"), inputs[DISPLAY_INPUT])
    display.default_value = DISPLAY_SPLATS
    writer.feed(
        socket(menu.inputs, DISPLAY_SPLATS),
        instances(CUTOFF_SIGMAS * _ICOSAHEDRON_RATIO, subdivisions=1, material=exact),
    )
    writer.feed(socket(menu.inputs, DISPLAY_SOLID), instances(SOLID_SIGMAS, subdivisions=2, material=solid))
    writer.feed(
        socket(menu.inputs, DISPLAY_POINTS),
        writer.output("GeometryNodeSetMaterial", {"Geometry": points, "Material": points_material}),
    )
    writer.node("NodeGroupOutput", {"Geometry": menu.outputs["Output"]})
    arrange(tree)
    return tree
