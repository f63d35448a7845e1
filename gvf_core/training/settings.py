"""How to train, from TOML files: `paper` and `nano` come with the package, every value can be overridden."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gvf_core.errors import SettingsError
from gvf_core.models.roles import PresetName
from gvf_core.settings import Background

CONFIGS = Path(__file__).parent / "configs"
PACKAGED = ("paper", "nano")
"""The paper's values with networks of full size, and values for small networks on a CPU."""
TRAINED = "train"
"""In place of an image encoder's name: a small one is trained along with the static VAE."""
_EXTENDS = "extends"
_FREE = frozenset({
    "steps", "workers", "report_every", "picture_every", "save_every", "activation_checkpointing", "encoder_weights",
    "decoder_weights", "lpips_backbone", "lpips_linear",
})  # fmt: skip
"""Settings that a training may go on without having kept."""

Optimizer = Literal["adamw", "muon"]
Precision = Literal["no", "bf16", "fp16"]
StaticStart = Literal["random", "opaque"]
MotionStart = Literal["random", "interpolation"]
_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class LoopSettings:
    """How any of the stages is optimised.

    Attributes:
        steps: Updates of the weights.
        batch: Objects of a process between two gradients.
        accumulation: Gradients that are summed up for one update.
        optimizer: "adamw" as in the paper; "muon" gives matrices orthogonal updates, which takes small networks fewer
            steps, and everything else AdamW.
        learning_rate: Of everything whose group has no factor of its own.
        weight_decay: Of AdamW.
        warm_up: Updates until the rate is reached.
        decay_from: Part of the training after which the rate falls linearly to zero; 1 keeps it, as in the paper.
        clip: Largest norm of the gradient.
        average: Decay of the moving average of the weights, which is what is exported.
        precision: Number type that `accelerate` computes in where that is safe.
        activation_checkpointing: Compute activations of the blocks again for the gradient instead of keeping them.
        seed: Of weights, order, choices and noise.
        workers: Threads that prepare examples ahead; 0 prepares them when they are needed.
        report_every: Updates between lines of progress.
        picture_every: Updates between pictures for TensorBoard.
        save_every: Updates between saved states.
    """

    steps: int
    batch: int
    accumulation: int
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    warm_up: int
    decay_from: float
    clip: float
    average: float
    precision: Precision
    activation_checkpointing: bool
    seed: int
    workers: int
    report_every: int
    picture_every: int
    save_every: int


@dataclass(frozen=True)
class AppearanceSettings:
    """The image loss of equation 8 and how pictures are drawn for it.

    Attributes:
        l1: Weight of the mean absolute difference.
        ssim: Weight of 1 - SSIM.
        lpips: Weight of LPIPS; without weights of its networks it is left out, and a line says so.
        lpips_backbone: File with the weights of VGG16 under torchvision's names; empty for those that are installed.
        lpips_linear: File with the weights of LPIPS' channels; empty for those that come with torchmetrics.
        size: Pictures are reduced to this side in pixels; larger ones than the prepared are not made.
    """

    l1: float
    ssim: float
    lpips: float
    lpips_backbone: str
    lpips_linear: str
    size: int


@dataclass(frozen=True)
class StaticSettings:
    """E_GS and D_GS (section 3.1, first stage).

    Attributes:
        loop: How it is optimised.
        image_encoder: Folder, file or name on the hub of DINOv2; "train" trains a small one along.
        start: Random weights, or weights with which every Gaussian is grey, opaque and as large as its place.
        encoder_weights: Where E_GS starts: file of a SLat encoder or a static VAE; empty for random weights.
        decoder_weights: Where D_GS starts: file of a SLat Gaussian decoder or a static VAE; its last layer starts anew
            if it makes another number of Gaussians.
        freeze_encoder: Keep all of E_GS as it is, as the paper says.
        feature_views: Views that give features in a step, where the image encoder is trained; 0 for all. A frozen image
            encoder gives the features of all views once.
        pictures: That an object is compared with in a step.
        kl: Weight of the divergence of the latents from a normal distribution.
        volume: Weight of the mean volume of the Gaussians.
        opacity: Weight of the mean squared distance of their opacities from 1.
    """

    loop: LoopSettings
    image_encoder: str
    start: StaticStart
    encoder_weights: str
    decoder_weights: str
    freeze_encoder: bool
    feature_views: int
    pictures: int
    kl: float
    volume: float
    opacity: float


