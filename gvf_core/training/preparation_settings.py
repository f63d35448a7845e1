"""What is made of every asset when clips are prepared; without imports that take time, for the command line."""

from dataclasses import dataclass
from typing import Literal

from gvf_core.errors import SettingsError

ConditionCamera = Literal["front", "augment"]


@dataclass(frozen=True)
class PreparationSettings:
    """What is made of every asset; the defaults are those of the paper and the official scripts.

    Attributes:
        frames: Of a clip.
        stride: Scene frames from one to the next; clips that are shorter are spread over all frames.
        shortest: Scene frames that a clip must last.
        views: Pictures of frame 0 from all around.
        targets: Pictures of each frame from random sides.
        size: Width and height of pictures in pixels.
        fov: Of front and target cameras, degrees.
        condition: Camera of the driving video.
        samples: Of a pixel.
        clips: At most so many of an asset; 0 for all.
        procedural: Clips of made-up motion for each asset.
        aesthetic: Least aesthetic score of a clip; 0 for no scores.
        seed: Of everything that is random.
        keep_vertices: Whether clips hold the vertices of all frames, not of frame 0 alone.
    """

    frames: int = 24
    stride: int = 1
    shortest: int = 12
    views: int = 150
    targets: int = 4
    size: int = 512
    fov: float = 40.0
    condition: ConditionCamera = "front"
    samples: int = 4
    clips: int = 0
    procedural: int = 0
    aesthetic: float = 0.0
    seed: int = 0
    keep_vertices: bool = False

    def __post_init__(self) -> None:
        checks = (
            *(("frames", 2, 1000), ("stride", 1, 1000), ("shortest", 1, 10_000), ("views", 1, 1000)),
            *(("targets", 0, 100), ("size", 16, 4096), ("fov", 5, 120), ("samples", 1, 4096)),
            *(("clips", 0, 100_000), ("procedural", 0, 1000), ("aesthetic", 0, 10), ("seed", 0, 2**32 - 1)),
        )
        for name, low, high in checks:
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"--{name} is {getattr(self, name)}.", f"Choose a number from {low} to {high}.")
