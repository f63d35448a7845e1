"""The Gaussians of an animation as playback tracks in metres, and the nodes that both result objects share."""

from dataclasses import dataclass, fields

import bpy
import numpy as np

from ..core.animation_file import Animation
from .materials import COLOR_ATTRIBUTE, OPACITY_ATTRIBUTE, ROTATION_ATTRIBUTE, SCALE_ATTRIBUTE
from .nodes import TreeWriter, add_float_input, socket
from .playback import FramePicker, Track, store_track

# How many standard deviations a Gaussian's opaque stand-in reaches: it then covers about as much as the
# visible part of the Gaussian.
SOLID_SIGMAS = 1.5
FRAME_INPUT = "Frame"
OVERLAY_INPUT = "Show Confidence"
CONFIDENCE_ATTRIBUTE = "splat_confidence"
_OVERLAY_BLUE = 0.05


def add_overlay_input(tree: bpy.types.NodeTree) -> None:
    """Add the switch between captured colours and confidence."""
    text = "1 colours every Gaussian by how far its motion can be trusted: green where sure, red where guessed"
    add_float_input(tree, OVERLAY_INPUT, 0.0, text, maximum=1.0)


@dataclass(frozen=True, eq=False)
class GaussianTracks:
    """All tracks of the Gaussians, in metres and relative to the placement of the animation."""

    position: Track
    rotation: Track
    scale: Track
    color: Track
    opacity: Track
    confidence: Track

    @classmethod
    def from_animation(cls, animation: Animation) -> "GaussianTracks":
        """Scale lengths to metres and bring float16 quaternions back to unit length."""
        quaternions = animation.quaternions.astype(np.float32)
        quaternions /= np.linalg.norm(quaternions, axis=-1, keepdims=True)
        metres = np.float32(animation.unit_scale)
        return cls(
            position=Track("position", "FLOAT_VECTOR", animation.means * metres),
            rotation=Track("rotation", "QUATERNION", quaternions),
            scale=Track("scale", "FLOAT_VECTOR", animation.scales.astype(np.float32) * metres),
            # Not FLOAT_COLOR: it takes a third more memory and would fill the artist's list of color attributes.
            color=Track("color", "FLOAT_VECTOR", animation.colors),
            opacity=Track("opacity", "FLOAT", animation.opacities),
            confidence=Track("confidence", "FLOAT", animation.confidence),
        )

    def store(self, data: bpy.types.Mesh | bpy.types.PointCloud) -> None:
        """Store every track on the points of a mesh or point cloud."""
        for field in fields(self):
            store_track(data, getattr(self, field.name))

    @property
    def frame_count(self) -> int:
        """Number of frames; 1 if nothing changes."""
        return max(getattr(self, field.name).frame_count for field in fields(self))


@dataclass(frozen=True, eq=False)
class GaussianFields:
    """Fields with the Gaussians' values at the current Frame."""

    position: bpy.types.NodeSocket
    rotation: bpy.types.NodeSocket
    scale: bpy.types.NodeSocket
    color: bpy.types.NodeSocket
    opacity: bpy.types.NodeSocket
    confidence: bpy.types.NodeSocket

    @classmethod
    def at_frame(cls, writer: TreeWriter, tracks: GaussianTracks, frame: bpy.types.NodeSocket) -> "GaussianFields":
        """Add the nodes that pick and mix the stored frames."""
        picker = FramePicker(writer, frame, tracks.frame_count)
        return cls(**{field.name: picker.field(getattr(tracks, field.name)) for field in fields(cls)})

    def radius(self, writer: TreeWriter, size: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """Radius of a sphere about as large as the Gaussian, times a size."""
        mean_scale = writer.vector_math("DOT_PRODUCT", self.scale, (SOLID_SIGMAS / 3,) * 3)
        return writer.math("MULTIPLY", mean_scale, size)

    def display_color(self, writer: TreeWriter, overlay: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """The captured colour, mixed with one that tells confidence: green where sure, red where not."""
        doubt = writer.math("SUBTRACT", 1.0, self.confidence)
        ramp = writer.output("ShaderNodeCombineXYZ", {"X": doubt, "Y": self.confidence, "Z": _OVERLAY_BLUE})
        difference = writer.vector_math("SUBTRACT", ramp, self.color)
        scaled = writer.node("ShaderNodeVectorMath", operation="SCALE")
        writer.feed(scaled.inputs[0], difference)
        writer.feed(socket(scaled.inputs, "Scale"), overlay)
        return writer.vector_math("ADD", self.color, scaled.outputs["Vector"])

    def store_for_display(
        self, writer: TreeWriter, points: bpy.types.NodeSocket, overlay: bpy.types.NodeSocket
    ) -> bpy.types.NodeSocket:
        """Give points the attributes that the materials, and the artist's own nodes, read."""
        for name, kind, value in (
            (COLOR_ATTRIBUTE, "FLOAT_COLOR", self.display_color(writer, overlay)),
            (CONFIDENCE_ATTRIBUTE, "FLOAT", self.confidence),
            (OPACITY_ATTRIBUTE, "FLOAT", self.opacity),
            (SCALE_ATTRIBUTE, "FLOAT_VECTOR", self.scale),
            (ROTATION_ATTRIBUTE, "QUATERNION", self.rotation),
        ):
            inputs = {"Geometry": points, "Name": name, "Value": value}
            points = writer.output("GeometryNodeStoreNamedAttribute", inputs, data_type=kind, domain="POINT")
        return points
