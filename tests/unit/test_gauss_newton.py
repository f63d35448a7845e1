"""The step that turns image observations into node poses."""

import dataclasses

import numpy as np
import pytest
import trimesh
from small_assets import bent

from gvf_core.geometry.deformation_graph import DeformationGraph, build_deformation_graph, stack_poses
from gvf_core.geometry.mesh import SurfacePoints, sample_surface
from gvf_core.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from gvf_core.motion import gauss_newton
from gvf_core.motion.body import Pose
from gvf_core.motion.gauss_newton import MAX_TURN, Observations, Prior, step
from gvf_core.rendering import orbit_camera

CAMERA = orbit_camera(0, 0, size=256)
MESH = trimesh.creation.icosphere(2)
VERTICES = np.asarray(MESH.vertices) * [0.5, 0.15, 0.15]
TRIANGLES = np.asarray(MESH.faces, np.int32)
GRAPH = build_deformation_graph(VERTICES, TRIANGLES, node_count=14)
POINTS = sample_surface(VERTICES, TRIANGLES, 300, np.random.default_rng(0))
REST = Pose(np.tile(np.eye(3), (14, 1, 1)), GRAPH.nodes)
RAY = (GRAPH.nodes - CAMERA.position) / np.linalg.norm(GRAPH.nodes - CAMERA.position, axis=1, keepdims=True)


def prior(**changes) -> Prior:
    weak = Prior(
        rigidity=1.0,
        rigidity_scale=10.0,
        turn_smoothness=1e-4,
        expected=GRAPH.nodes,
        expected_weight=0.0,
        ray=RAY,
        depth_weight=1e-2,
    )
    return dataclasses.replace(weak, **changes)


def deform(pose: Pose, graph: DeformationGraph = GRAPH, vertices: np.ndarray = VERTICES) -> np.ndarray:
    return graph.pose_matrix(vertices) @ stack_poses(pose.rotations, pose.positions)


def position(vertices: np.ndarray, points: SurfacePoints = POINTS) -> np.ndarray:
    return points.positions(vertices, TRIANGLES)


def jacobian(points: np.ndarray) -> np.ndarray:
    """Derivative of the pixel coordinates by the world position, by differences."""
    nudges = 1e-6 * np.eye(3)
    columns = [(CAMERA.project(points + nudge)[0] - CAMERA.project(points - nudge)[0]) / 2e-6 for nudge in nudges]
    return np.stack(columns, axis=-1)


def perfect_observations(pose: Pose, target: np.ndarray) -> Observations:
    now = position(deform(pose))
    return Observations(
        corners=TRIANGLES[POINTS.triangle],
        barycentric=POINTS.barycentric,
        jacobian=jacobian(now),
        residual=CAMERA.project(position(target))[0] - CAMERA.project(now)[0],
        weight=np.ones(len(now)),
    )


def pixels_off(pose: Pose, target: np.ndarray) -> float:
    difference = CAMERA.project(position(deform(pose)))[0] - CAMERA.project(position(target))[0]
    return float(np.linalg.norm(difference, axis=1).mean())


TARGETS = {
    "moved": VERTICES + np.array([0.05, 0, -0.08]),
    "turned in the picture": VERTICES @ matrix_from_rotation_vector(np.array([0, 0.4, 0])).T,
    "bent": bent(VERTICES, 1.2),
}


@pytest.mark.parametrize("name", TARGETS)
def test_perfect_observations_lead_to_the_motion_they_come_from(name):
    target, pose = TARGETS[name], REST
    before = pixels_off(pose, target)
    for _ in range(12):
        pose = step(GRAPH, VERTICES, pose, perfect_observations(pose, target), prior())
    assert before > 5
    assert pixels_off(pose, target) < (0.6 if name == "bent" else 0.05)


def test_without_a_difference_nothing_moves():
    pose = step(GRAPH, VERTICES, REST, perfect_observations(REST, VERTICES), prior())
    np.testing.assert_allclose(pose.positions, REST.positions, atol=1e-9)
    np.testing.assert_allclose(pose.rotations, REST.rotations, atol=1e-9)


def test_observations_of_weight_zero_do_not_count():
    observations = perfect_observations(REST, TARGETS["moved"])
    ignored = observations._replace(weight=np.zeros(300))
    pose = step(GRAPH, VERTICES, REST, ignored, prior())
    np.testing.assert_allclose(pose.positions, REST.positions, atol=1e-9)


def test_no_observations_lead_to_the_expected_positions():
    nothing = Observations(
        np.zeros((0, 3), np.int32), np.zeros((0, 3)), np.zeros((0, 2, 3)), np.zeros((0, 2)), np.zeros(0)
    )
    expected = GRAPH.nodes + np.array([0.1, 0, 0])
    pose = step(GRAPH, VERTICES, REST, nothing, prior(expected=expected, expected_weight=1.0, depth_weight=0.0))
    np.testing.assert_allclose(pose.positions, expected, atol=1e-4)


