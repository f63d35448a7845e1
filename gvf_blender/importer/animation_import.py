"""From an animation file to keyframed objects in the scene, exactly where the source object stands."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..artist_render import refuse_beside_render
from ..core.animation_file import Animation, read_animation
from ..core.errors import FileError
from ..core.import_size import GAUSSIAN_TRACKS, in_words, tracks_size
from ..core.sentence import showable
from ..core.sources import SourceObject
from ..source_marks import find_source
from .gaussians import GaussianTracks
from .keyframes import FrameMapping
from .motion import add_motion, obstacle_to_motion, own_movement, render_mismatch
from .own_animation import can_be_followed, is_still
from .placement import moved_by
from .points import new_point_cloud_object
from .provenance import PROVENANCE_PROPERTY
from .render_choice import choose_rendered
from .result_removal import COLLECTION_MARK
from .root import without_root
from .same_import import mark_import
from .splats import new_splat_object
from .track_cache import TrackCache, move_to_cache
from .transaction import Transaction
from .transparency import bounces_warning
from .view_layers import show_in_layers_of

LOGGER = logging.getLogger(__name__)

_SHEAR_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ImportOptions:
    """What to make of an animation.

    Attributes:
        splats: Make the splat object.
        points: Make the point-cloud object.
        motion: Let the source objects themselves move.
        frame_start: Scene frame of the animation's first frame; None is the scene's current frame.
        cache: When and where large tracks are kept in a file of their own; None keeps all in the .blend file.
    """

    splats: bool = True
    points: bool = True
    motion: bool = True
    frame_start: int | None = None
    cache: TrackCache | None = None


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        splats: The splat object, if asked for.
        points: The point-cloud object, if asked for.
        motion: The source objects that move now.
        warnings: Sentences for the artist about what was left out or needs attention, those of the server first.
    """

    splats: bpy.types.Object | None
    points: bpy.types.Object | None
    motion: tuple[bpy.types.Object, ...]
    warnings: tuple[str, ...]


def import_animation(
    context: bpy.types.Context,
    path: Path,
    sources: Sequence[SourceObject],
    options: ImportOptions = ImportOptions(),
) -> Imported:
    """Import an animation as keyframed objects; all of it, or nothing if anything fails.

    New objects lie where the first source object that still exists stands now: if it was moved since the
    capture, they follow. A source object that is gone or was changed is left out, which
    `Imported.warnings` says. An earlier imported motion of a source object is replaced. Renders show the
    splats, if there are any, and not the points and the originals that move inside them.

    Args:
        context: Its scene receives the objects.
        path: A `gvf-animation` file.
        sources: The objects of the capture, in its order.
        options: What to make.

    Raises:
        FileError: The file is not a valid animation, or not one of this capture.
        SelectionError: An object whose root would be taken back is in Edit Mode.
        RenderError: The artist renders.
    """
    refuse_beside_render("imported")
    animation = read_animation(path)
    _check_sources(path, animation, sources)
    # Matrices of objects that were moved by a script are stale until then.
    context.view_layer.update()
    mapping = FrameMapping.of_scene(context.scene, animation.fps, animation.frame_count, options.frame_start)
    with without_root(context, _moved(context, sources)), Transaction() as transaction:
        title = (_name(context, sources[0]) if sources else showable(path.stem)) + _mark(animation)
        run = _Run(context, transaction, animation, sources, mapping, title, warnings=list(animation.warnings))
        splats, points = run.add_results(options)
        motion = run.add_motions() if options.motion else ()
        made = [thing for thing in (splats, points, *motion) if thing is not None]
        mark_import(transaction, made)
        run.warnings.extend(choose_rendered(transaction, made))
        context.view_layer.update()
    for warning in run.warnings:
        LOGGER.warning(warning)
    return Imported(splats, points, motion, tuple(run.warnings))


def _moved(context: bpy.types.Context, sources: Sequence[SourceObject]) -> list[bpy.types.Object]:
    """The objects that must stand where they stand without their earlier motion, if they have one."""
    found = ((source, find_source(context.view_layer.objects, source)) for source in sources)
    return [each for source, each in found if each and obstacle_to_motion(context, source, each) is None]


def _name(context: bpy.types.Context, source: SourceObject) -> str:
    """What a source object is called now, or was when it was captured."""
    found = find_source(context.view_layer.objects, source)
    return source.name if found is None else found.name


def _mark(animation: Animation) -> str:
    """What tells everywhere in Blender that an animation means nothing: its networks were never trained."""
    return " (random weights)" if animation.provenance.get("is_result") is False else ""


