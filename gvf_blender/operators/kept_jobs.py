"""Jobs of an earlier session, and jobs that lost their server: take them up again, or let them go."""

import contextlib
from typing import ClassVar

import bpy

from .. import job_list, kept_jobs, server_watch
from ..core import kept_job
from ..core.errors import GvfBlenderError, ServerError
from ..core.kept_job import KeptJob
from ..job import AnimateJob
from ..preferences import results_folder, server_choice
from ..server_choice import ServerChoice
from ..translations import translated
from ..translations.properties import StringProperty


class GVF_OT_take_up_job(bpy.types.Operator):
    """The capture is on the server already, so nothing is rendered again; the result lands in the open file."""

    bl_idname = "gvf.take_up_job"
    bl_label = "Take Up Again"
    bl_description = "Follow this job on the server again and import its result into the open file"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    job_id: StringProperty(name="Job", description="Id of the job", options={"SKIP_SAVE", "HIDDEN"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Put the job into the list; in background mode, also finish it."""
        try:
            choice = server_choice(context)
            choice.locate()
            listed = job_list.find_job(self.job_id) if self.job_id else None
            if listed is not None and not listed.can_be_taken_up:
                raise GvfBlenderError(f"{listed.request.title} needs not be taken up.", "Look at it in the list.")
            kept = kept_jobs.find_offered(self.job_id) if listed is None else listed.kept
            if kept is None:
                raise GvfBlenderError("There is no such job to take up.", "Press Animate to start one.")
            job = AnimateJob.take_up(kept, choice.connect, results_folder())
            if listed is not None:
                job_list.replace(listed, job)
            else:
                job_list.add(job)
            kept_jobs.look_again()
            if bpy.app.background:
                job.wait()
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class GVF_OT_forget_job(bpy.types.Operator):
    """The server is told too, in a thread, so that it does not compute for nobody."""

    bl_idname = "gvf.forget_job"
    bl_label = "Remove From List"
    bl_description = "Cancel this job of an earlier session on the server and take it out of the list"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    job_id: StringProperty(name="Job", description="Id of the job", options={"SKIP_SAVE", "HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask, as the job may still run or have a result."""
        text = "The server cancels this job, and its result is lost."
        return context.window_manager.invoke_confirm(
            self, event, title=translated("Remove From List"), message=translated(text), confirm_text="Remove"
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forget the job."""
        kept = kept_jobs.find_offered(self.job_id)
        if kept is None:
            text = (
                "There is no such job of an earlier session any more: it was taken up or removed. "
                "Look at the list, or press Animate."
            )
            self.report({"ERROR"}, text)
            return {"CANCELLED"}
        kept_job.forget(kept_jobs.kept_folder(), kept.id)
        kept_jobs.look_again()
        choice = server_choice(context)
        server_watch.act(lambda: _cancel(choice, kept), lambda result: None)
        return {"FINISHED"}


def _cancel(choice: ServerChoice, kept: KeptJob) -> None:
    """Cancel a job if there is a server that has it and has not finished it."""
    with contextlib.suppress(ServerError):
        choice.reach().cancel(kept.server_job)


CLASSES = (GVF_OT_take_up_job, GVF_OT_forget_job)
