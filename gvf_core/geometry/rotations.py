"""Rotation matrices, rotation vectors and quaternions (w, x, y, z) on arrays."""

import numpy as np
from jaxtyping import Float


def matrix_from_rotation_vector(vector: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rodrigues' formula; the vector's length is the angle in radians."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vector.shape[:-1], 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def rotation_vector_from_matrix(matrix: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Inverse of `matrix_from_rotation_vector` for angles below pi."""
    quaternion = quaternion_from_matrix(matrix)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine < 1e-8, 2.0, angle / np.maximum(sine, 1e-12))


def quaternion_from_matrix(matrix: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 4"]:
    """Unit quaternions; the largest component decides which of the four formulas is used."""
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Four unnormalised candidates, each exact where its own component is large.
    w = [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]]
    x = [w[1], 1 + 2 * m[..., 0, 0] - trace, m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]]
    y = [w[2], x[2], 1 + 2 * m[..., 1, 1] - trace, m[..., 1, 2] + m[..., 2, 1]]
    z = [w[3], x[3], y[3], 1 + 2 * m[..., 2, 2] - trace]
    candidates = np.stack([np.stack(row, axis=-1) for row in (w, x, y, z)], axis=-2)
    diagonal = np.stack([w[0], x[1], y[2], z[3]], axis=-1)
    best = diagonal.argmax(axis=-1)[..., None, None]
    quaternion = np.take_along_axis(candidates, best, axis=-2)[..., 0, :]
    return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def nearest_rotations(matrix: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The rotations nearest to matrices (Kabsch 1976): of sums of products moved x rest, how points turned."""
    left, _, right = np.linalg.svd(matrix)
    flip = np.ones((*matrix.shape[:-2], 3))
    flip[..., 2] = np.sign(np.linalg.det(left @ right))
    return (left * flip[..., None, :]) @ right


def matrix_from_normal(normal: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Rotations that take the z axis to unit normals; the other two axes are any tangent frame.

    Branchless construction of Duff et al., "Building an Orthonormal Basis, Revisited" (JCGT 2017).
    """
    x, y, z = np.moveaxis(normal, -1, 0)
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    tangent = np.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=-1)
    bitangent = np.stack([b, sign + y * y * a, -y], axis=-1)
    return np.stack([tangent, bitangent, normal], axis=-1)


def rigid_motion(
    start: Float[np.ndarray, "points 3"],
    goal: Float[np.ndarray, "points 3"],
    weight: Float[np.ndarray, " points"] | None = None,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """Rotation and shift that take points nearest to others, by weighted squared distance.

    Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).

    Args:
        start: The points.
        goal: Where they should go, in the same order.
        weight: How much each counts; all the same if not given.

    Returns:
        R and t; a point p goes to R p + t.
    """
    share = np.full(len(start), 1 / len(start)) if weight is None else weight / weight.sum()
    start_center, goal_center = share @ start, share @ goal
    rotation = nearest_rotations((goal - goal_center).T @ (share[:, None] * (start - start_center)))
    return rotation, goal_center - rotation @ start_center
