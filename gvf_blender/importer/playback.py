"""Tracks as per-frame attributes, and the nodes that pick and mix two of them by a Frame value.

The frame's attribute is found by building its name, `position_7`, from the frame number. Evaluation costs
the same for any number of frames, needs no add-on and no handler, and mixes sub-frames.
"""

from dataclasses import dataclass
from typing import Literal

import bpy
import numpy as np

from .nodes import TreeWriter, socket
from .rotation_mix import mix_rotations

Kind = Literal["FLOAT", "FLOAT_VECTOR", "QUATERNION"]

_VALUE_PROPERTY: dict[Kind, str] = {"FLOAT": "value", "FLOAT_VECTOR": "vector", "QUATERNION": "value"}
_SOCKET_TYPE: dict[Kind, str] = {"FLOAT": "FLOAT", "FLOAT_VECTOR": "VECTOR", "QUATERNION": "ROTATION"}
# Keys are evaluated in 32 bits: 6.9999995 is meant as 7.
_WHOLE = 1e-4


@dataclass(frozen=True, eq=False)
class Track:
    """Values per frame and point, to be stored as attributes `<name>_0`, `<name>_1`, ...

    Attributes:
        name: Prefix of the attributes.
        kind: Blender's attribute type.
        values: [T, N] or [T, N, components]; one frame if nothing changes.
    """

    name: str
    kind: Kind
    values: np.ndarray

    @property
    def frame_count(self) -> int:
        """Number of stored frames; 1 if nothing changes."""
        return len(self.values)

    def attribute(self, frame: int) -> str:
        """Name of the attribute that holds a frame."""
        return f"{self.name}_{frame}"


def store_track(data: bpy.types.Mesh | bpy.types.PointCloud, track: Track) -> None:
    """Store a track on the points of a mesh or point cloud."""
    for frame, values in enumerate(track.values):
        attribute = data.attributes.new(track.attribute(frame), track.kind, "POINT")
        attribute.data.foreach_set(_VALUE_PROPERTY[track.kind], np.ascontiguousarray(values, np.float32).ravel())


def stored_frames(data: bpy.types.Mesh | bpy.types.PointCloud, name: str, limit: int | None = None) -> np.ndarray:
    """What `store_track` stored under a name, float32 [T, N, ...]; [0] where nothing is.

    Args:
        data: Mesh or point cloud.
        name: Name of the track.
        limit: Read at most so many frames.
    """
    frames: list[np.ndarray] = []
    while len(frames) != limit and (found := data.attributes.get(f"{name}_{len(frames)}")) is not None:
        size = {"FLOAT": 1, "FLOAT_VECTOR": 3, "QUATERNION": 4}[found.data_type]
        values = np.empty((len(found.data), size), np.float32)
        found.data.foreach_get(_VALUE_PROPERTY[found.data_type], values.ravel())
        frames.append(values if size > 1 else values[:, 0])
    return np.array(frames, np.float32)


def new_point_mesh(name: str, positions: np.ndarray) -> bpy.types.Mesh:
    """A mesh of loose vertices at the given positions, metres [N, 3]."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(positions))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(positions, np.float32).ravel())
    mesh.update()
    return mesh


class FramePicker:
    """Nodes that turn a Frame value into the two neighboring frames and the weight of the later one."""

    def __init__(self, writer: TreeWriter, frame: bpy.types.NodeSocket, frame_count: int) -> None:
        self._writer = writer
        self._names: tuple[bpy.types.NodeSocket, ...] = ()
        if frame_count == 1:
            return
        last = float(frame_count - 1)
        clamped = writer.math("MINIMUM", writer.math("MAXIMUM", frame, 0.0), last)
        nearest = writer.math("ROUND", clamped)
        is_whole = writer.math("COMPARE", clamped, nearest, _WHOLE)
        moment = writer.output(
            "GeometryNodeSwitch", {"Switch": is_whole, "False": clamped, "True": nearest}, input_type="FLOAT"
        )
        earlier = writer.math("FLOOR", moment)
        later = writer.math("MINIMUM", writer.math("ADD", earlier, 1.0), last)
        self._weight = writer.math("SUBTRACT", moment, earlier)
        # One number and no field, so that a switch by it evaluates one side only: mixing costs as much as the rest.
        self._is_between = writer.output(
            "FunctionNodeCompare", {"A": self._weight, "B": 0.0}, data_type="FLOAT", operation="GREATER_THAN"
        )
        self._names = tuple(
            writer.output("FunctionNodeValueToString", {"Value": whole, "Decimals": 0}, label=label)
            for whole, label in ((earlier, "Earlier frame"), (later, "Later frame"))
        )

    def field(self, track: Track, geometry: bpy.types.NodeSocket | None = None) -> bpy.types.NodeSocket:
        """A field with the track's values at the frame.

        Args:
            track: What to read; it must have been stored with `store_track`.
            geometry: Read from the point with the same index of this geometry, instead of from the
                geometry on which the field is evaluated.
        """
        if track.frame_count == 1:
            return self._read(track, track.attribute(0), geometry)
        earlier, later = (self._read(track, self._attribute_name(track, number), geometry) for number in self._names)
        choice = {"Switch": self._is_between, "False": earlier, "True": self._mix(track, earlier, later)}
        return self._writer.output("GeometryNodeSwitch", choice, input_type=_SOCKET_TYPE[track.kind])

    def _mix(self, track: Track, earlier: bpy.types.NodeSocket, later: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        if track.kind == "QUATERNION":
            return mix_rotations(self._writer, earlier, later, self._weight)
        mix = self._writer.node("ShaderNodeMix", data_type=_SOCKET_TYPE[track.kind], label=f"Mix {track.name}")
        for name, value in (("Factor", self._weight), ("A", earlier), ("B", later)):
            self._writer.feed(socket(mix.inputs, name), value)
        return socket(mix.outputs, "Result")

    def _attribute_name(self, track: Track, number: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        join = self._writer.node("GeometryNodeStringJoin")
        prefix = self._writer.output("FunctionNodeInputString", string=f"{track.name}_")
        # A multi-input puts the latest link first.
        self._writer.feed(join.inputs["Strings"], number)
        self._writer.feed(join.inputs["Strings"], prefix)
        return join.outputs["String"]

    def _read(
        self, track: Track, name: bpy.types.NodeSocket | str, geometry: bpy.types.NodeSocket | None
    ) -> bpy.types.NodeSocket:
        value = self._writer.output("GeometryNodeInputNamedAttribute", {"Name": name}, data_type=track.kind)
        if geometry is None:
            return value
        index = self._writer.output("GeometryNodeInputIndex")
        inputs = {"Geometry": geometry, "Value": value, "Index": index}
        return self._writer.output("GeometryNodeSampleIndex", inputs, data_type=track.kind, domain="POINT")
