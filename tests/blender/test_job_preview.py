"""The newest frame of a running job, from the real server to the panel."""

import struct
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from recording_layout import RecordingLayout
from scripted_pipeline import SEED_NEVER_ENDS

from gvf_blender.core.job_phase import Phase


@pytest.fixture
def endless_job(addon, server, cube, video, tmp_path):
    """A job that shows one frame and goes on until it is cancelled."""
    from gvf_blender import job_list
    from gvf_blender.core.motion_settings import MotionSettings
    from gvf_blender.job import AnimateJob
    from gvf_blender.request import make_request

    request = make_request(cube, video, MotionSettings(seed=SEED_NEVER_ENDS))
    job = AnimateJob(request, lambda: server.client, tmp_path / "results")
    job_list.add(job)
    yield job
    job_list.remove(job)


def shown_pictures(job):
    from gvf_blender.ui.job_panel import _draw_job

    layout = RecordingLayout()
    context = SimpleNamespace(region=SimpleNamespace(width=400), preferences=bpy.context.preferences)
    _draw_job(layout, context, job)
    return [entry for entry in layout.record if entry[0] == "icon"]


def test_the_newest_frame_of_a_running_job_arrives_and_goes_with_it(endless_job, monkeypatch):
    from gvf_blender.frame_picture import FramePicture

    shown = []
    monkeypatch.setattr(FramePicture, "show", lambda self, path: shown.append(path.read_bytes()))
    while not shown:
        assert not endless_job.finished, endless_job.message
        endless_job.poll()
    assert endless_job.phase is Phase.RUNNING
    assert shown[0].startswith(b"\x89PNG")


def test_the_panel_shows_a_picture_only_while_there_is_one(endless_job, monkeypatch):
    from gvf_blender.frame_picture import FramePicture

    assert shown_pictures(endless_job) == []
    monkeypatch.setattr(FramePicture, "icon", 7)  # without a window Blender gives no icons numbers
    assert shown_pictures(endless_job) == [("icon", 7, 5.0)]


def test_a_picture_is_shown_as_it_is_and_leaves_no_image_behind(addon, tmp_path):
    from gvf_blender.frame_picture import FramePicture
    from server.preview import small_png

    path = tmp_path / "a.png"
    path.write_bytes(small_png(np.tile(np.float32([0.5, 0.25, 0, 0.5]), (16, 32, 1))))
    before = len(bpy.data.images)
    picture = FramePicture()
    picture.show(path)
    picture.show(path)
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:40])
    picture.show(broken)
    (preview,) = picture._previews.values()
    assert tuple(preview.image_size) == (32, 16)
    assert list(preview.image_pixels_float[:4]) == pytest.approx([0.5, 0.25, 0, 0.5], abs=0.01)
    assert len(bpy.data.images) == before
    picture.show(Path(tmp_path / "gone.png"))
    assert len(picture._previews) == 1
    picture.clear()
    assert picture.icon == 0


@pytest.mark.parametrize("size", [(1025, 1), (1, 1025), (100_000, 100_000)])
def test_a_picture_that_is_too_large_to_decode_is_not_shown(addon, tmp_path, monkeypatch, caplog, size):
    from gvf_blender import frame_picture

    monkeypatch.setattr(frame_picture, "_pixels", lambda path: pytest.fail("it was decoded"))
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", *size) + b"\x08\x00\x00\x00\x00")
    picture = frame_picture.FramePicture()
    with caplog.at_level("INFO"):
        picture.show(path)
    assert picture._previews is None
    assert f"huge.png is not shown: {size[0]} x {size[1]} pixels" in caplog.text


def test_a_file_that_is_too_large_or_no_png_is_not_decoded(addon, tmp_path, monkeypatch):
    from gvf_blender import frame_picture
    from server.preview import small_png

    monkeypatch.setattr(frame_picture, "_pixels", lambda path: pytest.fail("it was decoded"))
    picture, path = frame_picture.FramePicture(), tmp_path / "a.png"
    small = small_png(np.zeros((16, 32, 4), np.float32))
    for content in (small + bytes(frame_picture.MAX_BYTES), b"BM" + small, small[:20], b""):
        path.write_bytes(content)
        picture.show(path)
    assert picture._previews is None


def test_a_finished_job_shows_no_picture(endless_job):
    while endless_job.picture._previews is None:
        endless_job.poll()
    endless_job.cancel()
    assert endless_job.picture._previews is None
