"""Rotations between two stored ones, in nodes: along the shorter arc at even speed, without trigonometry per point.

Blender's own Mix of rotations takes an arc cosine and two sines per point, which was half of the time of a frame
between two stored ones (5.2 of 10.5 ms for 100,000 Gaussians). Here unit quaternions are mixed linearly and brought
back to unit length, which goes along the same arc but at uneven speed, by up to 8 degrees; so the weight is bent
first. For a weight t and the cosine d of half the angle, with s = t (t - 1/2) (t - 1) and u = (t - 1/2)^2, it becomes

    t + s * sum over i of (A_i + B_i u) d^i.

The sum is a least-squares fit to the exact weight sin(tw) / (sin(tw) + sin((1-t)w)), w = arccos(d). What is left is at
most 0.034 degrees for any rotation, less than the float16 of an animation file leaves open.
"""

import bpy
import numpy as np

from .nodes import TreeWriter, socket

_BENDING = ((0.85042, 1.04709), (-1.10183, -2.556), (0.27099, 1.58116))


def in_one_hemisphere(quaternions: np.ndarray) -> np.ndarray:
    """The same rotations with signs such that no quaternion is more than a right angle away from the one before.

    Args:
        quaternions: Unit quaternions (w, x, y, z) [T, N, 4].
    """
    cosines = (quaternions[1:] * quaternions[:-1]).sum(axis=-1, keepdims=True)
    signs = np.cumprod(np.where(cosines < 0, -1, 1).astype(quaternions.dtype), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])


def mix_rotations(
    writer: TreeWriter, earlier: bpy.types.NodeSocket, later: bpy.types.NodeSocket, weight: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """Add nodes that mix two fields of rotations.

    Args:
        writer: Of the tree.
        earlier: Rotation for the weight 0.
        later: Rotation for the weight 1, its quaternion at most a right angle away (`in_one_hemisphere`).
        weight: One number, 0..1.
    """
    first, second = (
        writer.node("FunctionNodeRotationToQuaternion", {"Rotation": rotation}).outputs for rotation in (earlier, later)
    )
    cosine = writer.math("MULTIPLY", first["W"], second["W"])
    for axis in "XYZ":
        cosine = writer.math("MULTIPLY_ADD", first[axis], second[axis], cosine)
    bent = _bent_weight(writer, weight, cosine)
    mixed = {}
    for component in "WXYZ":
        mix = writer.node("ShaderNodeMix", data_type="FLOAT", label=f"Mix rotation {component}")
        for name, value in (("Factor", bent), ("A", first[component]), ("B", second[component])):
            writer.feed(socket(mix.inputs, name), value)
        mixed[component] = socket(mix.outputs, "Result")
    # Brings the quaternion to unit length.
    return writer.output("FunctionNodeQuaternionToRotation", mixed)


def _bent_weight(
    writer: TreeWriter, weight: bpy.types.NodeSocket, cosine: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """Two operations per point: all coefficients are numbers, computed once."""
    centered = writer.math("SUBTRACT", weight, 0.5)
    square = writer.math("MULTIPLY", centered, centered)
    # t (t - 1) = (t - 1/2)^2 - 1/4
    shape = writer.math("MULTIPLY", centered, writer.math("SUBTRACT", square, 0.25))
    constant, linear, quadratic = (
        writer.math("MULTIPLY", shape, writer.math("MULTIPLY_ADD", square, slope, start)) for start, slope in _BENDING
    )
    inner = writer.math("MULTIPLY_ADD", cosine, quadratic, linear)
    return writer.math("MULTIPLY_ADD", cosine, inner, writer.math("ADD", constant, weight))
