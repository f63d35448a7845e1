"""What the user may choose for one animation, validated once."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from gvf_core.errors import SettingsError

EngineName = Literal["auto", "fit"]

_RANGES: dict[str, tuple[float, float]] = {
    "gaussians": (100, 500_000),
    "seed": (0, 2**31 - 1),
    "azimuth": (-360, 360),
    "elevation": (-89, 89),
    "fov": (5, 120),
    "start_frame": (0, 100_000),
    "frame_stride": (1, 100),
    "max_frames": (2, 500),
}


@dataclass(frozen=True)
class AnimateSettings:
    """Settings of `gvf_core.pipeline.animate`.

    Attributes:
        engine: How motion is found; "auto" takes the best engine that is installed.
        gaussians: Number of canonical Gaussians.
        seed: Seed of every random choice.
        azimuth: Degrees around z from which the video sees the asset: 0 is Blender's front view
            (looking along +y), 90 looks from +x.
        elevation: Degrees above the horizon from which the video sees the asset.
        fov: Field of view of the video's camera in degrees, across the larger side of the frame.
        start_frame: First used video frame, which becomes the canonical frame.
        frame_stride: Use every n-th video frame.
        max_frames: Use at most this many frames.
    """

    engine: EngineName = "auto"
    gaussians: int = 20_000
    seed: int = 0
    azimuth: float = 0.0
    elevation: float = 0.0
    fov: float = 49.1
    start_frame: int = 0
    frame_stride: int = 1
    max_frames: int = 48

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value has the wrong type or lies outside its range.
        """
        if self.engine not in get_args(EngineName):
            raise SettingsError(
                f"There is no engine {self.engine!r}.", f"Choose one of {', '.join(get_args(EngineName))}."
            )
        for field in fields(self):
            if field.name not in _RANGES:
                continue
            value, (low, high) = getattr(self, field.name), _RANGES[field.name]
            number, kind = (int, "a whole number") if field.type is int else ((int, float), "a number")
            hint = f"Choose {kind} from {low} to {high}."
            if isinstance(value, bool) or not isinstance(value, number):
                raise SettingsError(f"The setting {field.name} is {value!r}, not {kind}.", hint)
            if not low <= value <= high:
                raise SettingsError(f"The setting {field.name} is {value}.", hint)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AnimateSettings":
        """Settings from decoded JSON.

        Raises:
            SettingsError: An unknown name, or a value that does not fit.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict):
            raise SettingsError(
                f"Settings must be an object with names and values, not {type(values).__name__}.",
                f"Known settings: {', '.join(known)}.",
            )
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise SettingsError(f"Unknown setting {unknown[0]!r}.", f"Known settings: {', '.join(known)}.")
        return cls(**values)
