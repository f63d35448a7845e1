"""Unlit copies of materials: every surface shows its base colour as light, so that a render is the albedo.

Shading that depends on lights or on the viewing direction (roughness, metal, glass, Fresnel mixes, added gloss) is
dropped; what depends on the surface alone (textures, vertex colours, mixes, groups, alpha, emission) is kept.
"""

import logging

import bpy

from .object_values import lost_inputs
from .scratch import Scratch

LOGGER = logging.getLogger(__name__)

# What Blender shows where a mesh has no material.
_DEFAULT_COLOR = (0.8, 0.8, 0.8, 1.0)
_NAME = "GVF capture"
# Closures that carry no colour of their own: they stay as they are.
_KEPT_CLOSURES = {"ShaderNodeBsdfTransparent", "ShaderNodeBsdfRayPortal"}
_OTHER_CLOSURES = {"ShaderNodeEeveeSpecular", "ShaderNodeSubsurfaceScattering"}
# Closures that lie on another one where they are added to it.
_GLOSS = {"ShaderNodeBsdfAnisotropic", "ShaderNodeBsdfSheen"}
_VIEW_DEPENDENT = {"ShaderNodeFresnel", "ShaderNodeLayerWeight"}


class UnlitMaterials:
    """Makes and remembers the unlit copy of each material; the copies belong to a scratch."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._copies: dict[bpy.types.Material | None, bpy.types.Material] = {}
        self._groups: dict[bpy.types.NodeTree, bpy.types.NodeTree] = {}

    def unlit(self, material: bpy.types.Material | None) -> bpy.types.Material:
        """The unlit copy of a material; None stands for a slot without one."""
        if material is not None:
            material = material.original
        if material not in self._copies:
            self._copies[material] = self._make(material)
        return self._copies[material]

    def _make(self, material: bpy.types.Material | None) -> bpy.types.Material:
        if material is None:
            return self._flat(_DEFAULT_COLOR)
        output = _surface_output(material)
        if output is None:
            return self._flat(material.diffuse_color)
        copy = self._scratch.adopt(material.copy())
        tree = copy.node_tree
        self._rewrite(tree, material.name)
        output = tree.get_output_node("CYCLES")
        # Displacement would move the rendered surface away from the captured vertices; volumes are not surface.
        for name in ("Volume", "Displacement"):
            for link in list(output.inputs[name].links):
                tree.links.remove(link)
        return _not_a_light(copy)

    def _flat(self, color: tuple[float, ...]) -> bpy.types.Material:
        material = self._scratch.adopt(bpy.data.materials.new(_NAME))
        if material.node_tree is None:
            # Up to Blender 4.5; later every material has a node tree and use_nodes is deprecated.
            material.use_nodes = True
        tree = material.node_tree
        tree.nodes.clear()
        emission = tree.nodes.new("ShaderNodeEmission")
        emission.inputs["Color"].default_value = tuple(color)
        output = tree.nodes.new("ShaderNodeOutputMaterial")
        tree.links.new(emission.outputs[0], output.inputs["Surface"])
        return _not_a_light(material)

    def _rewrite(self, tree: bpy.types.NodeTree, name: str) -> None:
        """Replace the closures of a copied tree, and those of its groups, in place."""
        for lost in lost_inputs(tree):
            LOGGER.warning("%s reads %s, which a capture cannot keep: its colours may differ.", name, lost)
        for node in list(tree.nodes):
            if node.mute:
                continue
            kind = node.bl_idname
            if kind == "ShaderNodeGroup":
                if node.node_tree and any(socket.type == "SHADER" for socket in node.outputs):
                    node.node_tree = self._unlit_group(node.node_tree)
            elif kind == "ShaderNodeMixShader":
                _face_on(tree, node.inputs[0])
            elif kind == "ShaderNodeAddShader":
                _leave_out_gloss(tree, node)
            elif kind == "ShaderNodeEmission":
                _limit_to_one(tree, node.inputs["Strength"])
            elif kind == "ShaderNodeShaderToRGB":
                _pass_color_through(tree, node)
            elif kind == "ShaderNodeTexImage":
                _warn_if_missing(node, name)
        # After the pass above, which reads the colours of closures that this one disconnects.
        for node in list(tree.nodes):
            if not node.mute and _is_closure(node):
                _replace_output(tree, node, _unlit_closure(tree, node))

    def _unlit_group(self, group: bpy.types.NodeTree) -> bpy.types.NodeTree:
        if group not in self._groups:
            copy = self._scratch.adopt(group.copy())
            self._groups[group] = copy
            self._rewrite(copy, group.name)
        return self._groups[group]


def _surface_output(material: bpy.types.Material) -> bpy.types.Node | None:
    """The material's output node if Cycles would take a surface from it."""
    # From 5.0 on use_nodes is always true, and reading it warns of its removal.
    if bpy.app.version < (5, 0) and not material.use_nodes:
        return None
    if material.node_tree is None:
        return None
    output = material.node_tree.get_output_node("CYCLES")
    return output if output is not None and output.inputs["Surface"].is_linked else None


def _not_a_light(material: bpy.types.Material) -> bpy.types.Material:
    # Spares Cycles from building a light tree over every triangle, which a render without bounces never uses.
    # Without the Cycles add-on there are no such settings, which the render complains about.
    if hasattr(getattr(material, "cycles", None), "emission_sampling"):
        material.cycles.emission_sampling = "NONE"
    return material


