"""What one animation is asked to be, checked at the door: before a view is rendered or a byte is sent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .capture import MAX_VIEWS, VIEW_PRESETS
from .capture.selection import SURFACE_TYPES, surface_objects
from .core.errors import FileError, SelectionError, SettingsError
from .core.further_video import FurtherVideo, further_videos
from .core.motion_settings import MotionSettings
from .core.sentence import Sentence
from .importer.gaussians import shows_gaussians
from .user_path import user_path

OUTPUTS = ("splats", "points", "motion")
MOST_FRAME = 1_048_574
"""The last scene frame that Blender can go to; the first is as far on the other side."""
# Empties and armatures stand for the meshes below them.
_PROMISING_TYPES = SURFACE_TYPES | {"EMPTY", "ARMATURE"}


@dataclass(frozen=True)
class AnimateRequest:
    """One animation to be made.

    Objects are held by name because Blender's undo and file load invalidate every pointer.

    Attributes:
        objects: Names of the objects to animate.
        video: The driving video.
        settings: How the motion is found.
        outputs: What is imported: any of "splats", "points" and "motion".
        frame_start: Scene frame of the first video frame; None takes the frame of the capture.
        views: Number of rendered views.
        movable: Name of the vertex group that says what may move; none for everything.
        further: Synchronised videos from other sides.
    """

    objects: tuple[str, ...]
    video: Path
    settings: MotionSettings = field(default_factory=MotionSettings)
    outputs: tuple[str, ...] = OUTPUTS
    frame_start: int | None = None
    views: int = VIEW_PRESETS["standard"]
    movable: str = ""
    further: tuple[FurtherVideo, ...] = ()

    @property
    def title(self) -> Sentence:
        """A short name for lists and messages."""
        values = {"name": self.objects[0], "video": self.video.name}
        if len(self.objects) == 1:
            return Sentence("{name}: {video}", **values)
        return Sentence("{name} and {count} more: {video}", count=len(self.objects) - 1, **values)


def make_request(
    objects: str | bpy.types.Object | Iterable[str | bpy.types.Object],
    video: str | Path,
    settings: MotionSettings,
    outputs: Iterable[str] = OUTPUTS,
    frame_start: int | None = None,
    views: str | int = "standard",
    movable: str = "",
    further: Iterable[Any] = (),
) -> AnimateRequest:
    """A request whose objects, videos and outputs are usable as far as can be told without work.

    Raises:
        SelectionError: No objects, an object that does not exist, is hidden or shares its name, or none with a surface.
        FileError: A video is missing, a folder, empty or unreadable.
        SettingsError: No outputs or an unknown one, a start frame that is no whole number, no number of views, or a
            further video without its view.
    """
    found = find_objects(objects)
    check_selection(found)
    found = [item for item in found if not shows_gaussians(item)]
    _check_names(found)
    surfaces = surface_objects(bpy.context, found)
    return AnimateRequest(
        objects=tuple(item.name for item in found),
        video=check_video(video),
        settings=settings,
        outputs=check_outputs(outputs),
        frame_start=check_frame("start frame", frame_start),
        views=check_views(views),
        movable=check_movable(surfaces, movable),
        further=tuple(one._replace(video=check_video(one.video)) for one in further_videos(further)),
    )


def find_objects(objects: str | bpy.types.Object | Iterable[str | bpy.types.Object]) -> list[bpy.types.Object]:
    """Objects that are given in one of several ways, each once.

    Raises:
        SelectionError: One was removed, does not exist, or is no object.
    """
    try:
        items = [objects] if isinstance(objects, str | bpy.types.Object) else list(objects or ())
    except (TypeError, ValueError) as error:
        raise _no_objects(objects) from error
    return list(dict.fromkeys(map(_find_object, items)))


def _find_object(item: str | bpy.types.Object) -> bpy.types.Object:
    if isinstance(item, bpy.types.Object):
        try:
            # Not by its name, which an object of a linked file may have, too.
            return item.original
        except ReferenceError as error:
            raise SelectionError("One of the objects was removed from the file.", "Pass objects that exist.") from error
    if not isinstance(item, str):
        raise _no_objects(item)
    found = bpy.data.objects.get(item)
    if found is None:
        raise SelectionError(f"There is no object {item!r} in this file.", "Select the objects to animate again.")
    return found


def _no_objects(given: object) -> SelectionError:
    return SelectionError(f"{given!r} is neither an object nor a name.", "Pass objects or their names.")


def _check_names(objects: Iterable[bpy.types.Object]) -> None:
    """Whether a job, which holds its objects by name, would find these and no others.

    Raises:
        SelectionError: Another object has the same name, as a linked one may.
    """
    for item in objects:
        if bpy.data.objects.get(item.name) != item:
            text = Sentence("Another object is called {name!r}, too: one of them is linked.", name=item.name)
            raise SelectionError(text, "Rename one of them in its own file.")


def check_selection(objects: Sequence[bpy.types.Object]) -> None:
    """Whether the selection holds something that may have a surface; cheap enough for every redraw of a panel.

    Raises:
        SelectionError: Nothing is selected, or nothing with a surface, or only results of earlier animations.
    """
    if not objects:
        raise SelectionError("No object is selected.", "Select the mesh objects to animate.")
    if any(item.type in _PROMISING_TYPES and not shows_gaussians(item) for item in objects):
        return
    results = [item for item in objects if shows_gaussians(item)]
    if results:
        raise SelectionError(
            Sentence("The selection holds only results: {names}.", names=_some_names(results)),
            "Select the originals that they were made from.",
        )
    raise SelectionError(
        Sentence("The selection holds no mesh: {names}.", names=_some_names(objects)),
        "Select the mesh objects to animate.",
    )


def _some_names(objects: Sequence[bpy.types.Object]) -> str:
    return ", ".join(repr(item.name) for item in objects[:3]) + (", ..." if len(objects) > 3 else "")


def check_video(video: str | Path) -> Path:
    """The absolute path of a readable, non-empty video file; its content is the server's to judge.

    Raises:
        FileError: No path or an impossible one, nothing there, a folder, an empty or an unreadable file.
    """
    given = str(video).strip() if video else ""
    if not given:
        raise FileError("No driving video is chosen.", "Choose a video file.")
    path = user_path(given)
    try:
        if path.is_dir():
            raise FileError(Sentence("The video {path} is a folder.", path=path), "Choose a video file.")
        if not path.exists():
            text = Sentence("The video {path} does not exist.", path=path)
            raise FileError(text, "Choose a video file that exists.")
        with path.open("rb") as file:
            if not file.read(1):
                text = Sentence("The video {path} is empty.", path=path)
                raise FileError(text, "Choose a video file with content.")
        return path.resolve()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        text = Sentence("The video {path} cannot be read ({reason}).", path=path, reason=reason)
        raise FileError(text, "Choose another video file.") from error


def check_outputs(outputs: Iterable[str]) -> tuple[str, ...]:
    """The wanted outputs without repetition.

    Raises:
        SettingsError: None is wanted, or one is unknown.
    """
    try:
        wanted = (outputs,) if isinstance(outputs, str) else tuple(dict.fromkeys(outputs))
    except TypeError as error:
        raise SettingsError(f"The outputs are {outputs!r}.", f"Choose from {', '.join(OUTPUTS)}.") from error
    unknown = [name for name in wanted if name not in OUTPUTS]
    if unknown:
        raise SettingsError(f"There is no output {unknown[0]!r}.", f"Choose from {', '.join(OUTPUTS)}.")
    if not wanted:
        hint = Sentence("Choose at least one of {names}.", names=", ".join(OUTPUTS))
        raise SettingsError("No output is chosen.", hint)
    return wanted


def check_views(views: str | int) -> int:
    """The number of views, from the name of a preset or as it is.

    Raises:
        SettingsError: It is neither.
    """
    count = VIEW_PRESETS.get(views, views) if isinstance(views, str) else views
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_VIEWS:
        raise SettingsError(
            f"The number of views is {views!r}.", f"Choose {', '.join(VIEW_PRESETS)}, or 1 to {MAX_VIEWS}."
        )
    return count


def check_movable(objects: Iterable[bpy.types.Object], name: str | None) -> str:
    """The name of a vertex group that one of the objects has, or none.

    Raises:
        SettingsError: It is no name.
        SelectionError: Nothing has it.
    """
    if not isinstance(name, str | None):
        raise SettingsError(f"The vertex group is {name!r}, not a name.", "Choose another group, or none to move all.")
    if name and not any(name in thing.vertex_groups for thing in objects if thing.type == "MESH"):
        text = Sentence("None of the objects has a vertex group called {name!r}.", name=name)
        raise SelectionError(text, "Choose another group, or none to move all.")
    return name or ""


def check_frame(what: str, frame: int | None) -> int | None:
    """A scene frame, or None where a usual one is taken.

    Args:
        what: What it is called in the message.
        frame: As it was given.

    Raises:
        SettingsError: It is no whole number, or none that Blender can go to.
    """
    if frame is None:
        return None
    if isinstance(frame, bool) or not isinstance(frame, int):
        raise SettingsError(f"The {what} is {frame!r}, not a whole number.", "Choose a scene frame.")
    if abs(frame) > MOST_FRAME:
        raise SettingsError(f"The {what} is {frame}.", f"Choose a scene frame from {-MOST_FRAME} to {MOST_FRAME}.")
    return frame
