"""The choices of the panel, stored in the scene; the animate operator takes the same ones."""

from dataclasses import fields

import bpy
from bpy.props import PointerProperty

from .capture import VIEW_PRESETS
from .core.further_video import FurtherVideo
from .core.motion_settings import MotionSettings
from .diffusion_properties import DiffusionProperties, limits
from .request import OUTPUTS
from .translations.properties import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

_DEFAULTS = MotionSettings()
# Not remembered from one call of the operator to the next; in property groups the option has no effect on saving.
_OPTIONS = {"SKIP_SAVE"}
# Blender 4.5 and later want to be told that "//" paths are welcome, earlier ones do not know the option.
_PATH_OPTIONS = (
    {"PATH_SUPPORTS_BLEND_RELATIVE"}
    if "is_path_supports_blend_relative" in bpy.types.Property.bl_rna.properties
    else set()
)


def _follow_view(settings: bpy.types.bpy_struct, context: bpy.types.Context) -> None:
    """Let the video that is shown over the asset follow; preferences and operators have the same properties."""
    if settings.id_data == context.scene:
        from .overlay import place_overlay

        place_overlay(context)


def _look_from_camera(settings: bpy.types.bpy_struct, context: bpy.types.Context) -> None:
    """Take the view of a camera over as soon as it is chosen."""
    if settings.camera is not None and settings.id_data == context.scene:
        from .camera_view import look_from_camera

        look_from_camera(context)


class SettingsProperties:
    """Properties shared by the scene's settings, the preferences' defaults and the animate operator."""

    start_frame: IntProperty(
        name="First Frame",
        description="First used video frame, counted from 0; it shows the asset in the pose of the mesh",
        default=_DEFAULTS.start_frame,
        options=_OPTIONS,
        update=_follow_view,
        **limits("start_frame"),
    )
    frame_stride: IntProperty(
        name="Every Nth",
        description="Use every n-th video frame",
        default=_DEFAULTS.frame_stride,
        options=_OPTIONS,
        **limits("frame_stride"),
    )
    max_frames: IntProperty(
        name="Max Frames",
        description="Use at most this many video frames",
        default=_DEFAULTS.max_frames,
        options=_OPTIONS,
        **limits("max_frames"),
    )
    matting: EnumProperty(
        name="Mask",
        description="How the object is cut out of the video",
        items=(
            ("auto", "Automatic", "By alpha, by a plain background, or by a network: the first that works"),
            ("alpha", "Alpha", "By the alpha channel of the video"),
            ("plain", "Plain Background", "By the distance of colours to the background's"),
            ("rembg", "Network", "By the network of rembg, if the server has it"),
        ),
        default=_DEFAULTS.matting,
        options=_OPTIONS,
    )
    view: EnumProperty(
        name="View",
        description="From where the video sees the asset",
        items=(
            ("given", "Given", "Azimuth and elevation say it"),
            ("search", "Find in Video", "They are searched for in the first used frame"),
        ),
        default=_DEFAULTS.view,
        options=_OPTIONS,
    )
    azimuth: FloatProperty(
        name="Azimuth",
        description="Degrees around the vertical axis from which the video sees the asset: 0 is Blender's "
        "front view, 90 the right view",
        default=_DEFAULTS.azimuth,
        precision=1,
        step=100,
        options=_OPTIONS,
        update=_follow_view,
        **limits("azimuth"),
    )
    elevation: FloatProperty(
        name="Elevation",
        description="Degrees above the horizon from which the video sees the asset",
        default=_DEFAULTS.elevation,
        precision=1,
        step=100,
        options=_OPTIONS,
        update=_follow_view,
        **limits("elevation"),
    )
    fov: FloatProperty(
        name="Field of View",
        description="Degrees that the video's camera sees across the larger side of the frame",
        default=_DEFAULTS.fov,
        precision=1,
        step=100,
        options=_OPTIONS,
        update=_follow_view,
        **limits("fov"),
    )
    engine: EnumProperty(
        name="Engine",
        description="How the motion is found",
        items=(
            ("auto", "Automatic", "The best engine that the server has"),
            ("fit", "Fit to Video", "Fits the motion to the video; needs no model weights"),
            ("diffusion", "Diffusion", "The networks of the paper; needs their weights"),
        ),
        default=_DEFAULTS.engine,
        options=_OPTIONS,
    )
    preset: EnumProperty(
        name="Quality",
        description="How much time Fit to Video takes for how good a motion",
        items=(
            ("fast", "Fast", "Tracks the video only: for a first look"),
            ("standard", "Standard", "Tracks it in several ways and polishes the best one"),
            ("best", "Best", "More ways and a longer polish"),
        ),
        default=_DEFAULTS.preset,
        options=_OPTIONS,
    )
    views: EnumProperty(
        name="Views",
        description="How many pictures of the asset are rendered for the server",
        items=tuple(
            (name, f"{name.title()} ({count})", f"{count} views{remark}")
            for (name, count), remark in zip(
                VIEW_PRESETS.items(),
                (": the fastest", "", ", with which the released networks were trained"),
                strict=True,
            )
        ),
        default="standard",
        options=_OPTIONS,
    )
    follow_colors: BoolProperty(
        name="Follow Colors",
        description="Let colors and opacities of the splats change as in the video, too: eyes that close, lights that "
        "flicker. Only what changes since the first frame is taken",
        default=_DEFAULTS.follow_colors,
        options=_OPTIONS,
    )
    gaussians: IntProperty(
        name="Gaussians",
        description="Number of Gaussians of Fit to Video: more show finer texture and take longer. "
        "The networks make 8 per voxel",
        default=_DEFAULTS.gaussians,
        step=1000,
        options=_OPTIONS,
        **limits("gaussians"),
    )
    seed: IntProperty(
        name="Seed",
        description="The same seed with the same input gives the same motion",
        default=_DEFAULTS.seed,
        options=_OPTIONS,
        **limits("seed"),
    )
    outputs: EnumProperty(
        name="Outputs",
        description="What is added to the scene",
        items=(
            ("splats", "Splats", "An object of animated Gaussian splats", 1),
            ("points", "Points", "An animated point cloud", 2),
            ("motion", "Motion", "The motion on the original objects", 4),
        ),
        default=set(OUTPUTS),
        options=_OPTIONS | {"ENUM_FLAG"},
    )


