"""What the user may choose for one animation, validated once."""

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin

from gvf_core.errors import SettingsError

EngineName = Literal["auto", "fit", "diffusion"]
ViewSource = Literal["given", "search"]
Matting = Literal["auto", "alpha", "plain", "rembg"]
Background = Literal["white", "black"]
Sampler = Literal["adaptive", "multistep"]
LongClips = Literal["windows", "segments"]
VoxelFeatures = Literal["mean", "visible"]
FitPreset = Literal["fast", "standard", "best"]

RELEASED = "released"
"""Name of the set of weights that the papers' authors published; other sets are the user's."""

_RANGES: dict[str, tuple[float, float]] = {
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
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True)
class AnimateSettings:
    """Settings of `gvf_core.pipeline.animate`.

    Attributes:
        engine: How motion is found; "auto" takes the best engine that is installed.
        preset: How much time the engine `fit` takes for how good a motion.
        gaussians: Number of canonical Gaussians of the engine `fit`; the networks make 8 per voxel.
        seed: Seed of every random choice.
        view: Whether azimuth and elevation are given, or searched for in the first used frame.
        azimuth: Degrees around z from which the video sees the asset: 0 is Blender's front view
            (looking along +y), 90 looks from +x.
        elevation: Degrees above the horizon from which the video sees the asset.
        fov: Field of view of the video's camera in degrees, across the larger side of the frame.
        start_frame: First used video frame, which becomes the canonical frame.
        frame_stride: Use every n-th video frame.
        max_frames: Use at most this many frames.
        matting: How the object is cut out: by the file's alpha, by a plain background, by the network of rembg, or by
            the first of these that works.
        follow_colors: Let colours and opacities change as in the video, too.
        weights: Which set of network weights the engine `diffusion` uses.
        background: What the networks see behind the object; officially white for videos.
        voxel_features: Mean over all views as officially, or over those that see a voxel.
        sampler: Steps as large as the error allows, as officially, or a fixed number.
        steps: Of the sampler "multistep".
        tolerance: Relative tolerance of the sampler "adaptive"; officially 0.05.
        static_guidance: Guidance towards the canonical Gaussians; officially 1, none.
        image_guidance: Guidance towards the video; officially 1, none.
        refine_seconds: Polish what the engine `diffusion` gives for at most so long; 0 leaves it as it is.
        samples: Draw this many and keep the one that explains the video best.
        window: Frames that the network sees together; trained with 24, officially used with 32.
        overlap: Frames that neighbouring windows of a long clip share.
        long_clips: Overlapping windows that all start from the canonical frame, or segments that go on from the last
            frame of the one before (paper, D.1).
        standardise_positions: Standardise the positions of latent tokens, as the official training does; the official
            inference does not.
    """

    engine: EngineName = "auto"
    preset: FitPreset = "standard"
    gaussians: int = 20_000
    seed: int = 0
    view: ViewSource = "given"
    azimuth: float = 0.0
    elevation: float = 0.0
    fov: float = 49.1
    start_frame: int = 0
    frame_stride: int = 1
    max_frames: int = 48
    matting: Matting = "auto"
    follow_colors: bool = False
    weights: str = RELEASED
    background: Background = "white"
    voxel_features: VoxelFeatures = "mean"
    sampler: Sampler = "adaptive"
    steps: int = 20
    tolerance: float = 0.05
    static_guidance: float = 1.0
    image_guidance: float = 1.0
    refine_seconds: float = 0.0
    samples: int = 1
    window: int = 32
    overlap: int = 8
    long_clips: LongClips = "windows"
    standardise_positions: bool = False

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SettingsError: A value has the wrong type or lies outside its range.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if get_origin(field.type) is Literal:
                _check_choice(field.name, value, get_args(field.type))
            elif field.type is bool:
                if not isinstance(value, bool):
                    raise SettingsError(f"The setting {field.name} is {value!r}.", "Choose true or false.")
            elif field.name in _RANGES:
                _check_number(field.name, value, whole=field.type is int)
        check_set_name(self.weights)
        if self.overlap > self.window - 2:
            raise SettingsError(
                f"An overlap of {self.overlap} frames and the canonical frame fill windows of {self.window}.",
                "Choose an overlap at least 2 frames shorter than the window.",
            )

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


def check_set_name(name: object) -> str:
    """The name of a set of weights, which becomes the name of a folder.

    Raises:
        SettingsError: It is none.
    """
    if not isinstance(name, str) or not _SET_NAME.fullmatch(name):
        raise SettingsError(
            f"The set of weights is called {name!r}, which is no name.",
            "Names are of lower-case letters, digits and hyphens; `gvf models list` shows them.",
        )
    return name


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        what = f"There is no engine {value!r}." if name == "engine" else f"The setting {name} is {value!r}."
        raise SettingsError(what, f"Choose one of {', '.join(choices)}.")


def _check_number(name: str, value: object, *, whole: bool) -> None:
    low, high = _RANGES[name]
    number, kind = (int, "a whole number") if whole else ((int, float), "a number")
    hint = f"Choose {kind} from {low} to {high}."
    if isinstance(value, bool) or not isinstance(value, number):
        raise SettingsError(f"The setting {name} is {value!r}, not {kind}.", hint)
    if not low <= value <= high:
        raise SettingsError(f"The setting {name} is {value}.", hint)