def _check_sources(path: Path, animation: Animation, sources: Sequence[SourceObject]) -> None:
    needed = max((source.vertex_start + source.vertex_count for source in sources), default=0)
    if needed > animation.vertex_count:
        raise FileError(
            f"{path.name} moves {animation.vertex_count} vertices, but the captured objects have {needed}.",
            "Import the result of the same capture.",
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """One import under way; collects its warnings."""

    context: bpy.types.Context
    transaction: Transaction
    animation: Animation
    sources: Sequence[SourceObject]
    mapping: FrameMapping
    title: str
    warnings: list[str] = field(default_factory=list)

    def add_results(self, options: ImportOptions) -> tuple[bpy.types.Object | None, bpy.types.Object | None]:
        """Add the chosen result objects in a collection of their own."""
        if not (options.splats or options.points):
            return None, None
        tracks = GaussianTracks.from_animation(self.animation)
        splats = points = None
        if options.splats:
            splats = new_splat_object(f"{self.title} splats", tracks, self.mapping)
        if options.points:
            points = new_point_cloud_object(self.context, f"{self.title} points", tracks, self.mapping)
        results = [result for result in (splats, points) if result is not None]
        if options.cache is not None:
            self._keep_in_file(results, options.cache)
        self._place(results)
        warning = bounces_warning(self.context.scene)
        if splats is not None and warning is not None:
            self.warnings.append(warning)
        return splats, points

    def _keep_in_file(self, results: list[bpy.types.Object], cache: TrackCache) -> None:
        size = tracks_size((getattr(self.animation, name).shape for name in GAUSSIAN_TRACKS), len(results))
        if size <= cache.above:
            return
        path = move_to_cache(self.transaction, results, cache.folder, self.title)
        self.warnings.append(
            f"The tracks take {in_words(size)}, so they are kept in {path}, which belongs to the .blend file like a "
            "texture: keep both together."
        )

    def _place(self, results: list[bpy.types.Object]) -> None:
        collection = bpy.data.collections.new(f"{self.title} GVF")
        collection[COLLECTION_MARK] = True
        self.context.scene.collection.children.link(collection)
        self._show_in_layers(collection)
        matrix = Matrix(self._movement_since_capture() @ self.animation.placement)
        for result in results:
            collection.objects.link(result)
            result.matrix_world = matrix
            result[PROVENANCE_PROPERTY] = json.dumps(self.animation.provenance, sort_keys=True)
        # Location, rotation and scale of an object cannot express a shear.
        if not np.allclose(results[0].matrix_basis, matrix, atol=_SHEAR_TOLERANCE * self.animation.unit_scale):
            self.warnings.append(
                f"{self.title} was sheared since the capture, which results cannot follow exactly: capture it again."
            )
        self._let_follow(results)

    def _show_in_layers(self, collection: bpy.types.Collection) -> None:
        # An instance shows in other view layers than the object that it shows.
        own = (source for source in self.sources if not source.is_instance)
        found = (find_source(self.context.view_layer.objects, source) for source in own)
        original = next(filter(None, found), None)
        if original is not None:
            show_in_layers_of(original, collection, self.context.scene)

    def _let_follow(self, results: list[bpy.types.Object]) -> None:
        """Hang results onto their original, so that they go where the artist moves it from now on."""
        if len(self.sources) != 1 or self.sources[0].is_instance:
            return
        original = find_source(self.context.view_layer.objects, self.sources[0])
        if original is None or not can_be_followed(original):
            return
        for result in results:
            result.parent = original
            result.matrix_parent_inverse = original.matrix_world.inverted()

    def _movement_since_capture(self) -> np.ndarray:
        for source in self.sources:
            found = find_source(self.context.view_layer.objects, source)
            # An instance stands elsewhere than the object that it shows.
            if found is None or source.is_instance:
                continue
            # Its place at the present frame does not tell where it would stand at the frame of the capture.
            if not is_still(found):
                return np.eye(4)
            return moved_by(np.asarray(source.matrix_world, np.float64), np.array(found.matrix_world, np.float64))
        if self.sources:
            self.warnings.append(
                f"{self.title} is not in the scene on its own, so its results lie where it was captured."
            )
        return np.eye(4)

    def add_motions(self) -> tuple[bpy.types.Object, ...]:
        """Let every source object move that can."""
        if len(self.animation.vertices) == 1:
            self.warnings.append("The animation moves no vertices, so the source objects stay as they are.")
            return ()
        moved = []
        for source in self.sources:
            found = find_source(self.context.view_layer.objects, source)
            obstacle = obstacle_to_motion(self.context, source, found)
            if obstacle is not None:
                self.warnings.append(obstacle)
                continue
            add_motion(self.transaction, found, source, self.animation, self.mapping)
            moved.append(found)
            self.warnings.extend(filter(None, (own_movement(found), render_mismatch(found))))
        return tuple(moved)
