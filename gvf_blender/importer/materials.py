"""Materials that show the captured colors as they are: emission only, unlit, linear.

With the view transform "Standard" a rendered pixel has the captured color; AgX and Filmic change it.
"""

import bpy

from .compat import clear_node_tree
from .nodes import TreeWriter, arrange, socket

COLOR_ATTRIBUTE = "splat_color"
OPACITY_ATTRIBUTE = "splat_opacity"
ROTATION_ATTRIBUTE = "splat_rotation"
SCALE_ATTRIBUTE = "splat_scale"

CUTOFF_SIGMAS = 3.0
# Makes white noise of neighboring hit points independent; any large number that is no integer does.
_NOISE_FREQUENCY = 977.13


def new_splat_material(name: str) -> bpy.types.Material:
    """The exact Gaussian along each camera ray, on any convex proxy around an instance.

    In the space of the instance the Gaussian is the standard one: for a hit point p and a ray direction d
    the squared distance of the ray to its center is p.p - (p.d)^2, and the opacity is
    opacity * exp(-distance^2 / 2).

    Opacity is drawn as a random choice between opaque and transparent per sample. Mixing a transparent
    shader instead looks the same on average but left white specks in Cycles unless
    `min_transparent_bounces` was raised too, which made rendering 5 times slower (measured at 20,000 splats).
    """
    material = bpy.data.materials.new(name)
    writer = TreeWriter(clear_node_tree(material))
    geometry = writer.node("ShaderNodeNewGeometry")
    point = writer.node("ShaderNodeTexCoord").outputs["Object"]
    local_ray = writer.output(
        "ShaderNodeVectorTransform",
        {"Vector": geometry.outputs["Incoming"]},
        vector_type="VECTOR",
        convert_from="WORLD",
        convert_to="OBJECT",
    )
    direction = writer.vector_math("NORMALIZE", local_ray)
    along = _dot(writer, point, direction)
    distance_squared = writer.math("SUBTRACT", _dot(writer, point, point), writer.math("MULTIPLY", along, along))
    falloff = writer.math("EXPONENT", writer.math("MULTIPLY", distance_squared, -0.5))
    within = writer.math("LESS_THAN", distance_squared, CUTOFF_SIGMAS**2)
    # The proxy is hit on its near and its far side; only one of the hits may count.
    near_side = writer.math("SUBTRACT", 1.0, geometry.outputs["Backfacing"])
    opacity = socket(_attribute(writer, OPACITY_ATTRIBUTE, "INSTANCER").outputs, "Fac")
    alpha = opacity
    for factor in (falloff, within, near_side):
        alpha = writer.math("MULTIPLY", alpha, factor)
    noise = writer.output(
        "ShaderNodeTexWhiteNoise",
        {
            "Vector": writer.vector_math("MULTIPLY", point, (_NOISE_FREQUENCY,) * 3),
            "W": writer.node("ShaderNodeObjectInfo").outputs["Random"],
        },
        noise_dimensions="4D",
    )
    shown = writer.math("LESS_THAN", noise, alpha)
    color = _attribute(writer, COLOR_ATTRIBUTE, "INSTANCER").outputs["Color"]
    mix = writer.node("ShaderNodeMixShader", {"Fac": shown})
    writer.feed(mix.inputs[1], writer.output("ShaderNodeBsdfTransparent"))
    writer.feed(mix.inputs[2], writer.output("ShaderNodeEmission", {"Color": color}))
    _finish(material, writer, mix.outputs[0])
    # EEVEE since 4.2: no sorting; the opacity is 0 or 1 anyway.
    material.surface_render_method = "DITHERED"
    return material


def new_solid_material(name: str, instances: bool) -> bpy.types.Material:
    """Opaque emission in the Gaussian's color.

    Args:
        name: Name of the material.
        instances: The color is an attribute of the instance, not of the geometry itself.
    """
    material = bpy.data.materials.new(name)
    writer = TreeWriter(clear_node_tree(material))
    color = _attribute(writer, COLOR_ATTRIBUTE, "INSTANCER" if instances else "GEOMETRY").outputs["Color"]
    _finish(material, writer, writer.output("ShaderNodeEmission", {"Color": color}))
    return material


def _dot(writer: TreeWriter, first: bpy.types.NodeSocket, second: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    return writer.vector_math("DOT_PRODUCT", first, second)


def _attribute(writer: TreeWriter, name: str, kind: str) -> bpy.types.Node:
    return writer.node("ShaderNodeAttribute", attribute_name=name, attribute_type=kind)


def _finish(material: bpy.types.Material, writer: TreeWriter, surface: bpy.types.NodeSocket) -> None:
    # Captured colors light nothing, so Cycles need not sample every triangle of every splat as a lamp.
    if hasattr(material, "cycles"):
        material.cycles.emission_sampling = "NONE"
    writer.node("ShaderNodeOutputMaterial", {"Surface": surface})
    arrange(writer.tree)
