"""Where the vertices of a mesh object are at every frame, as the viewport shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.errors import SelectionError
from ..importer.placement import transform_points


@dataclass(frozen=True, eq=False)
class VertexTracks:
    """A mesh in motion.

    Attributes:
        frames: Scene frames [T].
        world: Positions in metres, float64 [T, V, 3].
        matrices: Of the object, [T, 4, 4].
    """

    frames: tuple[int, ...]
    world: np.ndarray
    matrices: np.ndarray

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


def read_vertex_tracks(scene: bpy.types.Scene, thing: bpy.types.Object, frames: Sequence[int]) -> VertexTracks:
    """Evaluate an object of the scene frame by frame.

    Args:
        scene: The current scene; its frame changes.
        thing: A mesh object in it.
        frames: Scene frames.

    Raises:
        SelectionError: The object is hidden, or the number of its vertices changes.
    """
    if not thing.visible_get(view_layer=scene.view_layers[0]):
        # Blender does not evaluate it, so it would stand still.
        raise SelectionError(f"{thing.name!r} is hidden.", "Make it visible in the Outliner (the screen icon).")
    world, matrices = [], []
    for frame in frames:
        scene.frame_set(frame)
        evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
        positions = np.empty((len(evaluated.data.vertices), 3), np.float32)
        evaluated.data.vertices.foreach_get("co", positions.ravel())
        matrices.append(np.array(evaluated.matrix_world, np.float64))
        world.append(transform_points(matrices[-1], positions.astype(np.float64)))
        if len(world[-1]) != len(world[0]):
            raise SelectionError(
                f"{thing.name!r} has {len(world[0])} vertices at frame {frames[0]} but {len(world[-1])} at {frame}.",
                "Turn off the modifiers that change their number.",
            )
    return VertexTracks(tuple(frames), np.stack(world), np.stack(matrices))
