"""The pictures of the demo: crop, background, preview and contact sheet."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tools.contact_sheet import (
    Column,
    background_of,
    crop_to_motion,
    read_pictures,
    read_video,
    write_contact_sheet,
    write_preview,
)

GRAY = (120, 130, 140)


@pytest.fixture
def driving():
    """A white square that moves to the right in front of grey."""
    frames = np.full((5, 64, 64, 3), GRAY, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:30, 10 + 5 * index : 20 + 5 * index] = 255
    return frames


def test_the_crop_holds_the_motion_of_all_frames_and_little_else(driving):
    crop = crop_to_motion(driving, margin=0.1)
    assert (crop.left, crop.top, crop.right, crop.bottom) == (7, 17, 43, 33)
    assert crop.of(driving).shape == (5, 16, 36, 3)


def test_a_video_without_anything_in_it_is_not_cropped():
    crop = crop_to_motion(np.full((2, 32, 32, 3), 7, np.uint8))
    assert (crop.left, crop.top, crop.right, crop.bottom) == (0, 0, 32, 32)


def test_the_background_is_the_color_of_the_border(driving):
    assert tuple(background_of(driving)) == GRAY


def test_transparent_pixels_of_pictures_show_the_background(tmp_path):
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0, 0] = (255, 0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "0.png")
    (laid_over,) = read_pictures([tmp_path / "0.png"], np.array(GRAY, np.uint8))
    assert tuple(laid_over[0, 0]) == (255, 0, 0)
    assert tuple(laid_over[1, 1]) == GRAY


def test_the_preview_has_every_frame_with_all_columns_side_by_side(driving, tmp_path):
    columns = [Column("driving video", driving), Column("splats", 255 - driving)]
    write_preview(tmp_path / "preview.mp4", columns, Fraction(24))
    with av.open(str(tmp_path / "preview.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == len(driving)
    left, right = frames[0][-40, 34].astype(int), frames[0][-40, 34 + 68].astype(int)
    assert np.abs(left - GRAY).max() < 12
    assert np.abs(right - (255 - np.array(GRAY))).max() < 12


def test_a_written_preview_is_read_back_at_another_size(driving, tmp_path):
    write_preview(tmp_path / "preview.mp4", [Column("a", driving)], Fraction(24))
    assert read_video(tmp_path / "preview.mp4", 32).shape == (5, 32, 32, 3)


def test_the_contact_sheet_has_a_row_for_every_chosen_frame(driving, tmp_path):
    columns = [Column("a", driving), Column("b", driving)]
    write_contact_sheet(tmp_path / "three.png", columns, rows=3)
    write_contact_sheet(tmp_path / "all.png", columns, rows=99)
    three, everything = Image.open(tmp_path / "three.png"), Image.open(tmp_path / "all.png")
    assert three.width == everything.width == 2 * (64 + 4)
    assert everything.height - three.height == 2 * (64 + 4)