@dataclass(frozen=True)
class MotionSettings:
    """The variation VAE, jointly with D_GS (section 3.1, second stage).

    Attributes:
        loop: How it is optimised.
        start: Random weights, or weights with which the network interpolates displacements (`interpolating_start`).
        static_factor: Learning rate of D_GS over that of the variation VAE; 0 keeps D_GS as it is.
        frames: Of an object in a step.
        pictures: Of these frames, how many are drawn and compared.
        points: Of the surface that the encoder sees.
        guided: Gaussians whose displacement the mesh-guided loss looks at, of those that are not drawn; 0 for all.
        mesh_guided: Weight of the mesh-guided loss.
        kl: Weight of the divergence of the latents from a normal distribution.
        relative: Divide the mesh-guided loss of an object by its mean displacement, so that small motions count.
        drop_path: Part of the decoder's layers that are skipped at random.
        rotate: Turn each object by a random angle around the vertical axis.
    """

    loop: LoopSettings
    start: MotionStart
    static_factor: float
    frames: int
    pictures: int
    points: int
    guided: int
    mesh_guided: float
    kl: float
    relative: bool
    drop_path: float
    rotate: bool


@dataclass(frozen=True)
class EncodeSettings:
    """What the diffusion learns from is computed once.

    Attributes:
        background: Behind the frames that the image encoder sees; the official training has black.
        crop: Cut the frames as those of a video are cut, so that training and use see the same.
    """

    background: Background
    crop: bool


@dataclass(frozen=True)
class DiffusionSettings:
    """The diffusion of variation fields (section 3.2).

    Attributes:
        loop: How it is optimised.
        frames: Of a clip in a step, frame 0 always among them.
        static_tokens: Gaussians that the network is told about in a step.
        drop_image: Part of the objects whose image tokens are replaced by zeros.
        standardise_positions: Standardise the positions of latent tokens; what is trained so has to be used so.
    """

    loop: LoopSettings
    frames: int
    static_tokens: int
    drop_image: float
    standardise_positions: bool


@dataclass(frozen=True)
class TrainingSettings:
    """Everything about a run of all stages.

    Attributes:
        preset: Size of the networks.
        appearance: Image loss of the first two stages.
        static: First stage.
        motion: Second stage.
        encode: Latents and tokens between the stages.
        diffusion: Third stage.
    """

    preset: PresetName
    appearance: AppearanceSettings
    static: StaticSettings
    motion: MotionSettings
    encode: EncodeSettings
    diffusion: DiffusionSettings


_MOST = 1e12
_ZERO_OR_MORE, _ONE_OR_MORE, _ABOVE_ZERO, _BELOW_ONE = (0.0, _MOST), (1.0, _MOST), (1e-12, _MOST), (0.0, 0.999999)
_RANGES: dict[str, tuple[float, float]] = {
    "steps": _ONE_OR_MORE,
    "batch": _ONE_OR_MORE,
    "accumulation": _ONE_OR_MORE,
    "report_every": _ONE_OR_MORE,
    "picture_every": _ONE_OR_MORE,
    "save_every": _ONE_OR_MORE,
    "size": (16, 4096),
    "frames": _ONE_OR_MORE,
    "points": (8, _MOST),
    "static_tokens": _ONE_OR_MORE,
    "learning_rate": _ABOVE_ZERO,
    "clip": _ABOVE_ZERO,
    "decay_from": (0.0, 1.0),
    "average": _BELOW_ONE,
    "drop_path": _BELOW_ONE,
    "drop_image": (0.0, 1.0),
}
"""Of the numbers; the others are zero or more."""


