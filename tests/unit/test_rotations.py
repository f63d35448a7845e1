"""Rotation matrices, rotation vectors and quaternions lead into each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gvf_core.geometry.rotations import (
    matrix_from_normal,
    matrix_from_rotation_vector,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
)

components = st.floats(-4, 4, allow_subnormal=False)
vectors = st.tuples(components, components, components).map(np.array)
nonzero = vectors.filter(lambda vector: np.linalg.norm(vector) > 1e-6)


@given(vectors)
def test_rotation_vectors_become_the_matrices_of_an_independent_implementation(vector):
    np.testing.assert_allclose(
        matrix_from_rotation_vector(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-12
    )


@given(nonzero, st.floats(0, np.pi - 1e-3))
def test_rotation_vectors_below_a_half_turn_come_back(axis, angle):
    vector = angle * axis / np.linalg.norm(axis)
    np.testing.assert_allclose(rotation_vector_from_matrix(matrix_from_rotation_vector(vector)), vector, atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-8, 3e-8, 1e-6, 1e-4])
def test_tiny_rotations_keep_their_size(angle):
    vector = angle * np.array([0.6, 0.0, 0.8])
    result = rotation_vector_from_matrix(matrix_from_rotation_vector(vector))
    np.testing.assert_allclose(result, vector, rtol=1e-6, atol=1e-16)


def test_a_half_turn_has_a_finite_vector_of_length_pi():
    for diagonal in np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]):
        vector = rotation_vector_from_matrix(np.diag(diagonal).astype(float))
        assert np.linalg.norm(vector) == pytest.approx(np.pi)


@given(nonzero, st.floats(-10, 10))
def test_quaternions_are_unit_length_and_mean_their_matrix(axis, angle):
    matrix = matrix_from_rotation_vector(angle * axis / np.linalg.norm(axis))
    quaternion = quaternion_from_matrix(matrix)
    assert np.linalg.norm(quaternion) == pytest.approx(1)
    np.testing.assert_allclose(Rotation.from_quat(quaternion, scalar_first=True).as_matrix(), matrix, atol=1e-9)


def test_quaternions_are_written_with_w_first():
    matrix = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    np.testing.assert_allclose(np.abs(quaternion_from_matrix(matrix)), [0.5**0.5, 0, 0, 0.5**0.5], atol=1e-12)


@given(nonzero)
def test_frames_of_normals_are_proper_rotations_with_the_normal_as_z(vector):
    normal = vector / np.linalg.norm(vector)
    frame = matrix_from_normal(normal)
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1)
    np.testing.assert_array_equal(frame[:, 2], normal)


@pytest.mark.parametrize("normal", [(0, 0, -1.0), (0, 0, 1.0), (0, -0.0, -1.0), (1.0, 0, 0), (1.0, 0, -0.0)])
def test_frames_exist_for_normals_along_the_axes(normal):
    frame = matrix_from_normal(np.array(normal))
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)


def test_batches_give_what_single_ones_give():
    vectors = np.random.default_rng(0).normal(size=(2, 5, 3))
    matrices = matrix_from_rotation_vector(vectors)
    quaternions = quaternion_from_matrix(matrices)
    assert (matrices.shape, quaternions.shape) == ((2, 5, 3, 3), (2, 5, 4))
    np.testing.assert_array_equal(matrices[1, 3], matrix_from_rotation_vector(vectors[1, 3]))
    np.testing.assert_array_equal(quaternions[1, 3], quaternion_from_matrix(matrices[1, 3]))
    np.testing.assert_allclose(
        rotation_vector_from_matrix(matrices)[1, 3], rotation_vector_from_matrix(matrices[1, 3]), atol=1e-15
    )
