"""Gaussians as PLY files in the layout of the original 3D Gaussian splatting code, spherical harmonics of degree 0.

docs/formats.md describes the layout. Positions and rotations are turned by (x, y, z) -> (x, -z, y) on the way, as in
the official code, so that viewers with y down show upright what stands upright in Blender.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import FileError

_SH_DC = 0.28209479177387814
_LOGIT_LIMIT = 20.0
_MIN_SCALE = float(np.finfo(np.float32).tiny)
_COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_HEADER = (
    "ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    + "".join(f"property float {name}\n" for name in _COLUMNS)
    + "end_header\n"
)


@dataclass(frozen=True, eq=False)
class SplatFrame:
    """The Gaussians of one frame, z up.

    Attributes:
        positions: Metres [N, 3].
        rotations: Unit quaternions (w, x, y, z) [N, 4].
        scales: Standard deviations along the Gaussian's axes, metres [N, 3].
        colors: Linear Rec. 709 [N, 3].
        opacities: 0..1 [N].
    """

    positions: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray


def write_splat_ply(path: Path, frame: SplatFrame) -> None:
    """Write one frame; an existing file is replaced.

    Raises:
        FileError: The file cannot be written.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(frame.opacities) - np.log1p(-np.asarray(frame.opacities, np.float64))
    positions, rotations = _turned(frame.positions, frame.rotations, 1)
    parts = (
        positions,
        np.zeros_like(positions),
        (_srgb(frame.colors) - 0.5) / _SH_DC,
        np.clip(logits, -_LOGIT_LIMIT, _LOGIT_LIMIT)[:, None],
        np.log(np.maximum(frame.scales, _MIN_SCALE)),
        rotations,
    )
    table = np.concatenate(parts, axis=1).astype("<f4")
    try:
        path.write_bytes(_HEADER.format(count=len(table)).encode("ascii") + table.tobytes())
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Choose another folder.") from error


def read_splat_ply(path: Path) -> SplatFrame:
    """Read a file of `write_splat_ply` back.

    Raises:
        FileError: It cannot be read, or is another kind of file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} could not be read ({error.strerror}).", "Choose another file.") from error
    header, _, rows = content.partition(b"end_header\n")
    table = np.frombuffer(rows[: len(rows) // 4 * 4], "<f4")
    count = len(table) // len(_COLUMNS)
    if header + b"end_header\n" != _HEADER.format(count=count).encode("ascii") or table.size != count * len(_COLUMNS):
        raise FileError(f"{path} is not a PLY file of this add-on.", "Choose another file.")
    positions, _, dc, logits, logs, rotations = np.split(
        table.reshape(count, -1).astype(np.float64), np.cumsum((3, 3, 3, 1, 3)), axis=1
    )
    positions, rotations = _turned(positions, rotations, -1)
    return SplatFrame(positions, rotations, np.exp(logs), _linear(dc * _SH_DC + 0.5), (1 / (1 + np.exp(-logits)))[:, 0])


def _turned(positions: np.ndarray, rotations: np.ndarray, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """A quarter turn about x: with 1 it takes z to -y, with -1 back."""
    x, y, z = np.asarray(positions, np.float64).T
    # The product of the quaternions (1, sign, 0, 0) / sqrt(2) and (w, i, j, k).
    w, i, j, k = np.asarray(rotations, np.float64).T * np.sqrt(0.5)
    turned = np.stack([w - sign * i, i + sign * w, j - sign * k, k + sign * j], axis=1)
    return np.stack([x, -sign * z, sign * y], axis=1), turned


def _srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.maximum(np.asarray(linear, np.float64), 0.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _linear(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)
