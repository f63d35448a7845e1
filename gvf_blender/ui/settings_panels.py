"""Settings that most animations leave alone, below the panel with the button."""

from typing import ClassVar

import bpy

from .place import GVFPanel


class GVF_PT_quality(GVFPanel, bpy.types.Panel):
    """Settings that most animations leave alone."""

    bl_label = "Engine and Timing"
    bl_parent_id = "GVF_PT_animate"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw engine, quality and the place on the timeline."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        layout.prop(settings, "engine")
        layout.prop(settings, "views")
        column = layout.column()
        column.enabled = settings.engine != "diffusion"
        column.prop(settings, "preset")
        column.prop(settings, "gaussians")
        layout.prop(settings, "follow_colors")
        layout.prop(settings, "seed")
        layout.prop(settings, "use_current_frame")
        row = layout.row()
        row.enabled = not settings.use_current_frame
        row.prop(settings, "frame_start")
        layout.operator("gvf.reset_settings", icon="LOOP_BACK")


class GVF_PT_diffusion(GVFPanel, bpy.types.Panel):
    """Settings of the networks."""

    bl_label = "Diffusion"
    bl_parent_id = "GVF_PT_animate"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the networks may be used."""
        return context.scene.gvf.engine != "fit"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw how the networks sample."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        layout.prop(settings, "weights")
        layout.prop(settings, "samples")
        layout.prop(settings, "refine_seconds")
        column = layout.column(align=True)
        column.prop(settings, "sampler")
        column.prop(settings, "tolerance" if settings.sampler == "adaptive" else "steps")
        column = layout.column(align=True)
        column.prop(settings, "image_guidance")
        column.prop(settings, "static_guidance")
        column = layout.column(align=True)
        column.prop(settings, "long_clips")
        column.prop(settings, "window")
        row = column.row()
        row.enabled = settings.long_clips == "windows"
        row.prop(settings, "overlap")
        layout.prop(settings, "background")
        layout.prop(settings, "voxel_features")
        layout.prop(settings, "standardise_positions")


CLASSES = (GVF_PT_quality, GVF_PT_diffusion)
