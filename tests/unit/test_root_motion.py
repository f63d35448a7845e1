"""The root of a motion and its deformation are told apart, and each has its own error."""

from functools import partial

import numpy as np
import pytest
import trimesh

from gvf_core.evaluation.motion_metrics import best_rigid_motion
from gvf_core.evaluation.root_motion import RootErrors, root_errors
from gvf_core.geometry import matrix_from_rotation_vector

DIAGONAL = np.linalg.norm((1.0, 0.4, 0.2))


@pytest.fixture
def bar():
    box = trimesh.creation.box((1.0, 0.4, 0.2)).subdivide().subdivide()
    return np.asarray(box.vertices, np.float64), np.asarray(box.faces, np.int32)


@pytest.fixture
def compare(bar):
    """Errors of a found motion beside a true one on the bar."""
    return partial(_compared, bar[1])


def _compared(triangles, moved, truth) -> RootErrors:
    return root_errors(moved, truth, triangles, np.random.default_rng(0), 2000)


def turned(vertices, degrees: float, shift=(0.0, 0.0, 0.0)):
    """About the vertical axis, then shifted."""
    return vertices @ matrix_from_rotation_vector(np.radians([0.0, 0.0, degrees])).T + shift


def bent(vertices, amount: float):
    """Both ends up as much as the middle goes down, so that the bar as a whole stays where it is."""
    return vertices + amount * np.cos(2 * np.pi * vertices[:, :1]) * (0, 0, 1)


def test_a_rigid_motion_is_all_root_and_has_no_deformation_to_speak_of(bar, compare):
    vertices, _ = bar
    truth = np.stack([vertices, turned(vertices, 20, (0.1, 0, 0)), turned(vertices, 40, (0.2, 0.1, 0))])
    exact = compare(truth, truth)
    assert exact.root_rotation_error == pytest.approx(0, abs=1e-5)
    assert exact.root_translation_error == exact.deformation_error == 0
    assert exact.true_deformation == pytest.approx(0, abs=1e-9)
    assert exact.ratio_deformation is None
    still = compare(np.stack([vertices] * 3), truth)
    assert still.root_rotation_error == pytest.approx(30)
    assert still.root_translation_error == pytest.approx((0.1 + np.hypot(0.2, 0.1)) / 2 / DIAGONAL, rel=0.02)
    assert still.deformation_error == pytest.approx(0, abs=1e-9)


def test_bending_is_all_deformation(bar, compare):
    vertices, _ = bar
    truth = np.stack([vertices, bent(vertices, 0.05), bent(vertices, 0.1)])
    still = compare(np.stack([vertices] * 3), truth)
    assert still.root_rotation_error < 0.5 and still.root_translation_error < 0.01
    assert still.ratio_deformation == pytest.approx(1, abs=1e-9)
    half = compare(np.stack([vertices, bent(vertices, 0.025), bent(vertices, 0.05)]), truth)
    assert half.ratio_deformation == pytest.approx(0.5, abs=0.02)


def test_a_bend_that_is_found_counts_wherever_the_root_takes_it(bar, compare):
    vertices, _ = bar
    truth = np.stack([vertices, turned(bent(vertices, 0.1), 30, (0, 0.2, 0))])
    bend_alone = compare(np.stack([vertices, bent(vertices, 0.1)]), truth)
    assert bend_alone.ratio_deformation == pytest.approx(0, abs=1e-6)
    assert bend_alone.root_rotation_error == pytest.approx(30)
    root_alone = compare(best_rigid_motion(truth, bar[1], np.random.default_rng(0)), truth)
    assert root_alone.ratio_deformation == pytest.approx(1, abs=1e-6)
    assert root_alone.root_rotation_error < 2


def test_a_surface_counts_by_its_area_however_many_vertices_it_has():
    large = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], float)
    small = 0.01 * large - 0.2
    vertices = np.concatenate([large, *[small] * 50])
    triangles = np.arange(len(vertices), dtype=np.int32).reshape(-1, 3)
    truth = np.stack([vertices, turned(vertices, 30)])
    moved = truth.copy()
    moved[1, 3:] = vertices[3:]
    assert _compared(triangles, moved, truth).root_rotation_error < 1


def test_the_first_frame_does_not_count(bar, compare):
    vertices, _ = bar
    truth = np.stack([vertices, turned(bent(vertices, 0.1), 10)])
    moved = truth.copy()
    moved[0] += 5
    assert compare(moved, truth).ratio_deformation == pytest.approx(0, abs=1e-9)
