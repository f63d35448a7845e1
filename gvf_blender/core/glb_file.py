"""GLB files as an export needs them: taken apart, changed and put together, and one mesh that moves read back."""

import json
import struct
from collections.abc import Iterable
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
_FLOAT = 5126
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
# Of the file: magic, version, length; of its first chunk, which is the JSON: length, kind.
_HEADER = struct.Struct("<5I")
_CHUNK = struct.Struct("<2I")
_SIZES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
# Lengths in the file have 32 bits.
_MAX_BYTES = 2**32 - 1


@dataclass(eq=False)
class GlbFile:
    """A file in memory.

    Attributes:
        content: Its JSON.
        views: The bytes of each of its buffer views.
    """

    content: dict[str, Any]
    views: list[bytes]

    @classmethod
    def read(cls, path: Path) -> "GlbFile":
        """Take a file apart.

        Raises:
            FileError: It cannot be read, or is no GLB file.
        """
        try:
            data = memoryview(path.read_bytes())
            length = _HEADER.unpack_from(data)[3]
            content = json.loads(bytes(data[_HEADER.size : _HEADER.size + length]))
            inside = data[_HEADER.size + length + _CHUNK.size :]
            starts = [(view.get("byteOffset", 0), view["byteLength"]) for view in content.get("bufferViews", ())]
            return cls(content, [bytes(inside[start : start + size]) for start, size in starts])
        except OSError as error:
            raise FileError(f"{path} could not be read ({error.strerror}).", "Choose another file.") from error
        except (KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
            raise FileError(f"{path} is no GLB file ({error!r}).", "Export it again.") from error

    def write(self, path: Path) -> None:
        """Put the file together.

        Raises:
            FileError: It cannot be written, is larger than such a file can be, or holds what is no number.
        """
        described, end = self.content.get("bufferViews", ()), 0
        for view, data in zip(described, self.views, strict=True):
            view["byteOffset"], view["byteLength"] = end, len(data)
            end += len(data) + -len(data) % 4
        self.content["buffers"] = [{"byteLength": end}] if end else []
        try:
            text = json.dumps(self.content, separators=(",", ":"), allow_nan=False).encode()
        except ValueError as error:
            message = f"GLB files hold numbers only, and in {path} there would be others ({error})."
            raise FileError(message, "Look for vertices without a place, or choose Alembic or USD.") from error
        text += b" " * (-len(text) % 4)
        total = _HEADER.size + len(text) + _CHUNK.size + end
        if total > _MAX_BYTES:
            raise FileError(
                f"A GLB file holds 4 GiB at most, and this one would need {total / 2**30:.1f}.",
                "Export fewer frames, or Alembic or USD.",
            )
        try:
            with path.open("wb") as file:
                file.write(_HEADER.pack(_MAGIC, _VERSION, total, len(text), _JSON) + text + _CHUNK.pack(end, _BIN))
                for data in self.views:
                    file.write(data)
                    file.write(bytes(-len(data) % 4))
        except OSError as error:
            raise FileError(f"{path} could not be written ({error.strerror}).", "Choose another folder.") from error

    def array(self, index: int) -> np.ndarray:
        """The values of an accessor; neither of a sparse nor of an interleaved one, which Blender does not write."""
        accessor = self.content["accessors"][index]
        size, count = _SIZES[accessor["type"]], accessor["count"]
        if "bufferView" not in accessor:
            return np.zeros((count, size) if size > 1 else count, np.float32)
        values = np.frombuffer(
            self.views[accessor["bufferView"]],
            dtype=_TYPES[accessor["componentType"]],
            count=count * size,
            offset=accessor.get("byteOffset", 0),
        )
        return values.reshape(count, size) if size > 1 else values

    def add_array(self, values: np.ndarray) -> int:
        """Add an accessor of float32 values [N] or [N, 3], and tell its number."""
        values = np.ascontiguousarray(values, "<f4")
        self.views.append(values.tobytes())
        self.content.setdefault("bufferViews", []).append({"buffer": 0})
        accessors = self.content.setdefault("accessors", [])
        low, high = (np.atleast_1d(bound).tolist() for bound in (values.min(axis=0), values.max(axis=0)))
        accessors.append(
            {
                "bufferView": len(self.views) - 1,
                "componentType": _FLOAT,
                "count": len(values),
                "type": "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}",
                "min": low,
                "max": high,
            }
        )
        return len(accessors) - 1

    def remove_array(self, index: int) -> None:
        """Remove an accessor that only a mesh without targets had, and its bytes."""
        view = self.content["accessors"].pop(index)["bufferView"]
        for primitive in self._primitives():
            _close_gap(primitive, ("indices",), index)
            _close_gap(primitive["attributes"], tuple(primitive["attributes"]), index)
        if any(other.get("bufferView") == view for other in self.content["accessors"]):
            return
        del self.views[view], self.content["bufferViews"][view]
        for user in (*self.content["accessors"], *self.content.get("images", ())):
            _close_gap(user, ("bufferView",), view)

    def _primitives(self) -> Iterable[dict[str, Any]]:
        return (primitive for mesh in self.content["meshes"] for primitive in mesh["primitives"])


def _close_gap(numbers: dict[str, Any], names: Iterable[str], removed: int) -> None:
    """Count down what comes after something that was removed."""
    for name in names:
        if numbers.get(name, -1) > removed:
            numbers[name] -= 1


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
        # Of the targets that count, as usually one of a thousand does.
        used = np.flatnonzero(self.weights[index])
        return self.base + np.tensordot(self.weights[index, used].astype(np.float64), self.targets[used], axes=1)


def read_morph_mesh(path: Path, node: int | None = None) -> MorphMesh:
    """The mesh of a node of a GLB file, and its animation of weights and places.

    Args:
        path: The file.
        node: Its number; None takes the first with a mesh.

    Raises:
        FileError: It cannot be read, or holds nothing of that kind.
    """
    file = GlbFile.read(path)
    try:
        nodes = file.content["nodes"]
        index = next(i for i, one in enumerate(nodes) if "mesh" in one) if node is None else node
        primitives = file.content["meshes"][nodes[index]["mesh"]]["primitives"]
        base = np.concatenate([file.array(primitive["attributes"]["POSITION"]) for primitive in primitives])
        count = len(primitives[0].get("targets", ()))
        targets = [
            np.concatenate([file.array(primitive["targets"][index]["POSITION"]) for primitive in primitives])
            for index in range(count)
        ]
        sampler = _sampler(file.content, index, "weights")
        if sampler is not None:
            times, weights = file.array(sampler["input"]), file.array(sampler["output"])
        elif not targets:
            times, weights = np.zeros(1, np.float32), np.zeros(0, np.float32)
        else:
            raise ValueError("no animated weights")
        going = _sampler(file.content, index, "translation")
        still = np.array([nodes[index].get("translation", (0.0, 0.0, 0.0))], np.float32)
        places = still if going is None else file.array(going["output"])
        moves = np.stack(targets) if targets else np.zeros((0, *base.shape), np.float32)
        return MorphMesh(base, moves, times, weights.reshape(len(times), count), places)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise FileError(f"{path} holds no mesh that moves by morph targets ({error!r}).", "Export it again.") from error


def _sampler(file: dict[str, Any], node: int, path: str) -> dict[str, Any] | None:
    """The one that animates something of a node."""
    found = (
        animation["samplers"][channel["sampler"]]
        for animation in file.get("animations", ())
        for channel in animation["channels"]
        if channel["target"] == {"node": node, "path": path}
    )
    return next(found, None)
