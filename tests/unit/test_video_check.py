"""A look at a driving video before a job."""

import numpy as np
import pytest
from video_files import moving_square, with_alpha, write_video

from gvf_core.errors import VideoError
from gvf_core.settings import AnimateSettings
from gvf_core.video.check import TILE, check_video

RED, WALL = np.array([200, 30, 30]), np.array([250, 250, 250])


def tiles(picture):
    """The four frames, in their order."""
    ends = (slice(0, TILE), slice(len(picture) - TILE, len(picture)))
    return [picture[rows, columns].astype(int) for rows in ends for columns in ends]


def red(tile):
    return np.abs(tile - RED).max(axis=-1) < 12


def veiled(tile):
    return (tile[..., 0] > tile[..., 1] + 50) & (np.abs(tile[..., 1] - tile[..., 2]) < 20) & (tile[..., 1] > 60)


def test_the_object_keeps_its_colours_and_the_rest_lies_behind_a_red_veil(tmp_path):
    path = write_video(tmp_path / "a.mov", moving_square(6, 192, 192, tuple(WALL)), "png", "rgb24")
    check = check_video(path, AnimateSettings(matting="plain"))
    for tile in tiles(check.picture):
        # 96 x 20 pixels of a square of 125, whose left third lies outside the picture.
        assert red(tile).mean() == pytest.approx(96 * 20 / 125**2, abs=0.02)
        assert veiled(tile).mean() > 0.4
        assert (red(tile) | veiled(tile) | (tile.max(axis=-1) == 0)).mean() > 0.95
    assert (check.frames, check.warnings) == (6, ())


def test_four_frames_from_the_first_to_the_last_are_shown(tmp_path):
    path = write_video(tmp_path / "a.mov", moving_square(31, 192, 192), "png", "rgb24")
    picture = check_video(path, AnimateSettings()).picture
    lefts = [int(np.flatnonzero(red(tile)[TILE // 2])[0]) for tile in tiles(picture)]
    assert np.diff(lefts) == pytest.approx([20 * TILE / 125] * 3, abs=2)


def test_only_the_used_frames_count(tmp_path):
    path = write_video(tmp_path / "a.mp4", moving_square(12, 96, 64))
    assert check_video(path, AnimateSettings(start_frame=2, frame_stride=3)).frames == 4


def test_what_makes_a_good_result_unlikely_is_said(tmp_path):
    frames = moving_square(8, 96, 64)
    for frame in frames[4:]:
        frame[:] = 255
        frame[8:56, 60:] = (20, 30, 200)
    warnings = check_video(write_video(tmp_path / "a.mov", frames, "png", "rgb24"), AnimateSettings()).warnings
    assert any("jumps at frame 4," in warning for warning in warnings)
    assert any("leaves the picture" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("method", "message"), [("alpha", "no alpha channel"), ("plain", "background is not plain")], ids=["alpha", "plain"]
)
def test_what_a_job_would_refuse_is_refused(tmp_path, method, message):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = write_video(tmp_path / "a.mov", [noise] * 3, "png", "rgb24")
    with pytest.raises(VideoError, match=message):
        check_video(path, AnimateSettings(matting=method))


def test_alpha_of_the_file_is_shown(tmp_path):
    path = write_video(tmp_path / "a.mov", with_alpha(moving_square(4, 192, 192)), "png", "rgba")
    first = tiles(check_video(path, AnimateSettings(matting="alpha")).picture)[0]
    assert red(first).mean() > 0.1 and veiled(first).mean() > 0.3


def test_grain_that_a_job_refuses_is_refused_however_small_the_picture_is_shown(tmp_path):
    noise = np.random.default_rng(0).normal(128, 16, (2, 720, 1280, 3)).clip(0, 255).astype(np.uint8)
    path = write_video(tmp_path / "a.mov", list(noise), "png", "rgb24")
    with pytest.raises(VideoError, match="background is not plain"):
        check_video(path, AnimateSettings(matting="plain"))


@pytest.mark.parametrize("size", [(2, 2), (3, 200), (200, 3), (17, 5)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_odd_sizes_and_short_clips_are_shown(tmp_path, size, count):
    frames = [np.full((*size, 4), 255, np.uint8) for _ in range(count)]
    for frame in frames:
        frame[1:, 1:, 3] = 0
    path = write_video(tmp_path / "a.mov", frames, "png", "rgba")
    check = check_video(path, AnimateSettings(matting="alpha"))
    assert check.frames == count and check.picture.shape == (2 * TILE + 4, 2 * TILE + 4, 3)
