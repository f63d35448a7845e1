"""What *Object > Apply* did to a result: it moves the result's own points, of which the stored tracks know nothing.

A few points that lie far apart tell it: where they are now, beside where the first stored frame has them. The node
trees carry all Gaussians the same way, so that a result stays where it is, without the add-on, too.
"""

from functools import partial, reduce

import bpy
import numpy as np

from .nodes import TreeWriter, socket
from .placement import transform_points
from .playback import Track

# Relative to the size of the cloud: what lies closer to a line or a plane counts as in it.
_FLAT = 1e-3
# Relative to the first axis: by how much the witness may be elsewhere. Who moves some of the points in Edit Mode, which
# shows nothing, has applied nothing.
_SAME = 3e-3
# Of a mesh, whose points are cheaper to read than by nodes.
_WITNESSES = 16


class AppliedTransform:
    """Nodes with the matrix that was applied, and fields carried along; what costs time is left out where none was.

    A scale that differs along the axes moves the Gaussians rightly, and makes all of them larger or smaller alike.
    """

    def __init__(self, writer: TreeWriter, geometry: bpy.types.NodeSocket, positions: Track) -> None:
        self._writer = writer
        guides, witness = _guides(np.asarray(positions.values[0], np.float64))
        own = writer.output("GeometryNodeInputPosition")
        name = positions.attribute(0)
        stored = writer.output("GeometryNodeInputNamedAttribute", {"Name": name}, data_type="FLOAT_VECTOR")
        sample = _Sampler(writer, geometry)
        before, now = ([sample(field, index) for index in guides] for field in (stored, own))
        axes_before, axes_now = self._axes(before), self._axes(now)
        inverse = writer.node("FunctionNodeInvertMatrix", {"Matrix": self._frame(before[0], axes_before)})
        self._matrix = self._product(self._frame(now[0], axes_now), inverse.outputs["Matrix"])
        factors = writer.node("ShaderNodeSeparateXYZ", {"Vector": self._parts(self._matrix)["Scale"]}).outputs
        volume = writer.math("MULTIPLY", writer.math("MULTIPLY", factors["X"], factors["Y"]), factors["Z"])
        self._scale = writer.math("POWER", writer.math("ABSOLUTE", volume), 1 / 3)
        # A Gaussian is its own mirror image through its centre, and that of a mirrored axis system is none.
        sign = writer.math("SIGN", writer.math("MULTIPLY", self._volume(axes_before), self._volume(axes_now)))
        mirror = writer.output("FunctionNodeCombineTransform", {"Scale": sign})
        self._rotation = self._parts(self._product(self._matrix, mirror))["Rotation"]
        moved = [writer.vector_math("DISTANCE", *pair) for pair in zip(before, now, strict=True)]
        way = reduce(partial(writer.math, "ADD"), moved)
        error = writer.vector_math("DISTANCE", self._point(sample(stored, witness)), sample(own, witness))
        allowed = writer.math("MULTIPLY", writer.vector_math("LENGTH", axes_now[0]), _SAME)
        self._was_applied = _all(
            writer, _is_greater(writer, way, 0.0), inverse.outputs["Invertible"], _is_greater(writer, allowed, error)
        )

    def position(self, field: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Positions, carried along."""
        return self._choice("VECTOR", field, self._point(field))

    def rotation(self, field: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Rotations, turned along."""
        inputs = {"Rotation": field, "Rotate By": self._rotation}
        turned = self._writer.output("FunctionNodeRotateRotation", inputs, rotation_space="GLOBAL")
        return self._choice("ROTATION", field, turned)

    def scale(self, field: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Sizes, scaled along."""
        scaled = self._writer.vector_math("MULTIPLY", field, self._scale)
        return self._choice("VECTOR", field, scaled)

    def _point(self, field: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        return self._writer.output("FunctionNodeTransformPoint", {"Vector": field, "Transform": self._matrix})

    def _choice(self, kind: str, stored: bpy.types.NodeSocket, moved: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        choice = {"Switch": self._was_applied, "False": stored, "True": moved}
        return self._writer.output("GeometryNodeSwitch", choice, input_type=kind)

    def _axes(self, points: list[bpy.types.NodeSocket]) -> list[bpy.types.NodeSocket]:
        """As `_axes` below, in nodes."""
        writer = self._writer
        if len(points) == 1:
            return [writer.output("FunctionNodeInputVector", vector=tuple(axis)) for axis in np.eye(3)]
        axes = [writer.vector_math("SUBTRACT", point, points[0]) for point in points[1:]]
        if len(axes) == 2:
            normal = writer.vector_math("CROSS_PRODUCT", *axes)
            root = writer.math("SQRT", writer.vector_math("LENGTH", normal))
            axes.append(writer.vector_math("DIVIDE", normal, root))
        return axes

    def _frame(self, origin: bpy.types.NodeSocket, axes: list[bpy.types.NodeSocket]) -> bpy.types.NodeSocket:
        matrix = self._writer.node("FunctionNodeCombineMatrix")
        for column, vector in enumerate([*axes, origin]):
            parts = self._writer.node("ShaderNodeSeparateXYZ", {"Vector": vector}).outputs
            for row in range(3):
                self._writer.feed(matrix.inputs[4 * column + row], parts[row])
        return matrix.outputs[0]

    def _volume(self, axes: list[bpy.types.NodeSocket]) -> bpy.types.NodeSocket:
        normal = self._writer.vector_math("CROSS_PRODUCT", axes[0], axes[1])
        return self._writer.vector_math("DOT_PRODUCT", normal, axes[2])

    def _product(self, first: bpy.types.NodeSocket, second: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        node = self._writer.node("FunctionNodeMatrixMultiply")
        self._writer.feed(node.inputs[0], first)
        self._writer.feed(node.inputs[1], second)
        return node.outputs[0]

    def _parts(self, matrix: bpy.types.NodeSocket) -> bpy.types.NodeOutputs:
        return self._writer.node("FunctionNodeSeparateTransform", {"Transform": matrix}).outputs


def note_points(points: np.ndarray) -> tuple[list[int], list[float]]:
    """Which points tell later what was applied, and where these are now, for `applied_since`.

    Args:
        points: [N, 3].
    """
    guides, _ = _guides(np.asarray(points, np.float64))
    indices = [*guides, *np.linspace(0, len(points) - 1, _WITNESSES).astype(int).tolist()]
    return indices, points[indices].ravel().tolist()


def applied_since(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How the axes were turned and scaled from noted points to where these are now, [3, 3].

    Exactly the identity where nothing was applied, or something else moved the points.
    """
    if np.array_equal(before, now):
        return np.eye(3)
    axes = _axes(now[:-_WITNESSES])
    linear = axes.T @ np.linalg.inv(_axes(before[:-_WITNESSES]).T)
    errors = np.linalg.norm(now - now[0] - (before - before[0]) @ linear.T, axis=1)
    return linear if errors.max() <= _SAME * np.linalg.norm(axes[0]) else np.eye(3)


class _Sampler:
    """Reads a field at one point; where points were deleted, another one stands in for one that is beyond the end."""

    def __init__(self, writer: TreeWriter, geometry: bpy.types.NodeSocket) -> None:
        self._writer, self._geometry = writer, geometry
        counts = [
            writer.node("GeometryNodeAttributeDomainSize", {"Geometry": geometry}, component=component)
            for component in ("MESH", "POINTCLOUD")
        ]
        self._count = writer.math("ADD", *(socket(count.outputs, "Point Count") for count in counts))

    def __call__(self, field: bpy.types.NodeSocket, index: int) -> bpy.types.NodeSocket:
        within = self._writer.math("MODULO", float(index), self._count)
        inputs = {"Geometry": self._geometry, "Value": field, "Index": within}
        return self._writer.output("GeometryNodeSampleIndex", inputs, data_type="FLOAT_VECTOR", domain="POINT")


def _guides(points: np.ndarray) -> tuple[list[int], int]:
    """Which points tell a transform, and which one whether they tell the truth.

    Args:
        points: Of the first frame [N, 3].

    Returns:
        Four that span a volume, else three that span an area, whose normal does for the fourth axis, else one, which
        tells the location alone; and the one between all of these, on whose place each has a say.
    """
    offsets = points - points.mean(axis=0)
    found = [int(np.square(offsets).sum(axis=1).argmax())]
    rest = points - points[found[0]]
    size = np.linalg.norm(rest, axis=1).max()
    for _ in range(3):
        lengths = np.linalg.norm(rest, axis=1)
        farthest = int(lengths.argmax())
        if lengths[farthest] <= _FLAT * size:
            break
        found.append(farthest)
        axis = rest[farthest] / lengths[farthest]
        rest = rest - np.outer(rest @ axis, axis)
    if len(found) < 3:
        return found[:1], found[0]
    coordinates = transform_points(np.linalg.inv(_frame(points[found])), points)
    say = np.column_stack([1 - coordinates.sum(axis=1), coordinates])[:, : len(found)]
    return found, int(say.min(axis=1).argmax())


def _frame(points: np.ndarray) -> np.ndarray:
    """The matrix whose origin is the first point, with the axes that lead to the others, [4, 4]."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.transpose(_axes(points)), points[0]
    return matrix


def _axes(points: np.ndarray) -> np.ndarray:
    """From the first point to the others, with the normal of two as the third; [3, 3], one per row."""
    if len(points) == 1:
        return np.eye(3)
    axes = points[1:] - points[0]
    if len(axes) == 3:
        return axes
    normal = np.cross(*axes)
    # As long as the axes are, and not as their product.
    return np.vstack([axes, normal / np.sqrt(np.linalg.norm(normal))])


def _is_greater(
    writer: TreeWriter, first: bpy.types.NodeSocket | float, second: bpy.types.NodeSocket | float
) -> bpy.types.NodeSocket:
    inputs = {"A": first, "B": second}
    return writer.output("FunctionNodeCompare", inputs, data_type="FLOAT", operation="GREATER_THAN")


def _all(writer: TreeWriter, *conditions: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    found = conditions[0]
    for each in conditions[1:]:
        inputs = {"Boolean": found, "Boolean_001": each}
        found = writer.output("FunctionNodeBooleanMath", inputs, operation="AND")
    return found
