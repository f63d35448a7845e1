"""Blender's own Gaussian splats, from 5.3 on: a point cloud of another type, which every engine draws without proxies.

This is the only module that knows them. Whether a Blender has them is asked twice: when a tree is made, and by the tree
itself whenever it is evaluated, because a file may be opened in an older Blender, to which the node is unknown.
"""

import math

import bpy

from .materials import COLOR_ATTRIBUTE, OPACITY_ATTRIBUTE
from .nodes import TreeWriter, socket

_NODE, _TYPE = "GeometryNodePointsSetType", "GAUSSIAN_SPLAT"
# The spherical harmonic of degree 0, by which the base radiance is multiplied before 0.5 is added.
_HARMONIC = 0.5 / math.sqrt(math.pi)
# A channel in sRGB as a polynomial of the square root of the linear one, right to 0.006. Only Solid shading sees it; an
# exact power took 3 of the 7.5 ms of a frame of 100,000 splats on one core.
_SRGB = (-0.0231, 1.2345, -0.2172)
# Cycles shows a splat black whose normal, its shortest axis, is at a right angle to the ray to the last bit: an upright
# card in a front view. The shape changes by less than 3e-5.
_TILT = (1e-5, 1.3e-5, 1.7e-5)


def has_native_splats() -> bool:
    """Whether this Blender knows Gaussian splats by itself."""
    kind = bpy.types.PointCloud.bl_rna.properties.get("type")
    return kind is not None and _TYPE in kind.enum_items and hasattr(bpy.types, _NODE)


def shows_native_splats(tree: bpy.types.NodeTree) -> bool:
    """Whether a tree of splats shows them as native ones in this Blender."""
    return has_native_splats() and any(node.bl_idname == _NODE for node in tree.nodes)


def with_native_splats(
    writer: TreeWriter,
    points: bpy.types.NodeSocket,
    rotation: bpy.types.NodeSocket,
    scale: bpy.types.NodeSocket,
    material: bpy.types.Material,
    proxies: bpy.types.NodeSocket,
) -> bpy.types.NodeSocket:
    """Add nodes that show points as native splats, or as proxies where Blender has none.

    Args:
        writer: Of the tree.
        points: Points that carry the shown color and opacity (`GaussianFields.store_for_display`).
        rotation: Field of their rotations.
        scale: Field of their standard deviations in metres.
        material: What renders show them with.
        proxies: The geometry for Blenders without native splats.
    """
    if not has_native_splats():
        return proxies
    kind = bpy.types.PointCloud.bl_rna.properties["type"].enum_items[_TYPE].name
    splats = writer.output(_NODE, {"Points": points, "Type": kind})
    # To another Blender the node is an unknown one, which returns no points.
    domain = writer.node("GeometryNodeAttributeDomainSize", {"Geometry": splats}, component="POINTCLOUD")
    count = socket(domain.outputs, "Point Count")
    is_known = writer.output(
        "FunctionNodeCompare",
        {"A": count, "B": 0},
        data_type="INT",
        operation="GREATER_THAN",
        label="Blender has splats",
    )
    tilted = writer.output(
        "FunctionNodeRotateRotation", {"Rotation": rotation, "Rotate By": _TILT}, rotation_space="LOCAL"
    )
    for name, data_type, value in (
        ("radiance:base", "FLOAT_COLOR", _base_radiance(writer)),
        ("rotation", "QUATERNION", tilted),
        ("scale", "FLOAT_VECTOR", scale),
    ):
        inputs = {"Geometry": splats, "Name": name, "Value": value}
        splats = writer.output("GeometryNodeStoreNamedAttribute", inputs, data_type=data_type, domain="POINT")
    splats = writer.output("GeometryNodeSetMaterial", {"Geometry": splats, "Material": material})
    # Solid shading multiplies the splats with it.
    material.diffuse_color = (1.0, 1.0, 1.0, 1.0)
    choice = {"Switch": is_known, "False": proxies, "True": splats}
    return writer.output("GeometryNodeSwitch", choice, input_type="GEOMETRY")


def _base_radiance(writer: TreeWriter) -> bpy.types.NodeSocket:
    """What Solid shading shows: rgb times the harmonic plus 0.5 is the color in sRGB, alpha is the opacity."""
    color, opacity = (
        writer.output("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=kind)
        for name, kind in ((COLOR_ATTRIBUTE, "FLOAT_VECTOR"), (OPACITY_ATTRIBUTE, "FLOAT"))
    )
    start, slope, bend = ((value - middle) / _HARMONIC for value, middle in zip(_SRGB, (0.5, 0, 0), strict=True))
    linear = writer.node("ShaderNodeSeparateXYZ", {"Vector": color}).outputs
    channels = {"Alpha": opacity}
    for name, axis in (("Red", "X"), ("Green", "Y"), ("Blue", "Z")):
        root = writer.math("SQRT", linear[axis])
        channels[name] = writer.math("MULTIPLY_ADD", root, writer.math("MULTIPLY_ADD", root, bend, slope), start)
    return writer.output("FunctionNodeCombineColor", channels, mode="RGB")
