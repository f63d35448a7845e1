"""Animations with a known motion for objects of the test's scene, written as real files."""

from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from gvf_blender.core.safetensors_file import write_tensors
from gvf_blender.core.sources import SourceObject

FRAMES = 24
PROVENANCE = '{"engine": "fabricated", "seed": 7}'


@dataclass(frozen=True, eq=False)
class Fabricated:
    path: Path
    sources: tuple[SourceObject, ...]
    tracks: dict[str, np.ndarray]
    world_from_unit: np.ndarray

    def at(self, track: str, frame: float) -> np.ndarray:
        """The track's values at a possibly fractional animation frame, mixed linearly, float64."""
        values = self.tracks[track].astype(np.float64)
        if len(values) == 1:
            return values[0]
        earlier = min(int(frame), len(values) - 2)
        weight = frame - earlier
        return (1 - weight) * values[earlier] + weight * values[earlier + 1]

    def world_vertices(self, index: int, frame: float) -> np.ndarray:
        """Where the vertices of source `index` must lie at an animation frame."""
        source = self.sources[index]
        part = self.at("vertices", frame)[source.vertex_start : source.vertex_start + source.vertex_count]
        return part @ self.world_from_unit[:3, :3].T + self.world_from_unit[:3, 3]

    def world_means(self, frame: float) -> np.ndarray:
        return self.at("means", frame) @ self.world_from_unit[:3, :3].T + self.world_from_unit[:3, 3]


def evaluated_world_vertices(name: str) -> np.ndarray:
    evaluated = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())
    local = np.empty((len(evaluated.data.vertices), 3), np.float32)
    evaluated.data.attributes["position"].data.foreach_get("vector", local.ravel())
    matrix = np.array(evaluated.matrix_world, np.float64)
    return local @ matrix[:3, :3].T + matrix[:3, 3]


def capture(*objects: bpy.types.Object) -> tuple[tuple[SourceObject, ...], np.ndarray]:
    """What a capture knows of objects: where they are, and their evaluated vertices in the world."""
    bpy.context.view_layer.update()
    sources, world = [], []
    for found in objects:
        vertices = evaluated_world_vertices(found.name)
        start = sum(len(part) for part in world)
        sources.append(SourceObject(found.name, np.array(found.matrix_world, np.float64), start, len(vertices), False))
        world.append(vertices)
    return tuple(sources), np.concatenate(world)


def fabricate(
    path: Path,
    *objects: bpy.types.Object,
    frames: int = FRAMES,
    gaussians: int = 40,
    fps: float = 24.0,
    changes: dict[str, np.ndarray] | None = None,
    provenance: str = PROVENANCE,
) -> Fabricated:
    """Capture objects and write an animation in which every vertex and every Gaussian moves its own way.

    Args:
        path: Folder for the file.
        objects: The source objects.
        frames: Number of frames.
        gaussians: Number of Gaussians.
        fps: Frames per second of the file.
        changes: Tracks that replace the made-up ones.
        provenance: JSON that the file carries.
    """
    sources, world = capture(*objects)
    low, high = world.min(axis=0), world.max(axis=0)
    world_from_unit = np.diag([*[float((high - low).max())] * 3, 1.0])
    world_from_unit[:3, 3] = (low + high) / 2
    unit = (world - world_from_unit[:3, 3]) / world_from_unit[0, 0]
    random = np.random.default_rng(7)
    quaternions = random.normal(size=(frames, gaussians, 4))
    tracks = {
        "means": _wave(random.uniform(-0.5, 0.5, (gaussians, 3)), frames),
        "quaternions": (quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)).astype(np.float16),
        "scales": random.uniform(0.005, 0.05, (frames, gaussians, 3)).astype(np.float16),
        "colors": random.uniform(0, 1, (1, gaussians, 3)).astype(np.float16),
        "opacities": random.uniform(0, 1, (frames, gaussians)).astype(np.float16),
        "confidence": random.uniform(0, 1, (frames, gaussians)).astype(np.float16),
        "vertices": _wave(unit, frames),
        **(changes or {}),
    }
    metadata = {"format": "gvf-animation", "version": "1", "fps": repr(fps), "provenance": provenance}
    file = path / "animation.safetensors"
    write_tensors(file, {**tracks, "world_from_unit": world_from_unit}, metadata)
    return Fabricated(file, sources, tracks, world_from_unit)


def _wave(rest: np.ndarray, frames: int) -> np.ndarray:
    time = np.arange(frames)[:, None, None] / 5
    return (rest + 0.2 * np.sin(time) * np.cos(7 * rest[:, ::-1]) + 0.1 * time).astype(np.float32)
