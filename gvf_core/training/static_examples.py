"""What the static VAE learns from: voxels of a clip's first frame, their features, pictures to compare with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.canonical.voxel_features import FeatureMean, voxel_centers
from gvf_core.errors import FileFormatError
from gvf_core.geometry.voxels import active_voxels
from gvf_core.models.image_encoder import ImageEncoder, prepare_images
from gvf_core.training.appearance import Target, read_target
from gvf_core.training.clip_motion import LEAST_VOXELS
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip
from gvf_core.training.draws import generator_of
from gvf_core.training.kept_tensors import kept_tensors


@dataclass(frozen=True)
class ShownVoxels:
    """Pictures that an image encoder is trained on, and where they show each voxel.

    Attributes:
        images: As the image encoder takes them.
        places: Of the voxels' centres, -1..1 across each picture.
    """

    images: Float[Tensor, "views 3 size size"]
    places: Float[Tensor, "views voxels 2"]


@dataclass(frozen=True)
class StaticExample:
    """An object at rest.

    Attributes:
        name: Of its clip.
        indices: Of the voxels that its surface touches.
        shown: For an image encoder that is trained; else None.
        features: From a frozen image encoder; else None.
        targets: Pictures of frame 0.
        seed: Of the noise.
    """

    name: str
    indices: Int[Tensor, "voxels 3"]
    shown: ShownVoxels | None
    features: Float[Tensor, "voxels channels"] | None
    targets: tuple[Target, ...]
    seed: int


@dataclass(frozen=True)
class StaticExamples:
    """See `gvf_core.training.draws.Examples`.

    Attributes:
        paths: Prepared clips.
        pictures: Targets of an object.
        picture_size: Their side in pixels at most.
        views: Views that are shown to an image encoder that is trained; 0 for all.
        image_size: Side that it takes in pixels; None if it is frozen.
        features: What gives the features of a frozen one; None if it is trained.
    """

    paths: list[Path]
    pictures: int
    picture_size: int
    views: int = 0
    image_size: int | None = None
    features: "FeatureStore | None" = None

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.paths)

    def example(self, index: int, seed: int) -> StaticExample:
        """A clip with views and targets that the seed chooses."""
        record = read_clip(self.paths[index])
        generator = generator_of(seed)
        indices = canonical_voxels(record)
        canonical = record.views(ViewRole.CANONICAL)
        chosen = _some(canonical + record.views(ViewRole.TARGET, frame=0), self.pictures, generator)
        targets = tuple(read_target(record, view, self.picture_size) for view in chosen)
        shown, features = None, None
        if self.image_size is not None:
            shown = show_voxels(record, _some(canonical, self.views or len(canonical), generator), self.image_size)
        elif self.features is not None:
            features = self.features.of(record, indices)
        return StaticExample(record.name, indices, shown, features, targets, seed)


def canonical_voxels(record: ClipRecord) -> Int[Tensor, "voxels 3"]:
    """Voxels that the surface of frame 0 touches.

    Raises:
        FileFormatError: They are too few for the networks; clips that are prepared now have enough.
    """
    indices = active_voxels(record.vertices, record.triangles)
    if len(indices) < LEAST_VOXELS:
        raise FileFormatError(
            f"{record.name} fills {len(indices)} voxels; the networks need {LEAST_VOXELS}.",
            "Remove its file from the prepared clips: it is too thin beside its length.",
        )
    return torch.from_numpy(indices)


def show_voxels(record: ClipRecord, views: list[int], size: int) -> ShownVoxels:
    """Views on black for the image encoder, and where they show the voxels."""
    centers = voxel_centers(canonical_voxels(record)).numpy().astype(np.float64)
    images, places = [], []
    for index in views:
        view = record.view(index)
        images.append(prepare_images(view.rgba[None], size, "black"))
        pixels, _ = view.camera.project(centers)
        places.append(torch.from_numpy(2 * pixels / [view.camera.width, view.camera.height] - 1).float())
    return ShownVoxels(torch.cat(images), torch.stack(places))


class FeatureStore:
    """Features of voxels from a frozen image encoder, computed once and kept as files in float16.

    Args:
        encoder: DINOv2.
        folder: Where the files are; other encoders need other folders.
    """

    def __init__(self, encoder: ImageEncoder, folder: Path) -> None:
        self._encoder, self._folder = encoder, folder

    def of(self, record: ClipRecord, indices: Int[Tensor, "voxels 3"]) -> Float[Tensor, "voxels channels"]:
        """The plain mean over the canonical views, as TRELLIS gathers it."""

        def make() -> dict[str, Tensor]:
            return {"features": mean_view_features(self._encoder, record, indices).half()}

        return kept_tensors(self._folder, record, make)["features"].float()


def mean_view_features(
    encoder: ImageEncoder, record: ClipRecord, indices: Int[Tensor, "voxels 3"]
) -> Float[Tensor, "voxels channels"]:
    """Mean over the canonical views, as at inference."""
    mean = FeatureMean(voxel_centers(indices).to(encoder.device))
    for index in record.views(ViewRole.CANONICAL):
        view = record.view(index)
        mean.add(encoder.voxel_tokens(view.rgba[None])[0].float(), view.camera)
    return mean.result().cpu().contiguous()


def _some(views: list[int], count: int, generator: torch.Generator) -> list[int]:
    order = torch.randperm(len(views), generator=generator)[:count].tolist()
    return [views[place] for place in order]
