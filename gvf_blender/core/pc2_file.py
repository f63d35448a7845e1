"""Point caches (.pc2): positions of vertices per sample, for the Mesh Cache modifier and other programs."""

import struct
from pathlib import Path

import numpy as np

from .errors import FileError

_HEADER = struct.Struct("<12siiffi")
_MAGIC, _VERSION = b"POINTCACHE2\0", 1


def write_pc2(path: Path, positions: np.ndarray, start: float, step: float = 1.0) -> None:
    """Write a cache; an existing file is replaced.

    Args:
        path: The file.
        positions: Object-local positions [T, V, 3].
        start: Frame of the first sample.
        step: Frames from one sample to the next.

    Raises:
        FileError: The file cannot be written.
    """
    frames, vertices = positions.shape[:2]
    header = _HEADER.pack(_MAGIC, _VERSION, vertices, start, step, frames)
    try:
        with path.open("wb") as file:
            file.write(header)
            file.write(np.ascontiguousarray(positions, "<f4").data)
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Choose another folder.") from error


def read_pc2(path: Path) -> np.ndarray:
    """Positions [T, V, 3] of a cache.

    Raises:
        FileError: It cannot be read, or is no point cache.
    """
    try:
        content = path.read_bytes()
        magic, version, vertices, _, _, frames = _HEADER.unpack_from(content)
        positions = np.frombuffer(content, "<f4", offset=_HEADER.size).reshape(frames, vertices, 3)
    except OSError as error:
        raise FileError(f"{path} could not be read ({error.strerror}).", "Choose another file.") from error
    except (struct.error, ValueError) as error:
        raise FileError(f"{path} is no whole point cache ({error}).", "Export it again.") from error
    if (magic, version) != (_MAGIC, _VERSION):
        raise FileError(f"{path} is no point cache of version {_VERSION}.", "Export it again.")
    return positions
