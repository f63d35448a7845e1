"""The picture for image-to-video tools, and the view that the assets remember."""

import errno
from pathlib import Path

import bpy
import numpy as np
import pytest

from gvf_blender.capture.start_frame import VideoView, framing
from gvf_blender.core.errors import FileError, SelectionError, SettingsError


@pytest.fixture
def api(addon):
    from gvf_blender import api

    return api


@pytest.fixture
def wedge(cube):
    """A red box that looks different from every side."""
    cube.scale, cube.rotation_euler = (2.0, 0.7, 0.4), (0.2, 0.5, 0.1)
    material = bpy.data.materials.new("Red")
    if material.node_tree is None:
        material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 0, 0, 1)
    cube.data.materials.append(material)
    bpy.context.view_layer.update()
    return cube


def pixels_of(path):
    """sRGB [height, width, 3], the top row first."""
    image = bpy.data.images.load(str(path))
    width, height = image.size
    pixels = np.array(image.pixels[:]).reshape(height, width, -1)[::-1, :, :3]
    bpy.data.images.remove(image)
    return pixels


def test_the_asset_stands_unlit_in_the_middle_before_a_plain_background(api, wedge, tmp_path):
    path = api.start_frame(wedge, tmp_path / "start.png", azimuth=40, width=160, height=90, background=(0.2, 0.4, 0.6))
    pixels = pixels_of(path)
    np.testing.assert_allclose(pixels[0, 0], (0.2, 0.4, 0.6), atol=0.005)
    red = np.abs(pixels - (1, 0, 0)).max(axis=-1) < 0.02
    rows, columns = np.nonzero(red)
    assert abs((rows.min() + rows.max() + 1) / 2 - 45) <= 1
    assert abs((columns.min() + columns.max() + 1) / 2 - 80) <= 1
    # It fills 70 % of one side, and nothing but edges lies between asset and background.
    assert max(np.ptp(rows) / 90, np.ptp(columns) / 160) == pytest.approx(0.7, abs=0.05)
    assert (red | (np.abs(pixels - (0.2, 0.4, 0.6)).max(axis=-1) < 0.02)).mean() > 0.95


def test_the_servers_camera_of_that_view_sees_the_same_picture(api, wedge, tmp_path):
    from gvf_core.rendering.camera import orbit_camera

    view = VideoView(azimuth=40, elevation=25, fov=35)
    corners = np.array([wedge.matrix_world @ vertex.co for vertex in wedge.data.vertices])
    low, high = corners.min(axis=0), corners.max(axis=0)
    unit = (corners - (low + high) / 2) / (high - low).max()
    matrix, lens = framing(unit, view, 160, 90)
    orbit = orbit_camera(view.azimuth, view.elevation, radius=matrix[2, 3], fov=view.fov, size=160)
    np.testing.assert_allclose(orbit.world_to_camera, matrix, atol=1e-12)
    projected = orbit.project(unit)[0] - 160 * np.array(lens.shift) * (1, -1) - (0, 35)
    path = api.start_frame(wedge, tmp_path / "start.png", azimuth=40, elevation=25, fov=35, width=160, height=90)
    rows, columns = np.nonzero(pixels_of(path)[..., 1] < 0.5)
    found = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
    expected = [*np.array([projected[:, 0].min(), projected[:, 0].max()])]
    expected += [projected[:, 1].min(), projected[:, 1].max()]
    np.testing.assert_allclose(found, expected, atol=1.5)


def test_one_click_renders_beside_the_blend_file_and_replaces_nothing(wedge, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    scene, names = bpy.context.scene, set(bpy.data.objects.keys())
    engine, size = scene.render.engine, scene.render.resolution_x
    for _ in range(2):
        assert bpy.ops.gvf.render_start_frame(width=64, height=64) == {"FINISHED"}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["Cube-start-2.png", "Cube-start.png"]
    assert (scene.render.engine, scene.render.resolution_x) == (engine, size)
    assert set(bpy.data.objects.keys()) == names
    assert len(bpy.data.scenes) == 1 and not bpy.data.worlds


def test_an_asset_remembers_the_view_of_its_start_frame_in_the_file(wedge, tmp_path):
    settings = bpy.context.scene.gvf
    settings.azimuth, settings.elevation, settings.fov = 30, 10, 40
    settings.view = "search"
    bpy.ops.gvf.render_start_frame(filepath=str(tmp_path / "a.png"), width=64, height=64)
    assert settings.view == "given"
    settings.azimuth = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.gvf.use_start_view()
    settings = bpy.context.scene.gvf
    assert (settings.azimuth, settings.elevation, settings.fov) == pytest.approx((30, 10, 40), abs=1e-4)


def test_without_a_start_frame_there_is_no_view_to_use(cube):
    with pytest.raises(RuntimeError, match="No start frame was rendered"):
        bpy.ops.gvf.use_start_view()


def test_what_cannot_be_rendered_is_named(api, cube, tmp_path):
    with pytest.raises(FileError, match="There is no folder"):
        api.start_frame(cube, tmp_path / "missing" / "a.png")
    with pytest.raises(SettingsError, match="elevation"):
        api.start_frame(cube, tmp_path / "a.png", elevation=90)
    with pytest.raises(SelectionError, match="No object"):
        api.start_frame([], tmp_path / "a.png")
    assert not bpy.data.worlds


def test_a_start_frame_is_a_png_file(api, cube, tmp_path):
    with pytest.raises(FileError, match=r"a\.jpg does not end in \.png"):
        api.start_frame(cube, tmp_path / "a.jpg")


def test_a_full_disk_leaves_the_earlier_picture(api, cube, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"earlier")

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match=r"a\.png could not be written \(No space left on device\)"):
        api.start_frame(cube, tmp_path / "a.png", width=64, height=64)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"earlier"
