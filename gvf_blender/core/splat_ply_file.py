"""Gaussians as PLY files in the layout of the original 3D Gaussian splatting code, spherical harmonics of degree 0.

docs/formats.md describes the layout; what other tools write in it is read, too. Positions and rotations are turned by
(x, y, z) -> (x, -z, y) on the way, as in the official code, so that viewers with y down show upright what stands
upright in Blender.
"""

import re
from collections.abc import Sequence
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
    "ply\nformat binary_little_endian 1.0\n{comments}element vertex {count}\n"
    + "".join(f"property float {name}\n" for name in _COLUMNS)
    + "end_header\n"
)


_NEEDED = tuple(name for name in _COLUMNS if name not in ("nx", "ny", "nz"))
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4"},
    **{"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8"},
}
# Degree 4 of spherical harmonics takes 2 KB of header.
_MAX_HEADER = 1 << 16
_ANOTHER = "Choose a PLY file with Gaussian splats."


@dataclass(frozen=True, eq=False)
class SplatFrame:
    """The Gaussians of one frame, z up.

    Attributes:
        positions: Metres [N, 3].
        rotations: Unit quaternions (w, x, y, z) [N, 4].
        scales: Standard deviations along the Gaussian's axes, metres [N, 3].
        colors: Linear Rec. 709 [N, 3].
        opacities: 0..1 [N].
        left_out: What of a file is not in it, one sentence each.
    """

    positions: np.ndarray
    rotations: np.ndarray
    scales: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray
    left_out: tuple[str, ...] = ()


def write_splat_ply(path: Path, frame: SplatFrame, comments: Sequence[str] = ()) -> None:
    """Write one frame; an existing file is replaced.

    Args:
        path: The file.
        frame: The Gaussians.
        comments: Lines of ASCII for the header.

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
        lines = "".join(f"comment {comment}\n" for comment in comments)
        path.write_bytes(_HEADER.format(count=len(table), comments=lines).encode("ascii") + table.tobytes())
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Choose another folder.") from error


def read_splat_ply(path: Path) -> SplatFrame:
    """Read a file of `write_splat_ply` or of another tool; what is not finite and what depends on the view is left out.

    Raises:
        FileError: It cannot be read, is cut off or another kind of file, or holds no Gaussians.
    """
    rows = _rows(path)

    def columns(*names: str) -> np.ndarray:
        return np.stack([rows[name] for name in names], axis=1).astype(np.float64)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        quaternions = columns("rot_0", "rot_1", "rot_2", "rot_3")
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
        positions, rotations = _turned(columns("x", "y", "z"), quaternions, -1)
        values = (
            positions,
            rotations,
            np.exp(columns("scale_0", "scale_1", "scale_2")),
            _linear(np.maximum(columns("f_dc_0", "f_dc_1", "f_dc_2") * _SH_DC + 0.5, 0)),
            1 / (1 + np.exp(-columns("opacity"))),
        )
        # Blender keeps them in 32 bits.
        finite = np.all([np.isfinite(value.astype(np.float32)).all(axis=1) for value in values], axis=0)
    left_out = []
    if not finite.any():
        raise FileError(f"No Gaussian in {path.name} has finite values.", _ANOTHER)
    if not finite.all():
        left_out.append(
            f"{np.sum(~finite):,} of {len(rows):,} Gaussians in {path.name} have values that are not finite."
        )
    if any(name.startswith("f_rest_") for name in rows.dtype.names):
        left_out.append(f"How the colors in {path.name} change with the direction of view is left out.")
    positions, rotations, scales, colors, opacities = (value[finite] for value in values)
    return SplatFrame(positions, rotations, scales, colors, opacities[:, 0], tuple(left_out))


def _rows(path: Path) -> np.ndarray:
    """The table of Gaussians as it is in the file, memory-mapped [N]."""
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise FileError(f"{path} could not be read ({error.strerror}).", "Choose another file.") from error
    header = re.match(rb"ply\r?\n(.*?)\nend_header\r?\n", start, re.DOTALL)
    if header is None:
        raise FileError(f"{path.name} is not a PLY file.", _ANOTHER)
    count, dtype = _table(path, header[1].decode("ascii", "replace"))
    if count * dtype.itemsize > size - header.end():
        raise FileError(
            f"{path.name} is cut off: {count:,} Gaussians take {count * dtype.itemsize:,} bytes, and "
            f"{size - header.end():,} are there.",
            "Copy or download it again.",
        )
    return np.memmap(path, dtype, "r", header.end(), (count,))


def _table(path: Path, header: str) -> tuple[int, np.dtype]:
    """Number and layout of the Gaussians, from the lines between "ply" and "end_header"."""
    lines = [line.split() for line in header.splitlines() if not line.startswith(("comment", "obj_info"))]
    if not lines or lines[0] != ["format", "binary_little_endian", "1.0"]:
        found = " ".join(lines[0][1:2]) if lines else ""
        raise FileError(
            f"{path.name} is a PLY file of format {found!r}, expected binary_little_endian.",
            "Save it as a binary file in the tool that made it.",
        )
    elements = [number for number, line in enumerate(lines) if line[:1] == ["element"]]
    first = lines[elements[0]] if elements else []
    if len(first) != 3 or first[1] != "vertex" or not re.fullmatch(r"[0-9]{1,15}", first[2]):
        raise FileError(
            f"{path.name} begins with {' '.join(first[1:])!r} instead of its vertices.",
            "Save it uncompressed in the tool that made it.",
        )
    properties = lines[elements[0] + 1 : elements[1] if len(elements) > 1 else None]
    odd = next((line for line in properties if len(line) != 3 or line[0] != "property" or line[1] not in _TYPES), None)
    if odd is not None:
        raise FileError(f"The header of {path.name} has the line {' '.join(odd)!r} for vertices.", _ANOTHER)
    names = [name for _, _, name in properties]
    missing = [name for name in _NEEDED if name not in names]
    if missing or len(set(names)) < len(names):
        what = f"lacks the property {missing[0]}" if missing else "has a property twice"
        raise FileError(f"{path.name} {what}, so it does not hold Gaussian splats.", _ANOTHER)
    count = int(first[2])
    if count == 0:
        raise FileError(f"{path.name} holds no Gaussians.", _ANOTHER)
    return count, np.dtype([(name, _TYPES[kind]) for _, kind, name in properties])


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
