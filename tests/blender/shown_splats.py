"""How an object shows its splats: as instances of proxies, or as a point cloud of Blender's own splats.

Imports nothing of the extension, for scripts that must run without it.
"""

import bpy
import numpy as np


def splat_matrices(splats: bpy.types.Object) -> np.ndarray:
    """World matrices of the evaluated splats [N, 4, 4]; the axes are as long as the standard deviations."""
    proxies = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if not instance.is_instance or instance.parent.original != splats:
            continue
        if instance.object.type == "POINTCLOUD":
            return np.array(instance.matrix_world) @ _native_matrices(instance.object.data)
        proxies.append(np.array(instance.matrix_world))
    return np.array(proxies)


def _native_matrices(cloud: bpy.types.PointCloud) -> np.ndarray:
    assert cloud.type == "GAUSSIAN_SPLAT"
    matrices = np.tile(np.eye(4), (len(cloud.points), 1, 1))
    rotations = rotation_matrices(_attribute(cloud, "rotation", "value", 4).astype(np.float64))
    matrices[:, :3, :3] = rotations * _attribute(cloud, "scale", "vector", 3)[:, None, :]
    matrices[:, :3, 3] = _attribute(cloud, "position", "vector", 3)
    return matrices


def _attribute(cloud: bpy.types.PointCloud, name: str, prop: str, components: int) -> np.ndarray:
    values = np.empty((len(cloud.points), components), np.float32)
    cloud.attributes[name].data.foreach_get(prop, values.ravel())
    return values


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Of unit quaternions (w, x, y, z) [N, 4], as [N, 3, 3]."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
