"""Capturing an asset step by step, so that a panel can show progress and cancel between two views."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import bpy
import numpy as np

from ..core.capture_file import write_capture
from ..core.errors import FileError, RenderError, SelectionError, SettingsError
from ..core.sources import SourceObject
from .folder import temporary_folder
from .frame import at_frame
from .geometry import Piece, evaluated_pieces, world_from_unit
from .scene import UnlitScene
from .scratch import Scratch
from .selection import surface_objects
from .viewpoints import intrinsics, occupied_region, sphere_cameras

LOGGER = logging.getLogger(__name__)

VIEW_PRESETS = {"draft": 24, "standard": 60, "official": 150}
"""Numbers of views by name; the released networks were trained with 150."""
MAX_VIEWS = 1000


@dataclass(frozen=True)
class CaptureOptions:
    """How the views are taken.

    Attributes:
        views: Number of views.
        size: Width and height of a view in pixels.
        samples: Cycles samples per pixel; they only smooth edges and textures, as nothing is lit.
        movable: Name of a vertex group that says what may move; none for everything.
    """

    views: int = VIEW_PRESETS["standard"]
    size: int = 512
    samples: int = 4
    movable: str = ""

    def __post_init__(self) -> None:
        for name, low, high in (("views", 1, MAX_VIEWS), ("size", 16, 4096), ("samples", 1, 4096)):
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}.", f"Choose a number from {low} to {high}.")


@dataclass(frozen=True, eq=False)
class CaptureResult:
    """A written capture.

    Attributes:
        path: The capture file.
        sources: What the captured vertices belong to, in their order.
        world_from_unit: From the unit frame to the scene, float64 [4, 4], metres.
    """

    path: Path
    sources: tuple[SourceObject, ...]
    world_from_unit: np.ndarray


class CaptureSession:
    """One capture in progress; a context manager.

    The user's scene, selection, frame and settings are the same after every call. Until `close` the file holds a
    temporary scene with copies of the geometry and of the materials.
    """

    def __init__(
        self,
        context: bpy.types.Context,
        objects: Sequence[bpy.types.Object],
        path: Path,
        options: CaptureOptions | None = None,
        frame: float | None = None,
    ) -> None:
        """Evaluate the geometry and build the temporary scene.

        Args:
            context: Gives scene and view layer.
            objects: The selected objects; armatures and empties stand for the meshes below them.
            path: Capture file to write.
            options: How the views are taken; None for the defaults.
            frame: Scene frame of the pose, may have a fraction; None for the current one.

        Raises:
            SelectionError: The objects cannot be captured.
            RenderError: Blender cannot render here.
            FileError: The folder of `path` or the temporary folder cannot be used.
        """
        self.result: CaptureResult | None = None
        self._path = Path(path)
        self._options = options or CaptureOptions()
        self._cameras = sphere_cameras(self._options.views)
        self._pngs: list[bytes] = []
        self._folder: Path | None = None
        if not self._path.parent.is_dir():
            raise FileError(f"There is no folder {self._path.parent} for the capture.", "Choose an existing folder.")
        self._scratch = Scratch()
        try:
            with at_frame(context.scene, frame):
                surfaces = surface_objects(context, objects)
                self._pieces = evaluated_pieces(context, surfaces, objects, self._scratch, self._options.movable)
                _check_movable(self._pieces, self._options.movable)
                self._world_from_unit = world_from_unit(self._pieces)
                unit_from_world = np.linalg.inv(self._world_from_unit)
                vertices = np.concatenate([piece.vertices for piece in self._pieces])
                self._vertices = vertices @ unit_from_world[:3, :3].T + unit_from_world[:3, 3]
                self._scene = UnlitScene(
                    context,
                    self._pieces,
                    unit_from_world,
                    self._options.size,
                    self._options.samples,
                    self._scratch,
                )
            self._folder = temporary_folder()
        except BaseException:
            self.close()
            raise

    @property
    def sources(self) -> tuple[SourceObject, ...]:
        """What the captured vertices belong to, in their order."""
        return sources_of(self._pieces)

    def step(self) -> float:
        """Render one view; the last one also writes the capture file and sets `result`.

        Returns:
            The fraction done, 1.0 at the end.

        Raises:
            RenderError: Blender did not render, or the temporary scene is gone.
            FileError: A view or the capture file cannot be written.
        """
        if self.result is not None:
            return 1.0
        if self._folder is None:
            raise RuntimeError("this capture session is closed")
        camera = self._cameras[len(self._pngs)]
        try:
            # Half of a usual view is empty, and a ray into emptiness costs half as much as one that hits something.
            self._scene.look_at_region(*occupied_region(self._vertices, camera, self._options.size))
            png = self._scene.render(camera, self._folder / "view.png")
        except ReferenceError as error:
            raise RenderError(
                "The temporary scene of the capture was removed, for example by an undo.", "Start again."
            ) from error
        self._pngs.append(png)
        if len(self._pngs) == self._options.views:
            self._write()
        return len(self._pngs) / self._options.views

    def close(self) -> None:
        """Remove every temporary datablock and file; harmless when called again."""
        self._scratch.remove()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> "CaptureSession":
        """The session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close, also after an error."""
        self.close()

    def _write(self) -> None:
        sources = self.sources
        write_capture(
            self._path,
            vertices=self._vertices,
            triangles=np.concatenate(
                [piece.triangles + source.vertex_start for piece, source in zip(self._pieces, sources, strict=True)]
            ),
            object_id=np.repeat(np.arange(len(sources)), [source.vertex_count for source in sources]),
            objects=[source.name for source in sources],
            world_from_unit=self._world_from_unit,
            world_to_camera=self._cameras,
            intrinsics=intrinsics(len(self._cameras)),
            pngs=self._pngs,
            movable=_movable(self._pieces),
        )
        LOGGER.info("Captured %d vertices of %d objects to %s.", len(self._vertices), len(sources), self._path)
        self.result = CaptureResult(self._path, sources, self._world_from_unit)


def capture(
    context: bpy.types.Context,
    objects: Sequence[bpy.types.Object],
    path: Path,
    options: CaptureOptions | None = None,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> CaptureResult:
    """Capture objects in one go; arguments and errors as for `CaptureSession`.

    Args:
        context: Gives the view layer and the frame.
        objects: The selected objects.
        path: Capture file to write.
        options: How the views are taken; None for the defaults.
        on_progress: Called with the fraction done after each view.
    """
    with CaptureSession(context, objects, path, options) as session:
        while session.result is None:
            on_progress(session.step())
        return session.result


def sources_of(pieces: Sequence[Piece]) -> tuple[SourceObject, ...]:
    """What the vertices of a capture belong to, piece after piece."""
    starts = np.cumsum([0] + [len(piece.vertices) for piece in pieces])
    return tuple(
        SourceObject(piece.name, piece.matrix_world, int(start), len(piece.vertices), piece.is_instance)
        for piece, start in zip(pieces, starts[:-1], strict=True)
    )


def _check_movable(pieces: Sequence[Piece], name: str) -> None:
    if name and all(piece.movable is None for piece in pieces):
        raise SelectionError(
            f"None of the objects has a vertex group called {name!r}.", "Choose another group, or none to move all."
        )


def _movable(pieces: Sequence[Piece]) -> np.ndarray | None:
    """Weights of all vertices; None where everything may move."""
    if all(piece.movable is None for piece in pieces):
        return None
    parts = (np.ones(len(p.vertices), np.float32) if p.movable is None else p.movable for p in pieces)
    return np.concatenate(list(parts))