def _is_closure(node: bpy.types.Node) -> bool:
    kind = node.bl_idname
    return kind in _OTHER_CLOSURES or (kind.startswith("ShaderNodeBsdf") and kind not in _KEPT_CLOSURES)


def _color_input(node: bpy.types.Node) -> bpy.types.NodeSocket | None:
    for name in ("Base Color", "Color"):
        if name in node.inputs:
            return node.inputs[name]
    return None


def _unlit_closure(tree: bpy.types.NodeTree, node: bpy.types.Node) -> bpy.types.NodeSocket:
    """A closure that shines with the node's colour; the Principled BSDF's emission and alpha are kept."""
    emission = tree.nodes.new("ShaderNodeEmission")
    color = _color_input(node)
    if color is None:
        emission.inputs["Color"].default_value = _DEFAULT_COLOR
    else:
        _feed(tree, color, emission.inputs["Color"])
    closure = emission.outputs[0]
    if node.bl_idname != "ShaderNodeBsdfPrincipled":
        return closure
    if _shines(node):
        glow = tree.nodes.new("ShaderNodeEmission")
        _feed(tree, node.inputs["Emission Color"], glow.inputs["Color"])
        _feed(tree, node.inputs["Emission Strength"], glow.inputs["Strength"])
        _limit_to_one(tree, glow.inputs["Strength"])
        both = tree.nodes.new("ShaderNodeAddShader")
        tree.links.new(closure, both.inputs[0])
        tree.links.new(glow.outputs[0], both.inputs[1])
        closure = both.outputs[0]
    alpha = node.inputs["Alpha"]
    if alpha.is_linked or alpha.default_value < 1.0:
        transparent = tree.nodes.new("ShaderNodeBsdfTransparent")
        mix = tree.nodes.new("ShaderNodeMixShader")
        _feed(tree, alpha, mix.inputs[0])
        tree.links.new(transparent.outputs[0], mix.inputs[1])
        tree.links.new(closure, mix.inputs[2])
        closure = mix.outputs[0]
    return closure


def _shines(principled: bpy.types.Node) -> bool:
    strength, color = principled.inputs["Emission Strength"], principled.inputs["Emission Color"]
    return (strength.is_linked or strength.default_value > 0.0) and (
        color.is_linked or max(color.default_value[:3]) > 0.0
    )


def _feed(tree: bpy.types.NodeTree, source: bpy.types.NodeSocket, target: bpy.types.NodeSocket) -> None:
    """Give one input what another input gets: its link, else its value."""
    if source.is_linked:
        tree.links.new(source.links[0].from_socket, target)
    else:
        target.default_value = source.default_value


def _limit_to_one(tree: bpy.types.NodeTree, strength: bpy.types.NodeSocket) -> None:
    """Keep a glowing surface from burning out to white, which would hide its colour."""
    if not strength.is_linked:
        strength.default_value = min(strength.default_value, 1.0)
        return
    minimum = tree.nodes.new("ShaderNodeMath")
    minimum.operation = "MINIMUM"
    minimum.inputs[1].default_value = 1.0
    tree.links.new(strength.links[0].from_socket, minimum.inputs[0])
    tree.links.new(minimum.outputs[0], strength)


def _face_on(tree: bpy.types.NodeTree, factor: bpy.types.NodeSocket) -> None:
    """Replace a mix by viewing angle with its value for a surface seen face on."""
    if factor.is_linked and factor.links[0].from_node.bl_idname in _VIEW_DEPENDENT:
        tree.links.remove(factor.links[0])
        factor.default_value = 0.0


def _leave_out_gloss(tree: bpy.types.NodeTree, both: bpy.types.Node) -> None:
    """Drop gloss that is added to a coloured surface, which its own colour would burn out to white."""
    links = [link for socket in both.inputs for link in socket.links]
    gloss = [link for link in links if link.from_node.bl_idname in _GLOSS]
    see_through = any(link.from_node.bl_idname in _KEPT_CLOSURES for link in links)
    if len(links) == 2 and len(gloss) == 1 and not see_through:
        tree.links.remove(gloss[0])


def _pass_color_through(tree: bpy.types.NodeTree, shader_to_rgb: bpy.types.Node) -> None:
    """Cycles knows no Shader to RGB node: hand on the colour of the closure in front of it instead."""
    shader = shader_to_rgb.inputs["Shader"]
    color = _color_input(shader.links[0].from_node) if shader.is_linked else None
    output = shader_to_rgb.outputs["Color"]
    if color is not None and color.is_linked:
        _replace_output(tree, shader_to_rgb, color.links[0].from_socket, output)
        return
    constant = tree.nodes.new("ShaderNodeRGB")
    constant.outputs[0].default_value = _DEFAULT_COLOR if color is None else color.default_value
    _replace_output(tree, shader_to_rgb, constant.outputs[0], output)


def _replace_output(
    tree: bpy.types.NodeTree,
    node: bpy.types.Node,
    replacement: bpy.types.NodeSocket,
    output: bpy.types.NodeSocket | None = None,
) -> None:
    for link in list((output or node.outputs[0]).links):
        tree.links.new(replacement, link.to_socket)


def _warn_if_missing(node: bpy.types.Node, owner: str) -> None:
    image = node.image
    if image is None:
        LOGGER.warning("An image texture node of %s has no image; its surface shows no texture.", owner)
    elif image.size[0] == 0:
        LOGGER.warning(
            "The image %s of %s is not at %s; its surface is captured pink.", image.name, owner, image.filepath
        )
