"""What an export needs of GLB files: reading one mesh that moves by morph targets, and noting where it comes from."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileError

_TYPES: dict[int, np.dtype] = {
    5121: np.dtype("u1"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
# Of the file: magic, version, length; of its first chunk, which is the JSON: length, kind.
_HEADER = struct.Struct("<5I")
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True, eq=False)
class MorphMesh:
    """All primitives of a mesh, one after another, in glTF's coordinates (y up) of its node.

    Attributes:
        base: Positions without any target [V, 3].
        targets: What each target adds [K, V, 3].
        times: Seconds of the keys [T]; one, 0, of a mesh without targets.
        weights: Of every target at every key [T, K].
        places: Of the node at every key [T, 3]; [1, 3] if it does not move.
    """

    base: np.ndarray
    targets: np.ndarray
    times: np.ndarray
    weights: np.ndarray
    places: np.ndarray

    def at_key(self, index: int) -> np.ndarray:
        """Positions at a key [V, 3]."""
        return self.base + np.tensordot(self.weights[index].astype(np.float64), self.targets, axes=1)


def read_morph_mesh(path: Path, name: str | None = None) -> MorphMesh:
    """The mesh of a node of a GLB file, and its animation of weights and places.

    Args:
        path: The file.
        name: Of the node; None takes the first with a mesh.

    Raises:
        FileError: It cannot be read, or holds nothing of that kind.
    """
    try:
        content = path.read_bytes()
        length = _HEADER.unpack_from(content)[3]
        file = json.loads(content[_HEADER.size : _HEADER.size + length])
        read = _Reader(file, content[_HEADER.size + length + 8 :])
        index = next(i for i, one in enumerate(file["nodes"]) if "mesh" in one and name in (None, one["name"]))
        node = file["nodes"][index]
        primitives = file["meshes"][node["mesh"]]["primitives"]
        base = np.concatenate([read(primitive["attributes"]["POSITION"]) for primitive in primitives])
        count = len(primitives[0].get("targets", ()))
        targets = [
            np.concatenate([read(primitive["targets"][index]["POSITION"]) for primitive in primitives])
            for index in range(count)
        ]
        sampler = _sampler(file, index, "weights")
        if sampler is not None:
            times, weights = read(sampler["input"]), read(sampler["output"])
        elif not targets:
            times, weights = np.zeros(1, np.float32), np.zeros(0, np.float32)
        else:
            raise ValueError("no animated weights")
        going = _sampler(file, index, "translation")
        still = np.array([node.get("translation", (0.0, 0.0, 0.0))], np.float32)
        places = still if going is None else read(going["output"])
        moves = np.stack(targets) if targets else np.zeros((0, *base.shape), np.float32)
        return MorphMesh(base, moves, times, weights.reshape(len(times), count), places)
    except OSError as error:
        raise FileError(f"{path} could not be read ({error.strerror}).", "Choose another file.") from error
    except (KeyError, IndexError, ValueError, StopIteration, struct.error) as error:
        raise FileError(f"{path} holds no mesh that moves by morph targets ({error!r}).", "Export it again.") from error


def add_asset_extras(path: Path, values: dict[str, Any], names: dict[str, dict[str, str]]) -> None:
    """Note what other programs keep and show with the file: the `extras` of its `asset`, and names.

    Args:
        path: The file.
        values: For the extras.
        names: New names by old ones, by the kind of what has them, such as "nodes".

    Raises:
        FileError: It cannot be read or written, or is no GLB file.
    """
    try:
        content = path.read_bytes()
        magic, version, _, length, kind = _HEADER.unpack_from(content)
        file = json.loads(content[_HEADER.size : _HEADER.size + length])
        file["asset"].setdefault("extras", {}).update(values)
        for named, renamed in names.items():
            for each in file[named]:
                each["name"] = renamed.get(each["name"], each["name"])
        text = json.dumps(file, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        rest = content[_HEADER.size + length :]
        header = _HEADER.pack(magic, version, _HEADER.size + len(text) + len(rest), len(text), kind)
        path.write_bytes(header + text + rest)
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Choose another folder.") from error
    except (KeyError, ValueError, struct.error) as error:
        raise FileError(f"{path} is no GLB file ({error!r}).", "Export it again.") from error


def _sampler(file: dict[str, Any], node: int, path: str) -> dict[str, Any] | None:
    """The one that animates something of a node."""
    found = (
        animation["samplers"][channel["sampler"]]
        for animation in file.get("animations", ())
        for channel in animation["channels"]
        if channel["target"] == {"node": node, "path": path}
    )
    return next(found, None)


class _Reader:
    """Arrays by the number of their accessor; neither sparse nor interleaved ones, which Blender does not write."""

    def __init__(self, file: dict[str, Any], data: bytes) -> None:
        self._file = file
        self._data = data

    def __call__(self, index: int) -> np.ndarray:
        accessor = self._file["accessors"][index]
        size, count = _SIZES[accessor["type"]], accessor["count"]
        if "bufferView" not in accessor:
            return np.zeros((count, size) if size > 1 else count, np.float32)
        view = self._file["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        values = np.frombuffer(self._data, dtype=_TYPES[accessor["componentType"]], count=count * size, offset=start)
        return values.reshape(count, size) if size > 1 else values
