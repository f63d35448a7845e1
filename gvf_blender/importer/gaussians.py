"""The Gaussians of an animation as playback tracks in metres, and the nodes that both result objects share."""

from dataclasses import dataclass, fields

import bpy
import numpy as np

from ..core.animation_file import Animation
from ..core.splat_ply_file import SplatFrame
from .applied_transform import AppliedTransform
from .compat import remove_attributes
from .materials import COLOR_ATTRIBUTE, OPACITY_ATTRIBUTE, ROTATION_ATTRIBUTE, SCALE_ATTRIBUTE
from .nodes import TreeWriter, add_float_input, add_switch_input, has_input, socket
from .playback import FramePicker, Track, store_track
from .rotation_mix import in_one_hemisphere

# How many standard deviations a Gaussian's opaque stand-in reaches: it then covers about as much as the
# visible part of the Gaussian.
SOLID_SIGMAS = 1.5
FRAME_INPUT = "Frame"
SIZE_INPUT = "Size"
OVERLAY_INPUT = "Show Confidence"
IN_PLACE_INPUT = "In Place"
AMOUNT_INPUT = "Viewport Amount"
CONFIDENCE_ATTRIBUTE = "splat_confidence"
_OVERLAY_BLUE = 0.05
_MARKER = "gvf_gaussians"


def add_inputs(tree: bpy.types.NodeTree, tracks: "GaussianTracks") -> None:
    """Add the inputs that splats and points share, and mark the tree as one of ours."""
    tree[_MARKER] = True
    add_float_input(tree, FRAME_INPUT, 0.0, "Frame of the animation that is shown; frames in between are mixed")
    add_float_input(tree, SIZE_INPUT, 1.0, "Size of every splat or point relative to the captured one")
    text = "1 colours every Gaussian by how far its motion can be trusted: green where sure, red where guessed"
    add_float_input(tree, OVERLAY_INPUT, 0.0, text, maximum=1.0)
    if tracks.position.frame_count > 1:
        add_switch_input(tree, IN_PLACE_INPUT, "Stay on the spot: the way over the ground is taken out")
    add_float_input(tree, AMOUNT_INPUT, 1.0, "Part of the Gaussians that viewports show; renders show all", maximum=1.0)


def modifier_with(thing: bpy.types.Object, input_name: str) -> bpy.types.NodesModifier | None:
    """The modifier that shows Gaussians on an object, if it has such an input; an artist's own trees do not count."""
    for modifier in thing.modifiers:
        if has_input(modifier, input_name) and _MARKER in modifier.node_group:
            return modifier
    return None


