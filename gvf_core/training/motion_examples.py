"""What the variation VAE learns from: moving surface points of a clip and its canonical Gaussians."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.gaussians import Gaussians, about_vertical, turned
from gvf_core.rendering.camera import Camera
from gvf_core.training.appearance import Target, read_target
from gvf_core.training.canonical_store import CanonicalStore, chosen_frames
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip
from gvf_core.training.draws import generator_of
from gvf_core.training.settings import MotionSettings
from gvf_core.training.static_examples import FeatureStore, canonical_voxels


@dataclass(frozen=True)
class RestVoxels:
    """What D_GS makes the Gaussians of, where it is trained along.

    Attributes:
        indices: Of the voxels.
        features: Of a frozen image encoder.
        targets: Pictures of frame 0.
    """

    indices: Int[Tensor, "voxels 3"]
    features: Float[Tensor, "voxels channels"]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class MotionExample:
    """An object in motion, turned around the vertical axis.

    Attributes:
        name: Of its clip.
        rest: For D_GS; None if it is frozen.
        gaussians: From a frozen D_GS, already turned; else None.
        quaternion: The turn.
        points: Of the surface in frame 0.
        displacements: From there, in the frames that were chosen.
        frames: Their numbers.
        targets: Pictures of some of these frames.
        start: Chooses the first of the Gaussians at which latent tokens sit.
        guided: Chooses the Gaussians that the mesh-guided loss looks at.
        seed: Of the noise.
    """

    name: str
    rest: RestVoxels | None
    gaussians: Gaussians | None
    quaternion: Float[Tensor, "4"]
    points: Float[Tensor, "points 3"]
    displacements: Float[Tensor, "frames points 3"]
    frames: tuple[int, ...]
    targets: tuple[Target, ...]
    start: int
    guided: int
    seed: int


@dataclass(frozen=True)
class MotionExamples:
    """See `gvf_core.training.draws.Examples`.

    Attributes:
        paths: Prepared clips.
        settings: What is chosen of them.
        picture_size: Side of pictures in pixels at most.
        features: Of voxels, where D_GS is trained along.
        canonical: Gaussians, where it is frozen.
    """

    paths: list[Path]
    settings: MotionSettings
    picture_size: int
    features: FeatureStore | None = None
    canonical: CanonicalStore | None = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.paths)

    def example(self, index: int, seed: int) -> MotionExample:
        """A clip with frames, points, turn and pictures that the seed chooses."""
        record, generator, settings = read_clip(self.paths[index]), generator_of(seed), self.settings
        angle = 2 * math.pi * torch.rand((), generator=generator).item() if settings.rotate else 0.0
        quaternion = about_vertical(angle)
        frames = chosen_frames(len(record.points), settings.frames, generator, first=False)
        points, displacements = moving_points(record, frames, settings.points, generator)
        start, guided = torch.randint(1 << 30, (2,), generator=generator).tolist()
        rest, gaussians = None, None
        if self.features is not None:
            rest = self._rest(record, generator, quaternion)
        elif self.canonical is not None:
            gaussians = self.canonical.of(record).rotated(quaternion)
        return MotionExample(
            name=record.name,
            rest=rest,
            gaussians=gaussians,
            quaternion=quaternion,
            points=turned(quaternion, points),
            displacements=turned(quaternion, displacements),
            frames=tuple(frames),
            targets=tuple(self._target(record, frame, generator, quaternion) for frame in frames[: settings.pictures]),
            start=start,
            guided=guided,
            seed=seed,
        )

    def _rest(self, record: ClipRecord, generator: torch.Generator, quaternion: Tensor) -> RestVoxels:
        assert self.features is not None
        indices = canonical_voxels(record)
        views = record.views(ViewRole.CANONICAL)
        view = views[int(torch.randint(len(views), (), generator=generator))]
        target = _turned_target(read_target(record, view, self.picture_size), quaternion)
        return RestVoxels(indices, self.features.of(record, indices), (target,))

    def _target(self, record: ClipRecord, frame: int, generator: torch.Generator, quaternion: Tensor) -> Target:
        views = record.views(ViewRole.TARGET, frame) + record.views(ViewRole.CONDITION, frame)
        view = views[int(torch.randint(len(views), (), generator=generator))]
        return _turned_target(read_target(record, view, self.picture_size), quaternion)


def moving_points(
    record: ClipRecord, frames: Sequence[int], count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "frames points 3"]]:
    """Some points of the surface in frame 0, and how far they are from there in other frames."""
    chosen = torch.randperm(record.points.shape[1], generator=generator)[:count].numpy()
    rest = record.points[0, chosen]
    moved = record.points[list(frames)][:, chosen] - rest
    return torch.from_numpy(rest), torch.from_numpy(moved)


def turned_camera(camera: Camera, quaternion: Float[Tensor, "4"]) -> Camera:
    """The camera that sees a turned object as this one sees the object."""
    back = np.eye(4)
    back[:3, :3] = turned(quaternion.double(), torch.eye(3, dtype=torch.float64)).numpy()
    return replace(camera, world_to_camera=camera.world_to_camera @ back)


def _turned_target(target: Target, quaternion: Tensor) -> Target:
    return replace(target, camera=turned_camera(target.camera, quaternion))
