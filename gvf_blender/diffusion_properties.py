"""Settings that only the engine "diffusion" uses."""

from .core.motion_settings import RANGES, MotionSettings
from .translations.properties import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

_DEFAULTS = MotionSettings()
# Not remembered from one call of the operator to the next; in property groups the option has no effect on saving.
_OPTIONS = {"SKIP_SAVE"}


def limits(name: str) -> dict[str, float]:
    """Lowest and highest value of a number."""
    low, high = RANGES[name]
    return {"min": low, "max": high}


class DiffusionProperties:
    """Shared by the scene's settings, the preferences' defaults and the animate operator."""

    weights: StringProperty(
        name="Weights",
        description="Which set of network weights is used; `gvf models list` shows those that the server has",
        default=_DEFAULTS.weights,
        options=_OPTIONS,
    )
    samples: IntProperty(
        name="Samples",
        description="Draw this many motions and keep the one that looks most like the video",
        default=_DEFAULTS.samples,
        options=_OPTIONS,
        **limits("samples"),
    )
    refine_seconds: FloatProperty(
        name="Refine",
        description="Polish the sampled motion against the video for at most so many seconds; 0 leaves it as it is",
        default=_DEFAULTS.refine_seconds,
        precision=0,
        step=1000,
        options=_OPTIONS,
        **limits("refine_seconds"),
    )
    sampler: EnumProperty(
        name="Sampler",
        description="How the noise is taken away",
        items=(
            ("adaptive", "Adaptive", "Steps as large as the tolerance allows, as in the paper"),
            ("multistep", "Fixed Steps", "A fixed number of steps: fewer are faster and rougher"),
        ),
        default=_DEFAULTS.sampler,
        options=_OPTIONS,
    )
    steps: IntProperty(
        name="Steps",
        description="Number of steps of the sampler with fixed steps",
        default=_DEFAULTS.steps,
        options=_OPTIONS,
        **limits("steps"),
    )
    tolerance: FloatProperty(
        name="Tolerance",
        description="Relative error that the adaptive sampler allows in a step: a larger one is faster and rougher",
        default=_DEFAULTS.tolerance,
        precision=4,
        options=_OPTIONS,
        **limits("tolerance"),
    )
    image_guidance: FloatProperty(
        name="Follow Video",
        description="Guidance towards the video; 1 is none, larger ones take twice the time",
        default=_DEFAULTS.image_guidance,
        options=_OPTIONS,
        **limits("image_guidance"),
    )
    static_guidance: FloatProperty(
        name="Follow Asset",
        description="Guidance towards the asset; 1 is none, which is what the networks were trained with",
        default=_DEFAULTS.static_guidance,
        options=_OPTIONS,
        **limits("static_guidance"),
    )
    background: EnumProperty(
        name="Background",
        description="What the networks see behind the object",
        items=(
            ("white", "White", "As the released method does with videos"),
            ("black", "Black", "As in the training of the released networks"),
        ),
        default=_DEFAULTS.background,
        options=_OPTIONS,
    )
    voxel_features: EnumProperty(
        name="Features",
        description="How the views of the asset become one feature of a voxel",
        items=(
            ("mean", "Mean of All Views", "As in the training of the released networks"),
            ("visible", "Views That See It", "Views that see a voxel count most"),
        ),
        default=_DEFAULTS.voxel_features,
        options=_OPTIONS,
    )
    long_clips: EnumProperty(
        name="Long Clips",
        description="How clips are made that are longer than a window",
        items=(
            ("windows", "Windows", "Overlapping windows that all start from the asset at rest: nothing drifts away"),
            ("segments", "Segments", "Each goes on from the last frame of the one before, as in the paper"),
        ),
        default=_DEFAULTS.long_clips,
        options=_OPTIONS,
    )
    window: IntProperty(
        name="Window",
        description="Frames that the networks see together",
        default=_DEFAULTS.window,
        options=_OPTIONS,
        **limits("window"),
    )
    overlap: IntProperty(
        name="Overlap",
        description="Frames that neighbouring windows share",
        default=_DEFAULTS.overlap,
        options=_OPTIONS,
        **limits("overlap"),
    )
    standardise_positions: BoolProperty(
        name="Standardise Positions",
        description="Give the networks positions as their training did; the released inference does not",
        default=_DEFAULTS.standardise_positions,
        options=_OPTIONS,
    )
