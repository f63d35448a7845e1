"""Where the vertices of mesh objects are at every frame, as the viewport shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.errors import SelectionError
from ..importer.placement import transform_points
from .stage import depsgraph_of


@dataclass(frozen=True, eq=False)
class VertexTracks:
    """A mesh in motion.

    Attributes:
        frames: Scene frames [T].
        world: Positions in metres, float64 [T, V, 3].
        matrices: Of the object, [T, 4, 4].
        shown: Whether the object is there, [T]; where a key hides it, Blender does not evaluate it, and it waits as it
            was last shown, or will be first.
    """

    frames: tuple[int, ...]
    world: np.ndarray
    matrices: np.ndarray
    shown: np.ndarray

    @property
    def first_matrix(self) -> np.ndarray:
        """Of the object at the first frame, [4, 4]."""
        return self.matrices[0]

    @property
    def places(self) -> np.ndarray:
        """Where the object stands [T, 3]."""
        return self.matrices[:, :3, 3]

    @property
    def local(self) -> np.ndarray:
        """Positions relative to where the object stands at the first frame, [T, V, 3]."""
        return transform_points(np.linalg.inv(self.first_matrix), self.world)


def read_vertex_tracks(
    scene: bpy.types.Scene, things: Sequence[bpy.types.Object], frames: Sequence[int]
) -> list[VertexTracks]:
    """Evaluate objects of the scene frame by frame.

    Args:
        scene: A stage; its frame changes.
        things: Mesh objects in it.
        frames: Scene frames.

    Raises:
        SelectionError: An object is hidden in all frames, shows instances, or the number of its vertices changes.
    """
    world: list[list[np.ndarray]] = [[] for _ in things]
    matrices: list[list[np.ndarray]] = [[] for _ in things]
    shown: list[list[bool]] = [[] for _ in things]
    for frame in frames:
        scene.frame_set(frame)
        depsgraph = depsgraph_of(scene)
        for thing, positions, places, there in zip(things, world, matrices, shown, strict=True):
            evaluated = thing.evaluated_get(depsgraph)
            there.append(not evaluated.hide_viewport)
            if not there[-1]:
                continue
            local = np.empty((len(evaluated.data.vertices), 3), np.float32)
            evaluated.data.vertices.foreach_get("co", local.ravel())
            places.append(np.array(evaluated.matrix_world, np.float64))
            positions.append(transform_points(places[-1], local.astype(np.float64)))
            if len(positions) == 1 and any(one.parent == evaluated for one in depsgraph.object_instances):
                raise SelectionError(
                    f"{thing.name!r} shows instances, which are no vertices of its own.",
                    "Add Realize Instances at the end of its Geometry Nodes, or make instances real.",
                )
            if len(positions[-1]) != len(positions[0]):
                raise SelectionError(
                    f"{thing.name!r} has {len(positions[0])} vertices at frame {frames[there.index(True)]} but "
                    f"{len(positions[-1])} at {frame}.",
                    "Turn off the modifiers that change their number.",
                )
    tracks = []
    for thing, positions, places, there in zip(things, world, matrices, shown, strict=True):
        if not positions:
            text = f"{thing.name!r} is hidden in all frames."
            raise SelectionError(text, "Make it visible in the Outliner (the screen icon).")
        latest = np.maximum(np.cumsum(there) - 1, 0)
        stacks = (np.stack([values[index] for index in latest]) for values in (positions, places))
        tracks.append(VertexTracks(tuple(frames), *stacks, np.array(there)))
    return tracks
