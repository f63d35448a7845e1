"""Where the vertices of an asset are in the scene now."""

from collections.abc import Iterable

import bpy
import numpy as np

from .importer.gaussians import shows_gaussians
from .importer.placement import transform_points


def world_vertices(context: bpy.types.Context, objects: Iterable[bpy.types.Object]) -> np.ndarray | None:
    """Evaluated vertices of objects, of what hangs on them and of their instances [V, 3]; None if there are none.

    Results, which hang on their originals, too, do not count.
    """
    owners = set(objects)
    counted: dict[bpy.types.Object, bool] = {}
    found = []
    for instance in context.evaluated_depsgraph_get().object_instances:
        owner = (instance.parent if instance.is_instance else instance.object).original
        if owner not in counted:  # splats are instances by the ten thousands
            counted[owner] = (owner in owners or _hangs_on(owner, owners)) and not shows_gaussians(owner)
        if instance.object.type == "MESH" and counted[owner]:
            positions = np.empty((len(instance.object.data.vertices), 3), np.float32)
            instance.object.data.vertices.foreach_get("co", positions.ravel())
            found.append(transform_points(np.array(instance.matrix_world, np.float64), positions.astype(np.float64)))
    vertices = np.concatenate(found) if found else np.empty((0, 3))
    return vertices if len(vertices) else None


def _hangs_on(thing: bpy.types.Object, owners: set[bpy.types.Object]) -> bool:
    return thing.parent is not None and (thing.parent in owners or _hangs_on(thing.parent, owners))