def shows_gaussians(thing: bpy.types.Object) -> bool:
    """Whether an object is splats or points of ours."""
    return modifier_with(thing, FRAME_INPUT) is not None


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
            rotation=Track("rotation", "QUATERNION", in_one_hemisphere(quaternions)),
            scale=Track("scale", "FLOAT_VECTOR", animation.scales.astype(np.float32) * metres),
            # Not FLOAT_COLOR: it takes a third more memory and would fill the artist's list of color attributes.
            color=Track("color", "FLOAT_VECTOR", animation.colors),
            opacity=Track("opacity", "FLOAT", animation.opacities),
            confidence=Track("confidence", "FLOAT", animation.confidence),
        )

    @classmethod
    def from_frame(cls, frame: SplatFrame) -> "GaussianTracks":
        """Splats that stand still, where they are."""
        return cls(
            position=Track("position", "FLOAT_VECTOR", frame.positions[None]),
            rotation=Track("rotation", "QUATERNION", frame.rotations[None]),
            scale=Track("scale", "FLOAT_VECTOR", frame.scales[None]),
            color=Track("color", "FLOAT_VECTOR", frame.colors[None]),
            opacity=Track("opacity", "FLOAT", frame.opacities[None]),
            confidence=Track("confidence", "FLOAT", np.ones((1, len(frame.positions)))),
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
    def at_frame(
        cls, writer: TreeWriter, tracks: GaussianTracks, inputs: bpy.types.NodeInputs | bpy.types.NodeOutputs
    ) -> "GaussianFields":
        """Add the nodes that pick and mix the stored frames.

        Args:
            writer: Of the tree.
            tracks: What the geometry carries.
            inputs: Sockets with the values of the tree's inputs.
        """
        picker = FramePicker(writer, inputs[FRAME_INPUT], tracks.frame_count)
        picked = {field.name: picker.field(getattr(tracks, field.name)) for field in fields(cls)}
        if tracks.position.frame_count > 1:
            picked["position"] = _in_place(writer, tracks.position, picked["position"], inputs)
        applied = AppliedTransform(writer, inputs["Geometry"], tracks.position)
        for name in ("position", "rotation", "scale"):
            picked[name] = getattr(applied, name)(picked[name])
        return cls(**picked)

    def display_color(self, writer: TreeWriter, overlay: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """The captured colour, mixed with one that tells confidence: green where sure, red where not."""
        doubt = writer.math("SUBTRACT", 1.0, self.confidence)
        ramp = writer.output("ShaderNodeCombineXYZ", {"X": doubt, "Y": self.confidence, "Z": _OVERLAY_BLUE})
        difference = writer.vector_math("SUBTRACT", ramp, self.color)
        scaled = writer.node("ShaderNodeVectorMath", operation="SCALE")
        writer.feed(scaled.inputs[0], difference)
        writer.feed(socket(scaled.inputs, "Scale"), overlay)
        mixed = writer.vector_math("ADD", self.color, scaled.outputs["Vector"])
        shown = writer.output(
            "FunctionNodeCompare", {"A": overlay, "B": 0.0}, data_type="FLOAT", operation="GREATER_THAN"
        )
        return writer.output(
            "GeometryNodeSwitch", {"Switch": shown, "False": self.color, "True": mixed}, input_type="VECTOR"
        )

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


def stored_radius(writer: TreeWriter, size: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Radius of a sphere about as large as the Gaussian, times a size.

    For points that carry the shown scale (`store_for_display`), as every further use of a mixed field mixes again.
    """
    scale = writer.output("GeometryNodeInputNamedAttribute", {"Name": SCALE_ATTRIBUTE}, data_type="FLOAT_VECTOR")
    mean_scale = writer.vector_math("DOT_PRODUCT", scale, (SOLID_SIGMAS / 3,) * 3)
    return writer.math("MULTIPLY", mean_scale, size)


def without_frames(writer: TreeWriter, tracks: GaussianTracks, points: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Take the stored frames off points that carry the shown one: nothing after this has to copy them."""
    for field in fields(tracks):
        points = remove_attributes(writer, points, f"{getattr(tracks, field.name).name}_*")
    return points


def thinned_out(
    writer: TreeWriter, points: bpy.types.NodeSocket, light: bpy.types.NodeSocket, amount: bpy.types.NodeSocket
) -> bpy.types.NodeSocket:
    """Leave only a random part of the points where a viewport shows them.

    Args:
        writer: Of the tree.
        points: What shows where all do.
        light: The same points without what need not be copied, to take the part from.
        amount: The part, 0..1.
    """
    is_viewport = writer.output("GeometryNodeIsViewport")
    few = writer.output("FunctionNodeCompare", {"A": amount, "B": 1.0}, data_type="FLOAT", operation="LESS_THAN")
    thin = writer.output("FunctionNodeBooleanMath", {"Boolean": is_viewport, "Boolean_001": few}, operation="AND")
    chance = writer.output("FunctionNodeRandomValue", data_type="FLOAT")
    spare = writer.output(
        "FunctionNodeCompare", {"A": chance, "B": amount}, data_type="FLOAT", operation="GREATER_THAN"
    )
    left = writer.output("GeometryNodeDeleteGeometry", {"Geometry": light, "Selection": spare}, domain="POINT")
    # A switch of geometries, so that nothing is counted out where all are shown.
    return writer.output("GeometryNodeSwitch", {"Switch": thin, "False": points, "True": left}, input_type="GEOMETRY")


def _in_place(
    writer: TreeWriter,
    track: Track,
    position: bpy.types.NodeSocket,
    inputs: bpy.types.NodeInputs | bpy.types.NodeOutputs,
) -> bpy.types.NodeSocket:
    """Positions without their common way in x and y, if the switch is on."""
    middle = writer.node(
        "GeometryNodeAttributeStatistic",
        {"Geometry": inputs["Geometry"], "Attribute": position},
        data_type="FLOAT_VECTOR",
        domain="POINT",
    )
    start = np.asarray(track.values[0]).mean(axis=0, dtype=np.float64)
    way = writer.vector_math("SUBTRACT", socket(middle.outputs, "Mean"), tuple(start))
    moved = writer.vector_math("SUBTRACT", position, writer.vector_math("MULTIPLY", way, (1.0, 1.0, 0.0)))
    choice = {"Switch": inputs[IN_PLACE_INPUT], "False": position, "True": moved}
    return writer.output("GeometryNodeSwitch", choice, input_type="VECTOR")
