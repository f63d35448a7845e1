"""The materials that an object shows: its own slots come before those of its mesh."""

from collections.abc import Sequence

import bpy


def shown_materials(evaluated: bpy.types.Object) -> list[bpy.types.Material | None]:
    """By the material indices of the faces; evaluated, as the object is."""
    materials = [
        slot.material if slot.link == "OBJECT" else material
        for slot, material in zip(evaluated.material_slots, evaluated.data.materials, strict=False)
    ]
    return [*materials, *evaluated.data.materials[len(materials) :]]


def replace_materials(mesh: bpy.types.Mesh, materials: Sequence[bpy.types.Material | None]) -> None:
    """Give the copy of an evaluated mesh other materials; its faces keep their indices."""
    # The copy may have fewer slots than the evaluated mesh; clearing them would reset the faces' material indices.
    for index, material in enumerate(materials):
        if index < len(mesh.materials):
            mesh.materials[index] = material
        else:
            mesh.materials.append(material)
