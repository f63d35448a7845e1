"""What an object remembers: from where its video sees it. Saved with the file, duplicated with the object."""

from collections.abc import Iterable

import bpy

from .capture import VideoView
from .properties import SettingsProperties
from .translations.properties import BoolProperty, FloatProperty, StringProperty


class AssetProperties:
    """Part of `Object.gvf`."""

    has_view: BoolProperty(name="Has View", description="A start frame was rendered of this object", options=set())
    azimuth: FloatProperty(name="Azimuth", description="Degrees; the view of the start frame", options=set())
    elevation: FloatProperty(name="Elevation", description="Degrees; the view of the start frame", options=set())
    fov: FloatProperty(
        name="Field of View", description="Degrees; the view of the start frame", default=49.1, options=set()
    )
    start_frame: StringProperty(
        name="Start Frame", description="The rendered picture", subtype="FILE_PATH", options=set()
    )
    source_mark: StringProperty(
        name="Mark", description="What a running job finds the object by (`source_marks`)", options={"HIDDEN"}
    )


def scene_view(settings: SettingsProperties) -> VideoView:
    """The view that the scene's settings tell."""
    return VideoView(*(round(value, 4) for value in (settings.azimuth, settings.elevation, settings.fov)))


def remember_view(objects: Iterable[bpy.types.Object], view: VideoView, picture: str) -> None:
    """Note the view of a start frame on the objects that it shows, linked ones excepted."""
    for thing in objects:
        if thing.is_editable:
            asset = thing.gvf
            asset.has_view, asset.start_frame = True, picture
            asset.azimuth, asset.elevation, asset.fov = view.azimuth, view.elevation, view.fov


def remembered_view(objects: Iterable[bpy.types.Object]) -> VideoView | None:
    """The view of the latest start frame of the first of the objects that has one."""
    asset = next((thing.gvf for thing in objects if thing.gvf.has_view), None)
    return None if asset is None else scene_view(asset)


def use_view(settings: SettingsProperties, view: VideoView) -> None:
    """Let the scene's video be seen from there."""
    settings.azimuth, settings.elevation, settings.fov = view.azimuth, view.elevation, view.fov
    settings.view = "given"
