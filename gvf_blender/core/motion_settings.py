"""What the artist may choose for one animation, checked before anything expensive starts."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import SettingsError

CHOICES: dict[str, tuple[str, ...]] = {
    "engine": ("auto", "fit", "diffusion"),
    "preset": ("fast", "standard", "best"),
    "view": ("given", "search"),
    "matting": ("auto", "alpha", "plain", "rembg"),
    "background": ("white", "black"),
    "voxel_features": ("mean", "visible"),
    "sampler": ("adaptive", "multistep"),
    "long_clips": ("windows", "segments"),
}
"""Allowed words: the server's own, so that a wrong one fails before the capture."""
RANGES: dict[str, tuple[float, float]] = {
    "gaussians": (100, 500_000),
    "seed": (0, 2**31 - 1),
    "azimuth": (-360, 360),
    "elevation": (-89, 89),
    "fov": (5, 120),
    "start_frame": (0, 100_000),
    "frame_stride": (1, 100),
    "max_frames": (2, 500),
    "steps": (1, 1000),
    "tolerance": (0.0001, 1),
    "static_guidance": (0, 20),
    "image_guidance": (0, 20),
    "refine_seconds": (0, 3600),
    "samples": (1, 16),
    "window": (2, 128),
    "overlap": (0, 64),
}
"""Lowest and highest allowed values, the server's own as well."""
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True)
class MotionSettings:
    """Settings that the server understands, under the server's names.

    Attributes:
        engine: How motion is found; "auto" takes the best engine that the server has.
        preset: How much time the engine "fit" takes for how good a motion.
        gaussians: Number of Gaussians of the engine "fit"; the networks make 8 per voxel.
        seed: Seed of every random choice.
        view: Whether azimuth and elevation are given, or searched for in the first used frame.
        azimuth: Degrees around z from which the video sees the asset: 0 is the front view
            (looking along +y), 90 looks from +x.
        elevation: Degrees above the horizon from which the video sees the asset.
        fov: Field of view of the video's camera in degrees, across the larger side of the frame.
        start_frame: First used video frame; it shows the asset in the captured pose.
        frame_stride: Use every n-th video frame.
        max_frames: Use at most this many frames.
        matting: How the object is cut out of the video.
        follow_colors: Let colours and opacities change as in the video, too.
        weights: Which set of network weights the engine "diffusion" uses.
        background: What the networks see behind the object.
        voxel_features: Mean over all views, or over those that see a voxel.
        sampler: Steps as large as the error allows, or a fixed number.
        steps: Of the sampler "multistep".
        tolerance: Relative tolerance of the sampler "adaptive".
        static_guidance: Guidance towards the asset.
        image_guidance: Guidance towards the video.
        refine_seconds: Polish what the engine "diffusion" gives for at most so long; 0 leaves it as it is.
        samples: Draw this many and keep the one that explains the video best.
        window: Frames that the network sees together.
        overlap: Frames that neighbouring windows of a long clip share.
        long_clips: Overlapping windows, or segments that go on from the last frame of the one before.
        standardise_positions: Standardise the positions of latent tokens.
    """

    engine: str = "auto"
    preset: str = "standard"
    gaussians: int = 20_000
    seed: int = 0
    view: str = "given"
    azimuth: float = 0.0
    elevation: float = 0.0
    fov: float = 49.1
    start_frame: int = 0
    frame_stride: int = 1
    max_frames: int = 48
    matting: str = "auto"
    follow_colors: bool = False
    weights: str = "released"
    background: str = "white"
    voxel_features: str = "mean"
    sampler: str = "adaptive"
    steps: int = 20
    tolerance: float = 0.05
    static_guidance: float = 1.0
    image_guidance: float = 1.0
    refine_seconds: float = 0.0
    samples: int = 1
    window: int = 32
    overlap: int = 8
    long_clips: str = "windows"
    standardise_positions: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value has the wrong type or lies outside its range.
        """
        for field in fields(self):
            if field.name in RANGES:
                self._check_number(field.name, whole=field.type is int)
            elif field.name in CHOICES:
                self._check_choice(field.name)
            elif field.type is bool and not isinstance(value := getattr(self, field.name), bool):
                raise SettingsError(f"The setting {field.name} is {value!r}.", "Choose True or False.")
        if not isinstance(self.weights, str) or not _SET_NAME.fullmatch(self.weights):
            raise SettingsError(
                f"The set of weights is called {self.weights!r}, which is no name.",
                "Names are of lower-case letters, digits and hyphens; `gvf models list` shows them.",
            )
        if self.overlap > self.window - 2:
            raise SettingsError(
                f"An overlap of {self.overlap} frames and the canonical frame fill windows of {self.window}.",
                "Choose an overlap at least 2 frames shorter than the window.",
            )

    @classmethod
    def from_names(cls, values: Mapping[str, Any]) -> "MotionSettings":
        """Settings from names and values.

        Raises:
            SettingsError: An unknown name, or a value that does not fit.
        """
        known = [field.name for field in fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise SettingsError(f"There is no setting {unknown[0]!r}.", f"The settings are {', '.join(known)}.")
        return cls(**values)

    def _check_choice(self, name: str) -> None:
        value = getattr(self, name)
        if value not in CHOICES[name]:
            what = f"There is no engine {value!r}." if name == "engine" else f"The setting {name} is {value!r}."
            raise SettingsError(what, f"Choose one of {', '.join(CHOICES[name])}.")

    def _check_number(self, name: str, whole: bool) -> None:
        value, (low, high) = getattr(self, name), RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            kind = "a whole number" if whole else "a number"
            raise SettingsError(f"The setting {name} is {value!r}, not {kind}.", f"Choose {low} to {high}.")
        if not low <= value <= high:
            raise SettingsError(f"The setting {name} is {value}.", f"Choose a value from {low} to {high}.")

    def to_dict(self) -> dict[str, Any]:
        """Names and values, ready for JSON."""
        return asdict(self)
