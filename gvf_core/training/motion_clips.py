"""Moving surface points of animated assets, prepared once for training the motion prior: files and family split."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, Int8, Int32
from safetensors.numpy import save_file

from gvf_core.errors import FileFormatError
from gvf_core.geometry.mesh import SurfacePoints, sample_surface, triangle_normals
from gvf_core.tensorfile import FORMAT_VERSION, read_tensors

FORMAT = "gvf-motion-clips"
HELD_OUT_SHARE = 0.225
"""Of the families of each category that nobody trains on."""
NORMAL_SCALE = 127
"""Of a unit normal stored in 8 bits: half a degree at most is lost."""


@dataclass(frozen=True)
class AssetMotion:
    """Surface points of one asset through windows of its clips.

    Attributes:
        asset: Name.
        family: Assets that share a body or a rig; the split goes by it.
        category: Kind of thing, as in animated.csv.
        windows: What each window is: clip, "@", seconds into it.
        positions: World axes (z up), each window's union of boxes centred, its longest side 1.
        normals: Times `NORMAL_SCALE`.
    """

    asset: str
    family: str
    category: str
    windows: tuple[str, ...]
    positions: Float16[np.ndarray, "windows frames points 3"]
    normals: Int8[np.ndarray, "windows frames points 3"]


def held_out_families(families: Iterable[tuple[str, str]], share: float = HELD_OUT_SHARE) -> frozenset[str]:
    """The families to test on: in each category the first by a fixed hash, none where there is only one.

    Args:
        families: (category, family), any number of times.
        share: Of the families of a category, rounded, at least one of two or more.
    """
    of_category: dict[str, set[str]] = {}
    for category, family in families:
        of_category.setdefault(category, set()).add(family)
    held: set[str] = set()
    for members in of_category.values():
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        held.update(sorted(members, key=_hash)[:count])
    return frozenset(held)


def split_by_family(assets: Sequence[AssetMotion]) -> tuple[list[AssetMotion], list[AssetMotion]]:
    """Assets to train on and assets of held-out families."""
    held = held_out_families((asset.category, asset.family) for asset in assets)
    return [a for a in assets if a.family not in held], [a for a in assets if a.family in held]


def sample_motion(
    windows: Sequence[Float32[np.ndarray, "frames vertices 3"]],
    triangles: Int32[np.ndarray, "triangles 3"],
    points: int = 2048,
    seed: int = 0,
) -> tuple[Float16[np.ndarray, "windows frames points 3"], Int8[np.ndarray, "windows frames points 3"]]:
    """Positions and normals of surface points, as `AssetMotion` holds them.

    Args:
        windows: Vertices, z up; the points are chosen on the first frame of the first window.
        triangles: Vertex indices.
        points: How many, evenly spread by area, in random order.
        seed: Of their choice.
    """
    rng = np.random.default_rng(seed)
    surface = sample_surface(windows[0][0], triangles, points, rng)
    order = rng.permutation(points)
    surface = SurfacePoints(surface.triangle[order], surface.barycentric[order])
    positions, normals = [], []
    for vertices in windows:
        moved = surface.positions(vertices, triangles)
        low, high = moved.min(axis=(0, 1)), moved.max(axis=(0, 1))
        positions.append((moved - (low + high) / 2) / max(float((high - low).max()), 1e-6))
        turned = [triangle_normals(frame, triangles)[0][surface.triangle] for frame in vertices]
        normals.append(np.round(np.stack(turned) * NORMAL_SCALE))
    return np.stack(positions).astype(np.float16), np.stack(normals).astype(np.int8)


def write_asset_motion(folder: Path, motion: AssetMotion) -> Path:
    """Write the file of an asset, whole or not at all; returns where."""
    path = folder / f"{motion.asset}.safetensors"
    tensors: dict[str, np.ndarray] = {
        "positions": np.ascontiguousarray(motion.positions, np.float16),
        "normals": np.ascontiguousarray(motion.normals, np.int8),
    }
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "family": motion.family,
        "category": motion.category,
        "windows": json.dumps(motion.windows),
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)
    return path


def read_asset_motions(folder: Path) -> list[AssetMotion]:
    """All assets of a folder, by name.

    Raises:
        FileFormatError: The folder has none, or a file is not what it should be.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise FileFormatError(f"There are no prepared clips in {folder}.", "Prepare them with: gvf train prepare-prior")
    return [_read(path) for path in paths]


def _read(path: Path) -> AssetMotion:
    shape = (None, None, None, 3)
    tensors, metadata = read_tensors(path, FORMAT, {"positions": ("F16", shape), "normals": ("I8", shape)})
    try:
        windows = tuple(json.loads(metadata["windows"]))
        family, category = metadata["family"], metadata["category"]
    except (KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path.name} does not say whose motion it is ({error}).", "Prepare it again.") from error
    if tensors["positions"].shape != tensors["normals"].shape or len(windows) != len(tensors["positions"]):
        raise FileFormatError(f"{path.name} does not have a normal for every point.", "Prepare it again.")
    return AssetMotion(path.stem, family, category, windows, tensors["positions"], tensors["normals"])


def _hash(family: str) -> str:
    return hashlib.sha256(family.encode()).hexdigest()
