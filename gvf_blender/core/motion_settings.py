"""What the artist may choose for one animation, checked before anything expensive starts."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import SettingsError

ENGINES = ("auto", "fit")
RANGES: dict[str, tuple[int, int]] = {
    "gaussians": (100, 500_000),
    "seed": (0, 2**31 - 1),
    "azimuth": (-360, 360),
    "elevation": (-89, 89),
    "fov": (5, 120),
    "start_frame": (0, 100_000),
    "frame_stride": (1, 100),
    "max_frames": (2, 500),
}
"""Lowest and highest allowed values: the server's own, so that a wrong value fails before the capture."""


@dataclass(frozen=True)
class MotionSettings:
    """Settings that the server understands, under the server's names.

    Attributes:
        engine: How motion is found; "auto" takes the best engine that the server has.
        azimuth: Degrees around z from which the video sees the asset: 0 is the front view
            (looking along +y), 90 looks from +x.
        elevation: Degrees above the horizon from which the video sees the asset.
        fov: Field of view of the video's camera in degrees, across the larger side of the frame.
        start_frame: First used video frame; it shows the asset in the captured pose.
        frame_stride: Use every n-th video frame.
        max_frames: Use at most this many frames.
        gaussians: Number of Gaussians.
        seed: Seed of every random choice.
    """

    engine: str = "auto"
    azimuth: float = 0.0
    elevation: float = 0.0
    fov: float = 49.1
    start_frame: int = 0
    frame_stride: int = 1
    max_frames: int = 48
    gaussians: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value has the wrong type or lies outside its range.
        """
        if self.engine not in ENGINES:
            raise SettingsError(f"There is no engine {self.engine!r}.", f"Choose one of {', '.join(ENGINES)}.")
        for field in fields(self):
            if field.name in RANGES:
                self._check_number(field.name, whole=field.type is int)

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
