"""What would be animated, and what the artist should know before: cheap enough for every redraw."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from .capture.object_values import lost_inputs
from .core.sentence import Sentence
from .importer.gaussians import shows_gaussians
from .importer.motion import own_movement, render_mismatch

# A selection of thousands is summed up; only the first ones are looked at for warnings.
_MOST_WARNED_ABOUT = 20
_MOST_PARENTS = 20
_MANY_VERTICES = 1_000_000


@dataclass(frozen=True)
class AssetSummary:
    """A selection.

    Attributes:
        objects: Number of objects with a surface.
        vertices: Vertices of their meshes, before modifiers.
        warnings: One sentence each.
        makes_instances: Something of it shows only as instances, which can be made real.
    """

    objects: int
    vertices: int
    warnings: tuple[Sentence, ...]
    makes_instances: bool


def summarise(selected: Sequence[bpy.types.Object]) -> AssetSummary:
    """Look at a selection without evaluating anything."""
    found = with_children(selected)
    meshes = [thing for thing in found if thing.type == "MESH"]
    vertices = sum(len(thing.data.vertices) for thing in meshes)
    warnings: dict[Sentence, None] = {}
    instancers = [thing for thing in found if thing.instance_type != "NONE"]
    for thing in instancers[:_MOST_WARNED_ABOUT]:
        text = "{name} makes instances, which show in the results but do not move themselves."
        warnings[Sentence(text, name=thing.name)] = None
    for thing in meshes[:_MOST_WARNED_ABOUT]:
        warnings.update(dict.fromkeys(_warnings(thing)))
    if vertices > _MANY_VERTICES:
        text = "{count:,} vertices take a while: a Decimate modifier on a copy makes it faster."
        warnings[Sentence(text, count=vertices)] = None
    return AssetSummary(len(meshes), vertices, tuple(warnings), bool(instancers))


def with_children(selected: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """The objects but results, and the visible ones below their empties and armatures; fit for drawing."""
    found = dict.fromkeys(thing for thing in selected if not shows_gaussians(thing))
    parents = [thing for thing in found if thing.type in ("EMPTY", "ARMATURE")]
    # Each of them is asked for by a walk over all objects of the file.
    for thing in parents[:_MOST_PARENTS]:
        below = (child for child in thing.children_recursive if child.visible_get() and not shows_gaussians(child))
        found.update(dict.fromkeys(below))
    return list(found)


def _warnings(thing: bpy.types.Object) -> Iterable[Sentence]:
    if not thing.is_editable:
        yield Sentence(
            "{name} is linked from another file: it shows in the results but does not move itself.", name=thing.name
        )
    if not any(slot.material for slot in thing.material_slots):
        yield Sentence("{name} has no material: it is captured grey.", name=thing.name)
    for image in _missing_images(thing):
        text = "The texture {image} of {name} is missing: it is captured pink."
        yield Sentence(text, image=image, name=thing.name)
    for tree in _material_trees(thing):
        for lost in lost_inputs(tree):
            text = "A material of {name} reads {lost}, which a capture cannot keep: its colours may differ."
            yield Sentence(text, lost=lost, name=thing.name)
    yield from filter(None, (own_movement(thing), render_mismatch(thing)))


def _material_trees(thing: bpy.types.Object) -> list[bpy.types.NodeTree]:
    materials = (slot.material for slot in thing.material_slots)
    return [material.node_tree for material in materials if material is not None and material.node_tree is not None]


def _missing_images(thing: bpy.types.Object) -> Iterable[str]:
    for tree in _material_trees(thing):
        for node in tree.nodes:
            image = node.image if node.type == "TEX_IMAGE" else None
            if image is not None and image.source == "FILE" and image.packed_file is None:
                path = Path(bpy.path.abspath(image.filepath, library=image.library))
                # Not asked from the image: that would load it.
                if image.filepath and not path.is_file():
                    yield image.name
