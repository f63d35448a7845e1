"""Gaussians as PLY files in the layout of the original 3D Gaussian splatting code, spherical harmonics degree 0."""

import math
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64

from gvf_core.errors import FileFormatError, FileNotWrittenError
from gvf_core.gaussians import SH_DC, Gaussians, Splats, VariationField

UpAxis = Literal["-y", "z"]
"""Which way is up in a file: "-y" as in the official code and the usual viewers, or "z" as in Blender and here."""

COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
"""All float32. Normals are zero; colours are raw DC coefficients, opacities logits, scales logarithms."""
MAX_GAUSSIANS = 10_000_000
"""Files with more are refused; the largest scenes of the original paper have about six million."""

_NEEDED = tuple(name for name in COLUMNS if name not in ("nx", "ny", "nz"))
_LOGIT_LIMIT = 20.0
# The smallest normal float32, so that the logarithm is finite.
_MIN_SCALE = float(np.finfo(np.float32).tiny)
_HEADER_BYTES = 65_536
# Degree 3 has 62.
_MAX_PROPERTIES = 100
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
_EXPORT_AGAIN = "Export it as a binary, uncompressed Gaussian splatting PLY."


@dataclass(frozen=True)
class _Header:
    """What a file says about itself.

    Attributes:
        count: Number of Gaussians.
        row: Names and types of the values of each.
        size: Bytes before the first Gaussian.
    """

    count: int
    row: np.dtype
    size: int


def write_ply(path: Path, splats: Splats, up: UpAxis = "-y") -> None:
    """Write the Gaussians of one frame. The file appears whole or not at all.

    Opacities of exactly 0 and 1 are written as logits of -20 and 20, scales of 0 as the smallest float32.

    Args:
        path: The file.
        splats: One frame, z up.
        up: With "-y", positions and rotations are turned by (x, y, z) -> (x, -z, y).

    Raises:
        FileNotWrittenError: The disk is full, the folder is missing, or a value is not finite.
    """
    content = _encode(splats, up)
    partial = path.with_name(path.name + ".partial")
    with _failures_in_words(path):
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:
            # Not a folder of that name, which was not ours.
            if partial.is_file():
                partial.unlink()
            raise


def write_ply_sequence(
    folder: Path,
    gaussians: Gaussians,
    variation: VariationField,
    on_progress: Callable[[float], None] = lambda fraction: None,
    up: UpAxis = "-y",
) -> list[Path]:
    """Write frame_0000.ply, frame_0001.ply, ... into a folder that exists.

    One frame is in memory at a time. The files appear together at the end, so that stopping leaves those of an earlier
    export as they were. Files of an earlier, longer sequence are not removed.

    Args:
        folder: Where to write.
        gaussians: The canonical Gaussians.
        variation: Their deltas per frame.
        on_progress: Called with the fraction done before each frame; may raise to stop.
        up: As for `write_ply`.

    Raises:
        FileNotWrittenError: As for `write_ply`.
    """
    names = [f"frame_{index:04d}.ply" for index in range(len(variation.deltas))]
    # Next to the result, because renaming across disks would be copying.
    with _failures_in_words(folder), tempfile.TemporaryDirectory(prefix=".frames-", dir=folder) as waiting:
        for index, name in enumerate(names):
            on_progress(index / len(names))
            with torch.no_grad():
                splats = gaussians.activate(variation.deltas[index])
            (Path(waiting) / name).write_bytes(_encode(splats, up))
        return [(Path(waiting) / name).replace(folder / name) for name in names]


def read_ply(path: Path, up: UpAxis = "-y") -> Splats:
    """Read Gaussians of degree 0; what `write_ply` did is undone.

    Columns beyond those of degree 0 are passed over; normals may be missing.

    Args:
        path: The file.
        up: Which way is up in the file.

    Returns:
        The Gaussians, z up, float32.

    Raises:
        FileFormatError: The file is not such a file, is damaged, too large, or holds values that mean nothing.
    """
    try:
        # Opening what is no plain file could wait for ever.
        if not path.is_file():
            raise FileFormatError(f"There is no file {path}.", "Choose another file.")
        with path.open("rb") as file:
            header = _read_header(file, path)
            file.seek(header.size)
            table = np.fromfile(file, header.row, header.count)
    except OSError as error:
        raise FileFormatError(f"{path.name} cannot be read ({error.strerror}).", "Choose another file.") from error
    if len(table) != header.count:
        raise FileFormatError(f"{path.name} was changed while it was read.", "Try again.")
    return _decode(table, path.name, up)


def _encode(splats: Splats, up: UpAxis) -> bytes:
    if splats.means.ndim != 2:
        raise FileNotWrittenError(
            f"Means have the shape {list(splats.means.shape)}, not [gaussians, 3].", "Write one frame at a time."
        )
    means, quaternions, scales, opacities, colors = (field.detach().cpu().double().numpy() for field in splats)
    # Whatever goes wrong in here is told from the result.
    with np.errstate(all="ignore"):
        if up == "-y":
            means, quaternions = _turned(means, quaternions)
        logits = np.log(opacities) - np.log1p(-opacities)
        parts = [
            means,
            np.zeros_like(means),
            (colors - 0.5) / SH_DC,
            np.clip(logits, -_LOGIT_LIMIT, _LOGIT_LIMIT)[:, None],
            np.log(np.maximum(scales, _MIN_SCALE)),
            quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True),
        ]
        table = np.concatenate(parts, axis=1).astype("<f4")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise FileNotWrittenError(
            f"{len(bad)} of {len(table)} Gaussians have values that are not finite, the first one number {bad[0]}.",
            "Make the animation again, with other settings.",
        )
    properties = "".join(f"property float {name}\n" for name in COLUMNS)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    return header.encode("ascii") + table.tobytes()


