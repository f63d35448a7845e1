"""The first frame of the video over the asset."""

from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

VIDEO = Path(__file__).parents[2] / "examples" / "shark.mp4"


@pytest.fixture
def asset(cube):
    cube.scale, cube.rotation_euler = (2.0, 0.7, 0.4), (0.2, 0.5, 0.1)
    settings = bpy.context.scene.gvf
    settings.video, settings.azimuth, settings.elevation, settings.fov = str(VIDEO), 40, 25, 35
    bpy.context.view_layer.update()
    return cube


def world_corners(cube):
    return np.array([cube.matrix_world @ vertex.co for vertex in cube.data.vertices])


def on_video(cube):
    """Corners in pixels of the 512 x 512 video as it is fitted into the frame of the scene's camera view."""
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    camera = next(thing for thing in scene.objects if thing.type == "CAMERA")
    frame = np.array([scene.render.resolution_x, scene.render.resolution_y])
    views = np.array([world_to_camera_view(scene, camera, corner)[:2] for corner in map(Vector, world_corners(cube))])
    return (views - 0.5) * frame / frame.min() * 512 * (1, -1) + 256


def expected_on_video(cube):
    from gvf_blender.asset_properties import scene_view
    from gvf_blender.capture.start_frame import framing
    from gvf_core.rendering.camera import orbit_camera

    corners = world_corners(cube)
    low, high = corners.min(axis=0), corners.max(axis=0)
    unit = (corners - (low + high) / 2) / (high - low).max()
    view = scene_view(bpy.context.scene.gvf)
    matrix, lens = framing(unit, view, 512, 512)
    camera = orbit_camera(view.azimuth, view.elevation, radius=matrix[2, 3], fov=view.fov, size=512)
    return camera.project(unit)[0] - 512 * np.array(lens.shift) * (1, -1)


@pytest.mark.parametrize("resolution", [(1920, 1080), (600, 900), (500, 500)])
def test_the_camera_sees_the_asset_as_the_server_would_and_follows_the_settings(asset, resolution):
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = resolution
    assert bpy.ops.gvf.show_video() == {"FINISHED"}
    np.testing.assert_allclose(on_video(asset), expected_on_video(asset), atol=0.1)
    scene.gvf.azimuth, scene.gvf.elevation, scene.gvf.fov = -100, -10, 60
    np.testing.assert_allclose(on_video(asset), expected_on_video(asset), atol=0.1)


@pytest.mark.parametrize("size", [0.001, 0.02, 500.0])
def test_the_camera_clips_nothing_of_an_asset_of_any_size(asset, size):
    asset.scale *= size / max(asset.dimensions)
    bpy.context.view_layer.update()
    bpy.ops.gvf.show_video()
    bpy.context.view_layer.update()
    camera = next(thing for thing in bpy.context.scene.objects if thing.type == "CAMERA")
    depths = [-(camera.matrix_world.inverted() @ Vector(corner)).z for corner in world_corners(asset)]
    assert camera.data.clip_start < min(depths) and max(depths) < camera.data.clip_end


def test_the_first_used_frame_is_shown_and_stays(asset):
    scene = bpy.context.scene
    scene.gvf.start_frame = 7
    bpy.ops.gvf.show_video()
    background = next(thing for thing in scene.objects if thing.type == "CAMERA").data.background_images[0]
    assert background.image.source == "MOVIE"
    assert (background.image_user.frame_duration, background.image_user.frame_offset) == (1, 7)
    scene.gvf.start_frame = 3
    assert background.image_user.frame_offset == 3
    scene.gvf.video = ""
    assert background.image is None


def test_hiding_leaves_nothing_behind(asset):
    scene = bpy.context.scene
    bpy.ops.object.camera_add()
    scene.camera = own = bpy.context.object
    own.select_set(False)
    asset.select_set(True)
    before = {kind: len(getattr(bpy.data, kind)) for kind in ("objects", "cameras", "images", "movieclips")}
    resolution = scene.render.resolution_x
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    viewport = area.spaces.active
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.gvf.show_video()
        assert viewport.camera != own and viewport.region_3d.view_perspective == "CAMERA"
        bpy.ops.gvf.show_video()
        bpy.ops.gvf.hide_video()
    assert {kind: len(getattr(bpy.data, kind)) for kind in before} == before
    assert (scene.camera, scene.render.resolution_x) == (own, resolution)
    assert viewport.region_3d.view_perspective == "PERSP" and not viewport.use_local_camera
    with pytest.raises(RuntimeError, match="not shown"):
        bpy.ops.gvf.hide_video()


def test_without_a_video_nothing_is_added(asset):
    bpy.context.scene.gvf.video = ""
    with pytest.raises(RuntimeError, match="No driving video"):
        bpy.ops.gvf.show_video()
    assert not bpy.data.cameras


def test_one_undo_takes_the_video_away_again(asset):
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.gvf.show_video("EXEC_DEFAULT", True)
    assert len(bpy.data.cameras) == 1
    bpy.ops.ed.undo()
    assert not bpy.data.cameras
    bpy.context.scene.gvf.azimuth = 12