def test_one_step_turns_no_node_farther_than_the_limit():
    observations = perfect_observations(REST, VERTICES @ matrix_from_rotation_vector(np.array([0, 3.0, 0])).T)
    pose = step(GRAPH, VERTICES, REST, observations, prior())
    assert np.abs(rotation_vector_from_matrix(pose.rotations)).max() < MAX_TURN + 1e-6
    np.testing.assert_allclose(
        pose.rotations @ pose.rotations.transpose(0, 2, 1), np.tile(np.eye(3), (14, 1, 1)), atol=1e-9
    )


def some_pose(turn: float, common: bool = False) -> Pose:
    rng = np.random.default_rng(7)
    vectors = turn * rng.normal(size=(14, 3))
    rotations = matrix_from_rotation_vector(np.broadcast_to(vectors[0], (14, 3)) if common else vectors)
    return Pose(rotations, GRAPH.nodes + 0.1 * rng.normal(size=(14, 3)))


def updated(pose: Pose, update: np.ndarray) -> Pose:
    update = update.reshape(-1, 6)
    return Pose(matrix_from_rotation_vector(update[:, :3]) @ pose.rotations, pose.positions + update[:, 3:])


def derivative(residuals, pose: Pose) -> np.ndarray:
    """Derivative of residuals by the update of a pose, by central differences."""
    columns = []
    for unknown in range(6 * 14):
        nudge = np.zeros(6 * 14)
        nudge[unknown] = 1e-6
        columns.append((residuals(updated(pose, nudge)) - residuals(updated(pose, -nudge))) / 2e-6)
    return np.stack(columns, axis=1)


def test_the_normal_equations_of_observations_are_those_of_finite_differences():
    pose, rng = some_pose(0.7), np.random.default_rng(8)
    kept = slice(0, 25)
    points = SurfacePoints(POINTS.triangle[kept], POINTS.barycentric[kept])
    rows, residual, weight = rng.normal(size=(25, 2, 3)), rng.normal(size=(25, 2)), rng.uniform(0.5, 2, 25)
    start = position(deform(pose), points)

    def residuals(moved: Pose) -> np.ndarray:
        shift = position(deform(moved), points) - start
        return (np.sqrt(weight)[:, None] * (np.einsum("pij,pj->pi", rows, shift) - residual)).ravel()

    slope = derivative(residuals, pose)
    normal, gradient = np.zeros((84, 84)), np.zeros(84)
    observations = Observations(TRIANGLES[points.triangle], points.barycentric, rows, residual, weight)
    skin = VERTICES, GRAPH.skin_index, GRAPH.skin_weight, GRAPH.nodes, pose.rotations
    for part in range(3):
        gauss_newton._add_observations(normal, gradient, part, 3, observations, *skin)
    # Influences below MIN_INFLUENCE are left out.
    tolerance = 3 * gauss_newton.MIN_INFLUENCE * np.abs(normal).max()
    np.testing.assert_allclose(np.triu(normal), np.triu(slope.T @ slope), atol=tolerance)
    np.testing.assert_allclose(gradient, -slope.T @ residuals(pose), atol=tolerance)


@pytest.mark.parametrize("smoothness", [0.0, 0.5])
def test_the_normal_equations_of_links_are_those_of_finite_differences(smoothness):
    # The derivative of rotation differences is exact where neighbours are turned alike.
    pose = some_pose(0.7, common=smoothness > 0)
    source, target = GRAPH.links.T
    rigidity = np.random.default_rng(9).uniform(0.5, 2, len(source))

    def residuals(moved: Pose) -> np.ndarray:
        rotated = np.einsum("lij,lj->li", moved.rotations[source], GRAPH.nodes[target] - GRAPH.nodes[source])
        bend = moved.positions[target] - moved.positions[source] - rotated
        return np.concatenate(
            [(np.sqrt(rigidity)[:, None] * bend).ravel(), (np.sqrt(smoothness) * between(moved)).ravel()]
        )

    def between(moved: Pose) -> np.ndarray:
        return rotation_vector_from_matrix(moved.rotations[source] @ moved.rotations[target].transpose(0, 2, 1))

    slope = derivative(residuals, pose)
    normal, gradient = np.zeros((84, 84)), np.zeros(84)
    gauss_newton._add_links(
        normal,
        gradient,
        GRAPH.links,
        rigidity,
        np.full(len(source), smoothness),
        GRAPH.nodes,
        pose.rotations,
        pose.positions,
        between(pose),
    )
    np.testing.assert_allclose(np.triu(normal), np.triu(slope.T @ slope), atol=1e-6)
    np.testing.assert_allclose(gradient, -slope.T @ residuals(pose), atol=1e-6)
