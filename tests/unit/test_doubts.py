"""Bad input is named in a sentence; good input is not."""

import numpy as np
import pytest
import trimesh

from gvf_core.geometry.mesh_doubts import mesh_doubts
from gvf_core.video.doubts import video_doubts

RNG = np.random.default_rng(0)
BACKDROP = np.kron(RNG.integers(0, 255, (30, 40, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
"""A textured wall of 240 x 320 pixels."""


def clip(places, colors=None, walls=None, size=60):
    """A square that is seen at these places (column, row), in front of walls that are shifted (columns)."""
    pictures, cut_out = [], []
    for index, (x, y) in enumerate(places):
        picture = np.roll(BACKDROP, walls[index] if walls else 0, axis=1).copy()
        mask = np.zeros(picture.shape[:2], np.float32)
        mask[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)] = 1
        color = np.array(colors[index] if colors else (200, 60, 30))
        picture[mask > 0] = color
        pictures.append(picture)
        cut_out.append(np.concatenate([mask[..., None] * color / 255, mask[..., None]], axis=2))
    return np.stack(pictures), np.stack(cut_out).astype(np.float32)


STEPS = [(60 + 4 * index, 90) for index in range(8)]


def test_a_good_video_gives_no_doubts():
    assert video_doubts(*clip(STEPS)) == ()


def test_motion_that_starts_fast_is_no_cut():
    assert video_doubts(*clip([(60, 90)] * 4 + [(90, 90), (120, 90), (150, 90)])) == ()


def test_a_cut_is_named_by_its_frame():
    colors = [(200, 60, 30)] * 4 + [(20, 220, 220)] * 4
    (doubt,) = video_doubts(*clip(STEPS, colors))
    assert "jumps at frame 4," in doubt


def test_a_moving_camera_is_named():
    (doubt,) = video_doubts(*clip([(120, 90)] * 8, walls=[3 * index for index in range(8)]))
    assert "camera moves" in doubt


def test_a_plain_background_says_nothing_about_the_camera():
    pictures, cut_out = clip(STEPS)
    pictures[cut_out[..., 3] == 0] = 255
    assert video_doubts(pictures, cut_out) == ()


def test_an_object_that_leaves_the_picture_is_named():
    doubts = video_doubts(*clip([(60, 90), (30, 90), (0, 90), (-20, 90)]))
    assert any("leaves the picture in frames 2, 3" in doubt for doubt in doubts)


def test_an_object_that_vanishes_is_named():
    pictures, cut_out = clip(STEPS)
    cut_out[3:6] = 0
    assert any("not to be seen in frames 3, 4, 5" in doubt for doubt in video_doubts(pictures, cut_out))


SPHERE = trimesh.creation.icosphere(3)


def test_a_good_mesh_gives_no_doubts():
    assert mesh_doubts(np.asarray(SPHERE.vertices), SPHERE.faces.astype(np.int32)) == ()


def test_vertices_split_at_seams_are_not_loose():
    soup = SPHERE.triangles.reshape(-1, 3)
    assert mesh_doubts(soup, np.arange(len(soup), dtype=np.int32).reshape(-1, 3)) == ()


def _loose(vertices, faces):
    apart = vertices[faces] + 0.05 * RNG.normal(size=(len(faces), 1, 3))
    return apart.reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3)


def _empty(vertices, faces):
    return vertices, np.concatenate([faces, np.repeat(faces[:40, :1], 3, axis=1)])


def _crowded(vertices, faces):
    tip = len(vertices)
    fins = np.column_stack([faces[:60, :2], np.full(60, tip)])
    return np.concatenate([vertices, [[0.0, 0, 2]]]), np.concatenate([faces, fins])


def _huge(vertices, faces):
    return vertices, np.tile(faces, (1_000_000 // len(faces) + 1, 1))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(_loose, "hang together"), (_empty, "no area"), (_crowded, "more than two faces"), (_huge, "decimated copy")],
)
def test_what_is_odd_about_a_mesh_is_named(spoil, word):
    vertices, faces = spoil(np.asarray(SPHERE.vertices), SPHERE.faces)
    doubts = mesh_doubts(vertices, faces.astype(np.int32))
    assert sum(word in doubt for doubt in doubts) == 1
