"""The temporary scene that renders unlit views: everything in the unit frame, nothing of the user's scene."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from ..animated_values import kept_animated_values
from ..core.errors import FileError, RenderError
from ..core.png_file import picture_only
from .geometry import Piece
from .scratch import Scratch
from .viewpoints import FIELD_OF_VIEW, NEAR

_NAME = "GVF capture"
# Layers of leaves or hair cards in front of each other before Cycles gives up and shows black.
_TRANSPARENT_LAYERS = 64


@dataclass(frozen=True)
class Lens:
    """What a camera sees of what lies ahead of it.

    Attributes:
        angle: Radians across the larger side of the picture.
        shift: How far the middle of the picture lies to the right of and above the straight view, as a fraction of
            the larger side.
        width: Pixels.
        height: Pixels.
    """

    angle: float
    shift: tuple[float, float]
    width: int
    height: int


class UnlitScene:
    """A scene with copies of the captured geometry and one camera."""

    def __init__(
        self,
        context: bpy.types.Context,
        pieces: Sequence[Piece],
        unit_from_world: np.ndarray,
        size: int,
        samples: int,
        scratch: Scratch,
    ) -> None:
        """Build the scene.

        Args:
            context: Its scene gives the frame, for materials that are animated.
            pieces: What to show; their meshes carry unlit materials already.
            unit_from_world: Float64 [4, 4].
            size: Width and height of the views in pixels.
            samples: Samples per pixel.
            scratch: Owner of everything that is created.

        Raises:
            RenderError: Cycles or the Standard view transform is missing.
        """
        self._scene = scratch.adopt(bpy.data.scenes.new(_NAME))
        self._scene.frame_set(context.scene.frame_current, subframe=context.scene.frame_subframe)
        self._add_pieces(pieces, unit_from_world, scratch)
        self._camera = self._add_camera(scratch)
        _set_up_render(self._scene, size, samples)

    def _add_pieces(self, pieces: Sequence[Piece], unit_from_world: np.ndarray, scratch: Scratch) -> None:
        # An object's own location, rotation and scale cannot hold shear; the inverse of a parent can hold any matrix.
        root = scratch.adopt(bpy.data.objects.new(_NAME, None))
        self._scene.collection.objects.link(root)
        for piece in pieces:
            thing = scratch.adopt(bpy.data.objects.new(_NAME, piece.mesh))
            thing.parent = root
            thing.matrix_parent_inverse = Matrix(unit_from_world @ piece.matrix_world)
            piece.values.give_to(thing)
            self._scene.collection.objects.link(thing)

    def _add_camera(self, scratch: Scratch) -> bpy.types.Object:
        lens = scratch.adopt(bpy.data.cameras.new(_NAME))
        lens.angle = FIELD_OF_VIEW
        lens.clip_start, lens.clip_end = NEAR, 10.0
        camera = scratch.adopt(bpy.data.objects.new(_NAME, lens))
        self._scene.collection.objects.link(camera)
        self._scene.camera = camera
        return camera

    def look_through(self, lens: Lens) -> None:
        """Use another lens than that of the views."""
        camera = self._camera.data
        camera.angle = lens.angle
        camera.shift_x, camera.shift_y = lens.shift
        camera.clip_end = 100.0
        self._scene.render.resolution_x, self._scene.render.resolution_y = lens.width, lens.height

    def use_threads(self, count: int) -> None:
        """Render with so many threads; 0 for as many as the machine has."""
        self._scene.render.threads_mode = "FIXED" if count else "AUTO"
        if count:
            self._scene.render.threads = count

    def stand_before(self, color: Sequence[float], scratch: Scratch) -> None:
        """Replace the transparent background.

        Args:
            color: Linear Rec. 709.
            scratch: Owner of what is created.
        """
        world = scratch.adopt(bpy.data.worlds.new(_NAME))
        if world.node_tree is None:
            # Up to Blender 4.5; later every world has a node tree and use_nodes is deprecated.
            world.use_nodes = True
        tree = world.node_tree
        tree.nodes.clear()
        background = tree.nodes.new("ShaderNodeBackground")
        background.inputs["Color"].default_value = (*color, 1.0)
        tree.links.new(background.outputs[0], tree.nodes.new("ShaderNodeOutputWorld").inputs["Surface"])
        self._scene.world = world
        self._scene.render.film_transparent = False
        self._scene.render.image_settings.color_mode = "RGB"

    def look_at_region(self, left: float, right: float, bottom: float, top: float) -> None:
        """Render nothing outside a part of the picture, given in fractions of it; what is outside is transparent."""
        render = self._scene.render
        render.use_border, render.use_crop_to_border = True, False
        render.border_min_x, render.border_max_x = left, right
        render.border_min_y, render.border_max_y = bottom, top

    def render(self, world_to_camera: np.ndarray, file: Path) -> bytes:
        """One view as the bytes of a PNG file.

        Args:
            world_to_camera: Unit frame to OpenCV camera, [4, 4].
            file: Where Blender may write the picture; it is removed again.

        Raises:
            RenderError: Blender did not render.
            FileError: The picture could not be stored.
        """
        # Blender's cameras look along -z with y up.
        self._camera.matrix_world = Matrix(np.linalg.inv(world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0]))
        self._scene.render.filepath = str(file)
        try:
            # Blender evaluates the artist's scene as well, whose unkeyed pose would be lost.
            with kept_animated_values():
                outcome = bpy.ops.render.render(write_still=True, scene=self._scene.name)
        except RuntimeError as error:
            if not file.parent.is_dir() or "save" in str(error).lower():
                raise _not_stored(file) from error
            raise RenderError(
                f"Blender could not render a view of the asset ({str(error).strip()}).",
                "Wait for other renders to end, then try again.",
            ) from error
        if "FINISHED" not in outcome:
            raise RenderError(
                "Blender did not render a view of the asset.", "Wait for other renders to end, then try again."
            )
        try:
            png = picture_only(file.read_bytes())
            file.unlink()
        except (OSError, ValueError) as error:
            raise _not_stored(file) from error
        return png


def _not_stored(file: Path) -> FileError:
    return FileError(
        f"A rendered view could not be stored in {file.parent}.",
        "Free some disk space, or set another Temporary Files folder in Blender's preferences.",
    )


def _set_up_render(scene: bpy.types.Scene, size: int, samples: int) -> None:
    render = scene.render
    try:
        render.engine = "CYCLES"
    except TypeError as error:
        raise RenderError("The Cycles renderer is disabled.", "Enable Cycles in Preferences > Add-ons.") from error
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_persistent_data = True
    render.use_compositing = render.use_sequencer = False
    # Flat colours stay flat.
    render.dither_intensity = 0.0
    picture = render.image_settings
    picture.file_format, picture.color_mode, picture.color_depth = "PNG", "RGBA", "8"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_denoising = cycles.use_adaptive_sampling = cycles.use_auto_tile = False
    cycles.max_bounces = 0
    # The minimum keeps Russian roulette from ending rays early, which shows as black, opaque pixels.
    cycles.transparent_max_bounces = cycles.min_transparent_bounces = _TRANSPARENT_LAYERS
    view = scene.view_settings
    try:
        # Blender's default, AgX, changes colours; Standard is the plain sRGB curve.
        scene.display_settings.display_device = "sRGB"
        view.view_transform = "Standard"
        view.look = "None"
    except TypeError as error:
        raise RenderError(
            f"The colour management has no Standard view for sRGB ({error}).",
            "Start Blender without a custom OCIO configuration.",
        ) from error
    view.exposure, view.gamma = 0.0, 1.0
