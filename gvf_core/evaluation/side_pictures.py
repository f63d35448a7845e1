"""Pictures from the sides that the driving video does not show, of the size and over the background of the papers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from gvf_core.evaluation.judges import Judges, installed_judges
from gvf_core.evaluation.picture_scores import PictureScores, score_views
from gvf_core.evaluation.true_motion import draw, over
from gvf_core.gaussians import Splats
from gvf_core.rendering import Camera

WHITE = (1.0, 1.0, 1.0)
"""What Consistent4D's evaluation, and those that follow it, lay pictures over."""

Side = UInt8[np.ndarray, "frames 3 height width"]


@dataclass(frozen=True)
class SideComparison:
    """The truth from several sides, and who compares with it.

    Attributes:
        cameras: Of the sides.
        truth: What they see, as bytes, as files of pictures hold it.
        judges: Networks that compare.
    """

    cameras: Sequence[Camera]
    truth: Sequence[Side]
    judges: Judges

    @classmethod
    def of(cls, splats: Callable[[int], Splats], cameras: Sequence[Camera], frames: int, size: int) -> "SideComparison":
        """Draw the truth.

        Args:
            splats: The true Gaussians at a frame.
            cameras: Of the sides; only their places and lenses are taken.
            frames: How many to draw.
            size: Width and height in pixels.
        """
        larger = [camera.resized(size, size) for camera in cameras]
        return cls(larger, [side_pictures(splats, camera, frames) for camera in larger], installed_judges())

    def compare(self, splats: Callable[[int], Splats]) -> PictureScores:
        """Score found Gaussians; every frame counts, the first one too."""
        views = (
            (_numbers(side_pictures(splats, camera, len(truth))), _numbers(truth))
            for camera, truth in zip(self.cameras, self.truth, strict=True)
        )
        return score_views(views, self.judges)

    def as_row(self, scores: PictureScores) -> dict[str, Any]:
        """For a report."""
        return {"size": self.cameras[0].width, **scores.as_row(), "weights": dict(self.judges.weights)}


def side_pictures(splats: Callable[[int], Splats], camera: Camera, frames: int) -> Side:
    """What a camera sees of Gaussians in each frame, over white."""
    background = torch.tensor(WHITE)
    pictures = [over(draw(splats(index), camera), background) for index in range(frames)]
    return np.stack([(255 * one).round().to(torch.uint8).movedim(-1, 0).numpy() for one in pictures])


def _numbers(side: Side) -> Tensor:
    return torch.from_numpy(side).float() / 255
