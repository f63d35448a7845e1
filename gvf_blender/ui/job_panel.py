"""Jobs of this session, and those of an earlier one that can be taken up."""

from pathlib import Path

import bpy

from .. import job_list, kept_jobs
from ..core.job_phase import Phase
from ..core.kept_job import KeptJob
from ..core.sentence import Sentence, showable
from ..importer import lacks_transparent_bounces
from ..job import AnimateJob
from ..translations import translated
from .place import GVFPanel
from .text import draw_sentence

_ICONS = {Phase.DONE: "CHECKMARK", Phase.FAILED: "ERROR", Phase.CANCELLED: "CANCEL"}

_PICTURE_SCALE = 5.0


class GVF_PT_jobs(GVFPanel, bpy.types.Panel):
    """Running and finished jobs of this session."""

    bl_label = "Jobs"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw every job, the newest first."""
        layout = self.layout
        jobs = job_list.jobs()
        listed = {job.id for job in jobs}
        offered = [kept for kept in kept_jobs.offered() if kept.id not in listed]
        if not jobs and not offered:
            layout.label(text="None yet")
        for job in reversed(jobs):
            _draw_job(layout.box(), context, job)
        for kept in offered:
            _draw_offer(layout.box(), context, kept)
        if any(job.phase is Phase.DONE for job in jobs) and lacks_transparent_bounces(context.scene):
            layout.operator("gvf.raise_transparent_bounces", icon="LIGHT")


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: AnimateJob) -> None:
    header = layout.row()
    header.label(text=translated(job.request.title), icon=_ICONS.get(job.phase, "SORTTIME"))
    header.operator("gvf.remove_job", text="", icon="TRASH", emboss=False).job_id = job.id
    if not job.finished:
        row = layout.row(align=True)
        _draw_progress(row, job)
        row.operator("gvf.cancel", text="", icon="CANCEL").job_id = job.id
    if job.picture.icon:
        layout.template_icon(icon_value=job.picture.icon, scale=_PICTURE_SCALE)
    draw_sentence(layout, context, job.message)
    for warning in job.warnings:
        draw_sentence(layout, context, warning, icon="ERROR")
    row = layout.row(align=True)
    if job.can_import_again:
        row.operator("gvf.import_result", icon="IMPORT").job_id = job.id
    if job.can_be_taken_up:
        row.operator("gvf.take_up_job", icon="LINKED").job_id = job.id
    if job.phase in (Phase.FAILED, Phase.CANCELLED):
        row.operator("gvf.retry_job", icon="FILE_REFRESH").job_id = job.id


def _draw_offer(layout: bpy.types.UILayout, context: bpy.types.Context, kept: KeptJob) -> None:
    header = layout.row()
    title = showable(f"{', '.join(kept.objects)}: {Path(kept.video).name}")
    header.label(text=title, icon="RECOVER_LAST")
    header.operator("gvf.forget_job", text="", icon="TRASH", emboss=False).job_id = kept.id
    is_elsewhere = kept.blend and kept.blend != bpy.data.filepath
    text = Sentence("Started in an earlier session; the server may have finished it.")
    if is_elsewhere:
        pattern = "Started in {file} in an earlier session; the server may have finished it."
        text = Sentence(pattern, file=Path(kept.blend).name)
    draw_sentence(layout, context, text)
    layout.operator("gvf.take_up_job", icon="LINKED").job_id = kept.id


def _draw_progress(layout: bpy.types.UILayout, job: AnimateJob) -> None:
    text = f"{job.progress:.0%}"
    if hasattr(layout, "progress"):
        layout.progress(factor=job.progress, text=text)
    else:
        layout.label(text=text)


CLASSES = (GVF_PT_jobs,)
