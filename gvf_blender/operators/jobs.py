"""What can be done with a job of the list: cancel it, import its result again, remove it."""

from typing import ClassVar

import bpy

from .. import job_list
from ..core.errors import GvfBlenderError
from ..core.job_phase import Phase
from ..core.sentence import Sentence
from ..job import AnimateJob
from ..preferences import results_folder, server_choice
from ..request import check_video, find_objects
from ..translations import translated
from ..translations.properties import StringProperty


class JobOperator:
    """What the operators on one job share."""

    job_id: StringProperty(
        name="Job", description="Id of the job; empty for the newest one", options={"SKIP_SAVE", "HIDDEN"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is any job."""
        if not job_list.jobs():
            cls.poll_message_set(translated("There is no job. Press Animate to start one."))
            return False
        return True

    def job(self):
        """The chosen job.

        Raises:
            GvfBlenderError: There is none of that id.
        """
        job = job_list.find_job(self.job_id)
        if job is None:
            raise GvfBlenderError(f"There is no job {self.job_id!r} any more.", "Press Animate to start one.")
        return job


class GVF_OT_cancel(JobOperator, bpy.types.Operator):
    """A finished job stays as it is."""

    bl_idname = "gvf.cancel"
    bl_label = "Cancel"
    bl_description = "Stop this job, here and on the server"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Cancel the job."""
        try:
            job = self.job()
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if job.finished:
            text = "{title} has finished already. Press Remove From List if it should not stay there."
            self.report({"WARNING"}, translated(text, title=job.request.title))
            return {"CANCELLED"}
        job.cancel()
        job_list.redraw_panels()
        self.report({"INFO"}, translated("Cancelled {title}.", title=job.request.title))
        return {"FINISHED"}


class GVF_OT_import_result(JobOperator, bpy.types.Operator):
    """Works for imported results too, as long as the job is in the list."""

    bl_idname = "gvf.import_result"
    bl_label = "Import Again"
    bl_description = "Add the result of this job to the scene once more"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import the kept result."""
        try:
            job = self.job()
            if not job.finished:
                raise GvfBlenderError(f"{job.request.title} has not finished.", "Wait until it has, or cancel it.")
            job.import_again()
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in job.warnings:
            self.report({"WARNING"}, translated(warning))
        return {"FINISHED"}


class GVF_OT_retry_job(JobOperator, bpy.types.Operator):
    """The same objects, video and settings, as they were when the job was started."""

    bl_idname = "gvf.retry_job"
    bl_label = "Try Again"
    bl_description = "Start this job once more, with the settings that it had"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put a new job in place of the old one; in background mode, also finish it."""
        try:
            old = self.job()
            if not old.finished:
                raise GvfBlenderError(f"{old.request.title} has not finished.", "Wait until it has, or cancel it.")
            find_objects(old.request.objects)
            check_video(old.request.video)
            choice = server_choice(context)
            choice.locate()
            job = old.again(choice.connect, results_folder())
            job_list.remove(old)
            job_list.add(job)
            if bpy.app.background:
                job.wait()
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class GVF_OT_remove_job(JobOperator, bpy.types.Operator):
    """A result that was never imported stays on the disk; no imported object needs the file that is deleted."""

    bl_idname = "gvf.remove_job"
    bl_label = "Remove From List"
    bl_description = "Cancel this job if it runs and take it out of the list; imported objects stay"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask if something is lost with the job."""
        job = job_list.find_job(self.job_id)
        loss = None if job is None else _loss(job)
        if loss is None:
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self, event, title=translated("Remove From List"), message=translated(loss), confirm_text="Remove"
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the job."""
        try:
            job_list.remove(self.job())
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        job_list.redraw_panels()
        return {"FINISHED"}


def _loss(job: AnimateJob) -> Sentence | None:
    """What goes with a job that is removed; None if nothing does."""
    if not job.finished:
        return Sentence("This job still runs and will be cancelled, here and on the server.")
    if job.phase is Phase.DONE and job.can_import_again:
        return Sentence("Its result file is deleted: it cannot be imported again. Imported objects stay.")
    if job.can_be_taken_up:
        return Sentence("The server may still have this job: it cannot be taken up again.")
    return None


CLASSES = (GVF_OT_cancel, GVF_OT_import_result, GVF_OT_retry_job, GVF_OT_remove_job)
