"""Where results belong: unit frame to object-local coordinates, and how far a source moved since its capture."""

import numpy as np

# Relative to the size of the matrix; float32 matrices that differ by less are the same.
_SAME = 1e-6


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a 4x4 matrix to points [..., 3] in float64."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def is_invertible(matrix: np.ndarray) -> bool:
    """Whether an object with this matrix has a volume; an object scaled to zero has none."""
    return bool(np.linalg.cond(matrix[:3, :3]) < 1e12)


def moved_by(captured: np.ndarray, current: np.ndarray) -> np.ndarray:
    """World-space matrix that takes an object from where it was captured to where it is now.

    Exactly the identity if it has not moved, so that no rounding error reaches the result's transform; also if
    it was flat when it was captured, which tells no way from there to here.
    """
    same = np.allclose(captured, current, rtol=0, atol=_SAME * max(1.0, float(np.abs(captured).max())))
    if same or not is_invertible(captured):
        return np.eye(4)
    return current @ np.linalg.inv(captured)
