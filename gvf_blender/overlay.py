"""The first frame of the driving video over the asset, as a camera of the given view would see both.

A camera of our own, hung into the viewport as its local camera: the scene's camera and its resolution stay.
"""

import logging
import math
from collections.abc import Iterable

import bpy
import numpy as np
from mathutils import Matrix

from .asset_properties import scene_view
from .asset_vertices import world_vertices
from .capture.selection import surface_objects
from .capture.start_frame import framing
from .capture.viewpoints import NEAR
from .core.errors import GvfBlenderError
from .request import check_video

LOGGER = logging.getLogger(__name__)

_MARK = "gvf_video_camera"
_NAME = "GVF Video Camera"


def overlay_camera(scene: bpy.types.Scene) -> bpy.types.Object | None:
    """The camera of the overlay, if it is shown in this scene."""
    # Asked at every redraw: files have few cameras but maybe many objects.
    if not any(_MARK in data for data in bpy.data.cameras):
        return None
    return next((thing for thing in scene.objects if thing.type == "CAMERA" and _MARK in thing.data), None)


def show_overlay(context: bpy.types.Context, objects: Iterable[bpy.types.Object]) -> bpy.types.Object:
    """Add the camera with the video before it.

    Args:
        context: Its scene's settings give video and view.
        objects: The asset.

    Raises:
        SelectionError: There is nothing to look at.
        FileError: The video cannot be used.
    """
    objects = list(objects)
    scene = context.scene
    check_video(scene.gvf.video)
    surface_objects(context, objects)
    hide_overlay(scene)
    data = bpy.data.cameras.new(_NAME)
    camera = bpy.data.objects.new(_NAME, data)
    data[_MARK] = [thing.name for thing in objects]
    camera.hide_render = True
    scene.collection.objects.link(camera)
    background = data.background_images.new()
    background.display_depth, background.frame_method, background.alpha = "FRONT", "FIT", 0.5
    data.show_background_images = True
    place_overlay(context)
    return camera


def place_overlay(context: bpy.types.Context) -> None:
    """Let the camera of the overlay, if there is one, follow the view and the first frame in the scene's settings."""
    scene = context.scene
    camera = overlay_camera(scene)
    if camera is None:
        return
    objects = [scene.objects[name] for name in camera.data[_MARK] if name in scene.objects]
    vertices = world_vertices(context, objects)
    if vertices is None:
        return
    background = camera.data.background_images[0]
    _load_video(background, scene)
    width, height = background.image.size if background.image is not None else (0, 0)
    if not width or not height:
        width = height = 1
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    size, middle = float((high - low).max()) or 1.0, (low + high) / 2
    world_to_camera, lens = framing((vertices - middle) / size, scene_view(scene.gvf), width, height)
    matrix = np.linalg.inv(world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0])
    matrix[:3, 3] = matrix[:3, 3] * size + middle
    camera.matrix_world = Matrix(matrix)
    # The picture is fitted into the frame of the scene's resolution, which may have another shape.
    frame = np.array([scene.render.resolution_x, scene.render.resolution_y], np.float64)
    share = max(width, height) * min(frame / (width, height)) / frame.max()
    camera.data.angle = 2 * math.atan(math.tan(lens.angle / 2) / share)
    camera.data.shift_x, camera.data.shift_y = (shift * share for shift in lens.shift)
    camera.data.clip_start, camera.data.clip_end = NEAR * size, 100 * size
    user = background.image_user
    # One frame long, so that it stays while the scene plays.
    user.frame_duration, user.frame_start, user.frame_offset = 1, 1, scene.gvf.start_frame


def hide_overlay(scene: bpy.types.Scene) -> bool:
    """Remove the camera and, unless something else uses it, the video.

    Returns:
        Whether there was one.
    """
    camera = overlay_camera(scene)
    if camera is None:
        return False
    data = camera.data
    images = [background.image for background in data.background_images if background.image is not None]
    bpy.data.objects.remove(camera)
    if data.users == 0:
        bpy.data.cameras.remove(data)
    for image in images:
        if image.users == 0:
            bpy.data.images.remove(image)
    return True


def look_through(viewport: bpy.types.SpaceView3D, camera: bpy.types.Object) -> None:
    """Let a viewport look through a camera; the scene's own camera stays."""
    viewport.use_local_camera = True
    viewport.camera = camera
    viewport.region_3d.view_perspective = "CAMERA"


def look_freely(viewport: bpy.types.SpaceView3D) -> None:
    """Undo `look_through`."""
    viewport.use_local_camera = False
    viewport.region_3d.view_perspective = "PERSP"


def _load_video(background: bpy.types.CameraBackgroundImage, scene: bpy.types.Scene) -> None:
    """Show the scene's video; one that is no longer there shows nothing."""
    before = background.image
    try:
        background.image = bpy.data.images.load(str(check_video(scene.gvf.video)), check_existing=True)
    except (GvfBlenderError, RuntimeError) as error:
        LOGGER.info("The video cannot be shown: %s", error)
        background.image = None
    if before is not None and before != background.image and before.users == 0:
        bpy.data.images.remove(before)
