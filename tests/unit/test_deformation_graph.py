"""Control nodes and the way they move the mesh."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph, csr_matrix

from gvf_core.geometry.deformation_graph import DeformationGraph, build_deformation_graph, stack_poses
from gvf_core.geometry.rotations import matrix_from_rotation_vector

ONE = np.array([[0, 1, 2]], np.int32)


def arrays(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)


def joined(*meshes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    triangles = [triangles + start for (_, triangles), start in zip(meshes, starts[:-1], strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(triangles).astype(np.int32)


def plate(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat grid with cells 0.04 wide and high in the plane y = 0."""
    x, z = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1))
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns + 2], axis=1)
    upper = np.stack([corner, corner + columns + 2, corner + columns + 1], axis=1)
    vertices = 0.04 * np.stack([x.ravel(), np.zeros(x.size), z.ravel()], axis=1)
    return vertices, np.concatenate([lower, upper]).astype(np.int32)


def horseshoe() -> tuple[np.ndarray, np.ndarray]:
    """A band bent until its ends almost touch: 0.01 apart through the air, 0.9 along the surface."""
    vertices, triangles = plate(25, 2)
    angle = vertices[:, 0] / vertices[:, 0].max() * (2 * np.pi - 0.065)
    radius = 0.15
    bent = np.stack([radius * np.cos(angle), radius * np.sin(angle), vertices[:, 2]], axis=1)
    return bent, triangles


def rigid(graph: DeformationGraph, turn: np.ndarray, move: np.ndarray) -> np.ndarray:
    rotations = np.tile(turn, (len(graph.nodes), 1, 1))
    return stack_poses(rotations, graph.nodes @ turn.T + move)


SPHERE = arrays(trimesh.creation.icosphere(2, radius=0.4))
HARD_CASES = {
    "one triangle": (np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]]) / 2, ONE),
    "one degenerate triangle": (np.array([[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0]]), ONE),
    "all vertices in one place": (np.zeros((3, 3)), ONE),
    "a needle": (np.array([[-0.5, 0, 0], [0.5, 0, 0], [0.5, 1e-7, 0]]), ONE),
    "loose vertices": (np.concatenate([SPHERE[0], [[0, 0, 0], [0.5, 0.5, 0.5]]]), SPHERE[1]),
    "two parts far apart": joined(arrays(trimesh.creation.icosphere(1, radius=0.1)), (SPHERE[0] / 9 + 0.4, SPHERE[1])),
    "three parts in a row": joined(*((SPHERE[0] / 9 + [0.3 * i, 0, 0], SPHERE[1]) for i in range(3))),
    "nested parts": joined(SPHERE, (SPHERE[0] / 2, SPHERE[1])),
    "triangles with vertices of their own": (SPHERE[0][SPHERE[1]].reshape(-1, 3), np.arange(960).reshape(-1, 3)),
    "the same surface twice": joined(SPHERE, SPHERE),
}
hard_cases = pytest.mark.parametrize("name", HARD_CASES)


@hard_cases
def test_weights_sum_to_one_and_none_is_negative(name):
    graph = build_deformation_graph(*HARD_CASES[name], node_count=20)
    assert 1 <= len(graph.nodes) <= 20
    assert graph.skin_weight.min() >= 0
    np.testing.assert_allclose(graph.skin_weight.sum(axis=1), 1, atol=1e-12)
    assert graph.skin_index.min() >= 0 and graph.skin_index.max() < len(graph.nodes)


@hard_cases
def test_nodes_at_rest_leave_every_vertex_where_it_is(name):
    vertices, triangles = HARD_CASES[name]
    graph = build_deformation_graph(vertices, triangles, node_count=20)
    moved = graph.pose_matrix(vertices) @ rigid(graph, np.eye(3), np.zeros(3))
    np.testing.assert_allclose(moved, vertices, atol=1e-12)


@hard_cases
def test_nodes_that_move_rigidly_move_every_vertex_rigidly(name):
    vertices, triangles = HARD_CASES[name]
    graph = build_deformation_graph(vertices, triangles, node_count=20)
    turn, move = matrix_from_rotation_vector(np.array([0.4, 1.1, -0.3])), np.array([0.3, 0.1, -0.7])
    moved = graph.pose_matrix(vertices) @ rigid(graph, turn, move)
    np.testing.assert_allclose(moved, vertices @ turn.T + move, atol=1e-12)


@hard_cases
def test_links_go_both_ways_and_hold_everything_together(name):
    graph = build_deformation_graph(*HARD_CASES[name], node_count=20)
    links = {tuple(link) for link in graph.links.tolist()}
    assert links == {(b, a) for a, b in links}
    assert len(links) == len(graph.links)
    assert all(a != b for a, b in links)
    count = len(graph.nodes)
    matrix = csr_matrix((np.ones(len(graph.links)), graph.links.T.reshape(2, -1)), (count, count))
    assert csgraph.connected_components(matrix)[0] == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(1, 25), st.integers(1, 12), st.integers(1, 6))
