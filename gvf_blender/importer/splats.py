"""The splat object: a mesh of loose vertices that a Geometry Nodes tree shows as Gaussian splats."""

import bpy

from .gaussians import (
    AMOUNT_INPUT,
    FRAME_INPUT,
    OVERLAY_INPUT,
    SIZE_INPUT,
    SOLID_SIGMAS,
    GaussianFields,
    GaussianTracks,
    add_inputs,
    stored_radius,
    thinned_out,
    without_frames,
)
from .keyframes import FrameMapping, key_modifier_input
from .materials import (
    CUTOFF_SIGMAS,
    ROTATION_ATTRIBUTE,
    SCALE_ATTRIBUTE,
    new_solid_material,
    new_splat_material,
)
from .native_splats import shows_native_splats, with_native_splats
from .nodes import TreeWriter, arrange, has_input, modifier_input, new_geometry_tree, set_modifier_input, socket
from .playback import new_point_mesh

DISPLAY_INPUT = "Display"
DISPLAYS = DISPLAY_SPLATS, DISPLAY_SOLID, DISPLAY_POINTS = "Splats", "Solid Ellipsoids", "Points"
_FIRST_DISPLAY = "gvf_first_display"
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
    # Blender numbers the items of a menu by itself; the first one is the default.
    modifier.node_group[_FIRST_DISPLAY] = modifier_input(modifier, DISPLAY_INPUT)
    key_modifier_input(splat_object, modifier, FRAME_INPUT, mapping)
    return splat_object


def display_of(modifier: bpy.types.Modifier) -> str | None:
    """Which of `DISPLAYS` a modifier shows; None if it is none of ours."""
    if not has_input(modifier, DISPLAY_INPUT) or _FIRST_DISPLAY not in modifier.node_group:
        return None
    index = modifier_input(modifier, DISPLAY_INPUT) - modifier.node_group[_FIRST_DISPLAY]
    return DISPLAYS[index] if 0 <= index < len(DISPLAYS) else None


def set_display(modifier: bpy.types.NodesModifier, display: str) -> None:
    """Show one of `DISPLAYS`."""
    index = modifier.node_group[_FIRST_DISPLAY] + DISPLAYS.index(display)
    set_modifier_input(modifier, DISPLAY_INPUT, index)


def shows_proxies(thing: bpy.types.Object) -> bool:
    """Whether an object shows its splats, if it has any, as transparent proxies in this Blender."""
    return any(
        display_of(modifier) is not None and not shows_native_splats(modifier.node_group)
        for modifier in thing.modifiers
    )


def _new_tree(
    name: str,
    tracks: GaussianTracks,
    exact: bpy.types.Material,
    solid: bpy.types.Material,
    points_material: bpy.types.Material,
) -> bpy.types.NodeTree:
    tree = new_geometry_tree(name)
    add_inputs(tree, tracks)
    display = tree.interface.new_socket(
        DISPLAY_INPUT,
        description="Exact splats, a fast preview with opaque ellipsoids, or points",
        in_out="INPUT",
        socket_type="NodeSocketMenu",
    )
    writer = TreeWriter(tree)
    inputs = writer.node("NodeGroupInput").outputs
    gaussians = GaussianFields.at_frame(writer, tracks, inputs)
    points = writer.output("GeometryNodeMeshToPoints", {"Mesh": inputs["Geometry"], "Position": gaussians.position})
    points = gaussians.store_for_display(writer, points, inputs[OVERLAY_INPUT])
    # Instances would carry all stored frames along.
    points = without_frames(writer, tracks, points)
    points = thinned_out(writer, points, points, inputs[AMOUNT_INPUT])
    rotation, scale = (
        writer.output("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind)
        for name, kind in ((ROTATION_ATTRIBUTE, "QUATERNION"), (SCALE_ATTRIBUTE, "FLOAT_VECTOR"))
    )
    size = writer.node("ShaderNodeVectorMath", operation="SCALE")
    writer.feed(size.inputs[0], scale)
    writer.feed(socket(size.inputs, "Scale"), inputs[SIZE_INPUT])

    def instances(proxy_radius: float, subdivisions: int, material: bpy.types.Material) -> bpy.types.NodeSocket:
        proxy = writer.output("GeometryNodeMeshIcoSphere", {"Radius": proxy_radius, "Subdivisions": subdivisions})
        proxy = writer.output("GeometryNodeSetMaterial", {"Geometry": proxy, "Material": material})
        placement = {"Rotation": rotation, "Scale": size.outputs["Vector"]}
        return writer.output("GeometryNodeInstanceOnPoints", {"Points": points, "Instance": proxy, **placement})

    menu = writer.node("GeometryNodeMenuSwitch", data_type="GEOMETRY")
    menu.enum_items.clear()
    for item in (DISPLAY_SPLATS, DISPLAY_SOLID, DISPLAY_POINTS):
        menu.enum_items.new(item)
    writer.feed(socket(menu.inputs, "Menu"), inputs[DISPLAY_INPUT])
    display.default_value = DISPLAY_SPLATS
    proxies = instances(CUTOFF_SIGMAS * _ICOSAHEDRON_RATIO, subdivisions=1, material=exact)
    splats = with_native_splats(writer, points, rotation, size.outputs["Vector"], points_material, proxies)
    writer.feed(socket(menu.inputs, DISPLAY_SPLATS), splats)
    writer.feed(socket(menu.inputs, DISPLAY_SOLID), instances(SOLID_SIGMAS, subdivisions=2, material=solid))
    radius = stored_radius(writer, inputs[SIZE_INPUT])
    spheres = writer.output("GeometryNodeSetPointRadius", {"Points": points, "Radius": radius})
    writer.feed(
        socket(menu.inputs, DISPLAY_POINTS),
        writer.output("GeometryNodeSetMaterial", {"Geometry": spheres, "Material": points_material}),
    )
    writer.node("NodeGroupOutput", {"Geometry": menu.outputs["Output"]})
    arrange(tree)
    return tree
