"""How much memory and disk an imported animation takes, told before it is imported."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .safetensors_file import read_tensors

# Blender stores every component of every track in 32 bits.
_COMPONENT_BYTES = 4
GAUSSIAN_TRACKS = ("means", "quaternions", "scales", "colors", "opacities", "confidence")
# Components that change from frame to frame: positions, rotations, scales and opacities, and maybe colours.
_MOVING_COMPONENTS, _COLOR_COMPONENTS = 3 + 4 + 3 + 1, 3
NETWORK_GAUSSIANS = 8 * (64**3 - 62**3)
"""What the networks make of an asset that fills its cube: 8 for each of the 64^3 voxels that its surface is in."""


def tracks_size(shapes: Iterable[tuple[int, ...]], results: int) -> int:
    """Bytes of the tracks of Gaussians in memory, and in an uncompressed .blend file.

    Args:
        shapes: Of the tracks in the file, [T, N] or [T, N, components].
        results: How many objects keep them: splats, points, or both.
    """
    return results * _COMPONENT_BYTES * sum(int(np.prod(shape)) for shape in shapes)


def motion_size(frames: int, vertices: int) -> int:
    """Bytes of the motion of the original vertices."""
    return frames * vertices * 3 * _COMPONENT_BYTES


def expected_size(gaussians: int, frames: int, results: int, colors_change: bool) -> int:
    """Bytes of the tracks of an animation that is yet to be made."""
    components = _MOVING_COMPONENTS + _COLOR_COMPONENTS * colors_change
    return tracks_size([(frames, gaussians, components)], results)


def file_size(path: Path, results: int, motion: bool) -> int:
    """Bytes that an animation file will take once imported; reads only the file's header.

    Args:
        path: The animation file.
        results: How many of splats and points are made.
        motion: Whether the original vertices move, too.

    Raises:
        FileError: It is not readable.
    """
    tensors, _ = read_tensors(path)
    size = tracks_size([tensors[name].shape for name in GAUSSIAN_TRACKS if name in tensors], results)
    if motion and "vertices" in tensors:
        size += motion_size(*tensors["vertices"].shape[:2])
    return size


def in_words(size: int) -> str:
    """Bytes for people, such as "40 MB" or "1.2 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