def test_any_soup_of_triangles_can_be_posed(seed, vertex_count, triangle_count, node_count, influences):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-0.5, 0.5, (vertex_count, 3)).round(1)
    triangles = rng.integers(0, vertex_count, (triangle_count, 3), np.int32)
    graph = build_deformation_graph(vertices, triangles, node_count, influences)
    assert len(graph.nodes) <= node_count
    turn, move = matrix_from_rotation_vector(rng.normal(size=3)), rng.normal(size=3)
    np.testing.assert_allclose(
        graph.pose_matrix(vertices) @ rigid(graph, turn, move), vertices @ turn.T + move, atol=1e-9
    )


def test_nodes_lie_on_the_surface_and_cover_it_evenly():
    vertices, triangles = SPHERE
    graph = build_deformation_graph(vertices, triangles, node_count=40)
    assert len(graph.nodes) == 40
    assert np.linalg.norm(graph.nodes, axis=1).min() > 0.37
    apart = np.linalg.norm(graph.nodes[:, None] - graph.nodes, axis=2)
    even = np.sqrt(4 * np.pi * 0.4**2 / 40)
    assert (apart + np.eye(40)).min() > 0.6 * even
    assert np.linalg.norm(vertices[:, None] - graph.nodes, axis=2).min(axis=1).max() < 1.2 * even


def test_ends_that_nearly_touch_but_are_far_apart_along_the_surface_share_no_node():
    vertices, triangles = horseshoe()
    start, end = np.flatnonzero(triangles[:, 0] % 26 == 0), np.flatnonzero(triangles[:, 0] % 26 == 24)
    first, last = triangles[start].min(), triangles[end].max()
    assert np.linalg.norm(vertices[first] - vertices[25]) < 0.02
    graph = build_deformation_graph(vertices, triangles, node_count=16)
    assert not set(graph.skin_index[first]) & set(graph.skin_index[last])


def test_separate_parts_move_mostly_with_their_own_nodes():
    gap = 0.03
    left, right = plate(8, 8), plate(8, 8)
    vertices, triangles = joined(left, (right[0] + [8 * 0.04 + gap, 0, 0], right[1]))
    graph = build_deformation_graph(vertices, triangles, node_count=40)
    on_the_right = graph.nodes[:, 0] > 8 * 0.04 + gap / 2
    assert 10 < on_the_right.sum() < 30
    foreign = np.where(on_the_right[graph.skin_index], graph.skin_weight, 0).sum(axis=1)[: len(left[0])]
    assert foreign.mean() < 0.1
    assert foreign[left[0][:, 0] < 0.1].max() == 0


def test_split_vertices_at_a_seam_move_together():
    vertices, triangles = plate(10, 4)
    crossing = vertices[:, 0] == vertices[5, 0]
    copies = np.flatnonzero(crossing)
    right_side = vertices[triangles].mean(axis=1)[:, 0] > vertices[5, 0]
    renumber = np.arange(len(vertices))
    renumber[copies] = len(vertices) + np.arange(len(copies))
    triangles[right_side] = renumber[triangles[right_side]]
    split = np.concatenate([vertices, vertices[copies]])
    graph = build_deformation_graph(split, triangles, node_count=15)
    rng = np.random.default_rng(0)
    pose = stack_poses(matrix_from_rotation_vector(rng.normal(size=(15, 3))), rng.normal(size=(15, 3)))
    moved = graph.pose_matrix(split) @ pose
    np.testing.assert_allclose(moved[len(vertices) :], moved[copies], atol=1e-12)


def test_a_coarse_mesh_deforms_by_distances_along_its_surface_not_along_its_edges():
    coarse = trimesh.creation.box(extents=(1, 0.1, 0.1))
    graph = build_deformation_graph(*arrays(coarse), node_count=30)
    assert len(graph.nodes) == 30
    assert np.ptp(graph.nodes[:, 0]) > 0.95
    assert (np.abs(graph.nodes[:, 0]) < 0.3).sum() > 5


def test_a_thousand_tiny_parts_are_all_joined():
    tetrahedron = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]) * 0.005
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    places = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 3))
    vertices, triangles = joined(*((tetrahedron + place, faces) for place in places))
    graph = build_deformation_graph(vertices, triangles, node_count=60)
    assert len(graph.nodes) == 60
    assert np.isfinite(graph.skin_weight).all()


def test_parts_are_bridged_where_they_come_closest():
    # A small part between two large ones, far nearer to the left one.
    vertices, triangles = joined(
        plate(6, 6), (plate(1, 1)[0] + [0.26, 0, 0.1], plate(1, 1)[1]), (plate(6, 6)[0] + [0.6, 0, 0], plate(6, 6)[1])
    )
    graph = build_deformation_graph(vertices, triangles, node_count=24)
    small = slice(49, 53)
    used = np.where(graph.skin_weight[small] > 0.02, graph.skin_index[small], -1)
    assert graph.nodes[np.unique(used[used >= 0]), 0].max() < 0.5


def test_stacked_poses_are_transposed_rotations_above_positions():
    rotations = np.arange(18.0).reshape(2, 3, 3)
    positions = np.array([[100.0, 101, 102], [200, 201, 202]])
    stacked = stack_poses(rotations, positions)
    np.testing.assert_array_equal(stacked[:3], rotations[0].T)
    np.testing.assert_array_equal(stacked[3], positions[0])
    np.testing.assert_array_equal(stacked[4:7], rotations[1].T)
