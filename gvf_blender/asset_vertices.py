"""Where the vertices of an asset are in the scene now."""

from collections.abc import Iterable

import bpy
import numpy as np

from .importer.gaussians import shows_gaussians
from .importer.placement import transform_points


def world_vertices(context: bpy.types.Context, objects: Iterable[bpy.types.Object]) -> np.ndarray | None:
    """Evaluated vertices of objects, of what hangs on them and of their instances [V, 3]; None if there are none.

    Results hang on their originals, too, and do not count.
    """
    owners = set(objects)
    results = set(filter(shows_gaussians, context.view_layer.objects))
    found = []
    for instance in context.evaluated_depsgraph_get().object_instances:
        owner = (instance.parent if instance.is_instance else instance.object).original
        if instance.object.type == "MESH" and (owner in owners or (_hangs_on(owner, owners) and owner not in results)):
            positions = np.empty((len(instance.object.data.vertices), 3), np.float32)
            instance.object.data.vertices.foreach_get("co", positions.ravel())
            found.append(transform_points(np.array(instance.matrix_world, np.float64), positions.astype(np.float64)))
    vertices = np.concatenate(found) if found else np.empty((0, 3))
    return vertices if len(vertices) else None


def _hangs_on(thing: bpy.types.Object, owners: set[bpy.types.Object]) -> bool:
    return thing.parent is not None and (thing.parent in owners or _hangs_on(thing.parent, owners))