class VideoProperties:
    """What belongs to one animation only and therefore has no default in the preferences."""

    video: StringProperty(
        name="Driving Video",
        description="The video whose motion the selected objects shall follow",
        subtype="FILE_PATH",
        options=_OPTIONS | _PATH_OPTIONS,
        update=_follow_view,
    )
    second_video: StringProperty(
        name="Second Video",
        description="A video of the same moments, seen from another side. Empty: none",
        subtype="FILE_PATH",
        options=_OPTIONS | _PATH_OPTIONS,
    )
    second_azimuth: FloatProperty(
        name="Second Azimuth",
        description="As Azimuth, for the second video",
        default=90.0,
        precision=1,
        step=100,
        options=_OPTIONS,
        **limits("azimuth"),
    )
    second_elevation: FloatProperty(
        name="Second Elevation",
        description="As Elevation, for the second video",
        default=0.0,
        precision=1,
        step=100,
        options=_OPTIONS,
        **limits("elevation"),
    )
    movable: StringProperty(
        name="May Move",
        description="Vertex group that says what may move: the rest stays where it is. Empty: everything may",
        options=_OPTIONS,
    )
    use_current_frame: BoolProperty(
        name="At Current Frame",
        description="The animation starts at the current frame of the scene",
        default=True,
        options=_OPTIONS,
    )
    frame_start: IntProperty(
        name="Start",
        description="Scene frame of the first video frame",
        default=1,
        options=_OPTIONS,
    )


class GVFSceneSettings(VideoProperties, SettingsProperties, DiffusionProperties, bpy.types.PropertyGroup):
    """`Scene.gvf`: what the panel shows and the animate operator uses unless told otherwise."""

    camera: PointerProperty(
        name="Camera",
        description="The camera that the video was seen from: azimuth, elevation and field of view become those from "
        "which it sees the selected objects",
        type=bpy.types.Object,
        poll=lambda settings, thing: thing.type == "CAMERA",
        update=_look_from_camera,
    )


class GVFDefaults(SettingsProperties, DiffusionProperties, bpy.types.PropertyGroup):
    """Settings that a scene takes over while it has none of its own, and on request."""


SHARED_NAMES = (*SettingsProperties.__annotations__, *DiffusionProperties.__annotations__)
"""Names of the properties that scene, preferences and operator share."""


def motion_settings(source: SettingsProperties) -> MotionSettings:
    """The part of the properties that the server needs."""
    values = {field.name: getattr(source, field.name) for field in fields(MotionSettings)}
    # RNA stores floats in 32 bits: 49.1 comes back as 49.09999847, which would be shown and hashed as such.
    return MotionSettings(**{name: round(v, 4) if isinstance(v, float) else v for name, v in values.items()})


def uses_second_video(source: SettingsProperties) -> bool:
    """Whether the engine would look at a second video: Diffusion does only where its motion is refined."""
    return source.engine != "diffusion" or source.refine_seconds > 0


def second_video(source: VideoProperties) -> tuple[FurtherVideo, ...]:
    """The second video with its view; nothing if none is chosen, or the engine would not look at it."""
    if not source.second_video.strip() or not uses_second_video(source):
        return ()
    return (FurtherVideo(source.second_video, round(source.second_azimuth, 4), round(source.second_elevation, 4)),)


def ordered_outputs(source: SettingsProperties) -> tuple[str, ...]:
    """The chosen outputs in their usual order."""
    return tuple(name for name in OUTPUTS if name in source.outputs)


def copy_settings(source: SettingsProperties, target: SettingsProperties) -> None:
    """Set every shared property of `target` that somebody has set in `source`."""
    for name in filter(source.is_property_set, SHARED_NAMES):
        setattr(target, name, getattr(source, name))


CLASSES = (GVFSceneSettings, GVFDefaults)


def register() -> None:
    """Register the groups and hang the settings into the scene."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.gvf = PointerProperty(type=GVFSceneSettings, name="Gaussian Variation Fields")


def unregister() -> None:
    """Undo `register`; the values stay in the file."""
    del bpy.types.Scene.gvf
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