def load_training_settings(config: str, overrides: Iterable[str] = ()) -> TrainingSettings:
    """Settings of a packaged configuration or of a file.

    Args:
        config: "paper", "nano", or the path of a TOML file; one that says `extends = "nano"` gives only what differs.
        overrides: Of the form `static.loop.steps=500`.

    Raises:
        SettingsError: There is no such file, it is not TOML, a name is unknown or missing, or a value does not fit.
    """
    values = _read(config)
    for override in overrides:
        _override(values, override)
    return _build(TrainingSettings, values, "")


def settings_by_name(settings: TrainingSettings, stage: Literal["static", "motion", "diffusion"]) -> dict[str, Any]:
    """All that a stage depends on, under the names that overrides have."""
    parts = {"static": ["appearance"], "motion": ["appearance", "static"], "diffusion": []}[stage]
    values = _flat({part: asdict(getattr(settings, part)) for part in [*parts, stage]})
    other_loops = tuple(f"{part}.loop." for part in parts)
    own = {name: value for name, value in values.items() if not (other_loops and name.startswith(other_loops))}
    return {"preset": settings.preset, **own}


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between settings by name, in words, where a training that goes on would be another one.

    How long it takes, how it is reported and where its first weights lie may change.
    """
    kept = [name for name in now if name in before and name.rpartition(".")[2] not in _FREE]
    return [f"{name} was {before[name]!r} and is {now[name]!r}" for name in kept if before[name] != now[name]]


def _flat(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{place}{name}.") if isinstance(value, Mapping) else {place + name: value}
    return flat


def _read(config: str) -> dict[str, Any]:
    path = CONFIGS / f"{config}.toml" if config in PACKAGED else Path(config)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            f"There is no configuration {config}.", f"Choose {' or '.join(PACKAGED)}, or a TOML file."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name} is not readable TOML ({error}).", "Correct it.") from error
    base = values.pop(_EXTENDS, None)
    if base is None:
        return values
    if base not in PACKAGED:
        raise SettingsError(f"{path.name} extends {base!r}.", f"It can extend {' or '.join(PACKAGED)}.")
    return _merged(_read(base), values)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in over.items():
        inner = base.get(name)
        base[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return base


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *parents, last = name.strip().split(".")
    for parent in parents:
        inner = values.get(parent)
        if not isinstance(inner, dict):
            raise SettingsError(f"There is no setting {name!r}.", "See the configuration files for their names.")
        values = inner
    if not equals or not last:
        raise SettingsError(f"{override!r} sets nothing.", "Write it like static.loop.steps=500.")
    try:
        values[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # A word without quotes.
        values[last] = text.strip()


def _build(kind: type[_Settings], values: object, place: str) -> _Settings:
    if not isinstance(values, Mapping):
        raise SettingsError(
            f"{place.rstrip('.') or 'The configuration'} is {values!r}, not a table.", "Give it names and values."
        )
    hints, known = get_type_hints(kind), {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise SettingsError(f"There is no setting {place}{unknown[0]}.", f"Known are {', '.join(sorted(known))}.")
    if missing := sorted(known - set(values)):
        raise SettingsError(f"The setting {place}{missing[0]} is missing.", 'Give it, or write extends = "paper".')
    return kind(**{name: _value(hints[name], values[name], place + name) for name in known})


def _value(hint: Any, value: Any, name: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, f"{name}.")  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise SettingsError(f"The setting {name} is {value!r}.", f"Choose one of {', '.join(get_args(hint))}.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SettingsError(f"The setting {name} is {value!r}.", f"It must be of type {hint.__name__}.")
    low, high = _RANGES.get(name.rpartition(".")[2], _ZERO_OR_MORE)
    if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
        raise SettingsError(f"The setting {name} is {value}.", f"Choose a number from {low:g} to {high:g}.")
    return value