def _decode(table: np.ndarray, name: str, up: UpAxis) -> Splats:
    values = np.stack([table[column] for column in _NEEDED], axis=1).astype(np.float64)
    means, dc, logits, logs, quaternions = np.split(values, [3, 6, 7, 10], axis=1)
    # Whatever goes wrong in here is told from the result.
    with np.errstate(all="ignore"):
        quaternions = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
        if up == "-y":
            means, quaternions = _turned(means, quaternions, back=True)
        opacities, colors = 1 / (1 + np.exp(-logits)), np.maximum(SH_DC * dc + 0.5, 0)
        fields = [field.astype(np.float32) for field in (means, quaternions, np.exp(logs), opacities, colors)]
    # What was read is checked too, because infinite logits would pass as opacities.
    bad = np.flatnonzero(~np.isfinite(np.concatenate([values, *fields], axis=1)).all(axis=1))
    if len(bad):
        raise FileFormatError(
            f"{len(bad)} of the {len(values)} Gaussians in {name} have values that are not finite, no rotation or an "
            f"endless size, the first one number {bad[0]}.",
            "Export it again.",
        )
    read = Splats(*(torch.from_numpy(field) for field in fields))
    return read._replace(opacities=read.opacities[:, 0])


def _turned(
    means: Float64[np.ndarray, "gaussians 3"], quaternions: Float64[np.ndarray, "gaussians 4"], back: bool = False
) -> tuple[Float[np.ndarray, "gaussians 3"], Float[np.ndarray, "gaussians 4"]]:
    """Positions and rotations after a quarter turn about x, which takes z to -y; or before it."""
    x, y, z = means.T
    sign = -1 if back else 1
    # The product of the quaternions (1, sign, 0, 0) / sqrt(2) and (w, i, j, k).
    w, i, j, k = quaternions.T * math.sqrt(0.5)
    turned = np.stack([w - sign * i, i + sign * w, j - sign * k, k + sign * j], axis=1)
    return np.stack([x, -sign * z, sign * y], axis=1), turned


def _read_header(file: BinaryIO, path: Path) -> _Header:
    """Check everything that the header says, before memory is taken for what it announces."""
    start = file.read(_HEADER_BYTES)
    end = re.search(rb"\nend_header\r?\n", start)
    if not re.match(rb"ply\r?\n", start) or end is None:
        raise FileFormatError(f"{path.name} is not a PLY file.", _EXPORT_AGAIN)
    try:
        lines = [line.split() for line in start[: end.start()].decode("ascii").splitlines()[1:]]
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path.name} is not a PLY file: its header is not ASCII.", _EXPORT_AGAIN) from error
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if lines[:1] != [["format", "binary_little_endian", "1.0"]]:
        found = " ".join(lines[0][1:2]) if lines and lines[0][0] == "format" else "nothing"
        raise FileFormatError(f"{path.name} has the PLY format {found!r}, not binary_little_endian.", _EXPORT_AGAIN)
    elements = [words[1:] for words in lines if words[0] == "element"]
    if [words[:1] for words in elements] != [["vertex"]] or lines[1][0] != "element":
        names = ", ".join(words[0] for words in elements if words)[:100]
        raise FileFormatError(f"{path.name} holds {names or 'nothing'}, expected vertex alone.", _EXPORT_AGAIN)
    count = _count(elements[0], path.name)
    row = _row(lines[2:], path.name)
    expected, actual = end.end() + count * row.itemsize, path.stat().st_size
    if expected != actual:
        raise FileFormatError(
            f"{path.name} has {actual} bytes, but its header announces {count} Gaussians, which need {expected}.",
            "Probably it was cut off on its way; copy or export it again.",
        )
    return _Header(count, row, end.end())


def _count(words: list[str], name: str) -> int:
    # Nine digits at most, because Python refuses to read numbers with thousands of them.
    if len(words) != 2 or not re.fullmatch(r"[0-9]{1,9}", words[1]):
        raise FileFormatError(f"{name} has no valid number of Gaussians: {' '.join(words[1:])[:40]!r}.", _EXPORT_AGAIN)
    count = int(words[1])
    if count > MAX_GAUSSIANS:
        raise FileFormatError(f"{name} has {count} Gaussians, more than {MAX_GAUSSIANS}.", "Choose a smaller file.")
    return count


def _row(lines: list[list[str]], name: str) -> np.dtype:
    """The values of one Gaussian, in the order of the file."""
    fields: dict[str, str] = {}
    for words in lines:
        if len(words) != 3 or words[0] != "property" or words[1] not in _TYPES:
            raise FileFormatError(f"{name} has a header line {' '.join(words)[:60]!r}.", _EXPORT_AGAIN)
        if words[2] in fields:
            raise FileFormatError(f"{name} has the column {words[2][:40]!r} twice.", _EXPORT_AGAIN)
        fields[words[2]] = _TYPES[words[1]]
    if lacking := [column for column in _NEEDED if fields.get(column) != "<f4"]:
        raise FileFormatError(f"{name} lacks {', '.join(lacking)} as float columns.", _EXPORT_AGAIN)
    if len(fields) > _MAX_PROPERTIES:
        raise FileFormatError(f"{name} has {len(fields)} columns, more than {_MAX_PROPERTIES}.", _EXPORT_AGAIN)
    return np.dtype(list(fields.items()))


@contextmanager
def _failures_in_words(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileNotWrittenError(
            f"{place} could not be written ({error.strerror or error}).",
            "Free some disk space or choose another place.",
        ) from error
