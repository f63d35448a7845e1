"""One animation from the button to the imported objects: the same object behind the panel and the console.

The job lives on Blender's main thread and is advanced by `AnimateJob.poll`, which never waits: the capture renders
one view a call, the server is spoken to by a thread of its own, and only the import takes as long as it takes.
Nothing of Blender's data is held from one poll to the next, because undo and file load would invalidate it; the
running capture is the exception, and is given up before either happens.

One job at a time is captured: the others of the list wait for their turn, with nothing but names, and find out then
whether what they are about is still there. What a job asks for is settled when it is made, and so is the frame.
"""

import logging
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import bpy

from . import source_marks
from .artist_render import error_beside_render, is_rendering
from .capture import CaptureOptions, CaptureSession, exact_frame
from .core.errors import DefectError, FileError, GvfBlenderError, JobCancelled, ServerError
from .core.job_phase import MESSAGES, Phase, overall_progress
from .core.kept_job import RESUMABLE_CODES, KeptJob
from .core.sentence import Sentence
from .core.sources import SourceObject
from .core.tick_budget import TickBudget
from .core.time_left import time_left
from .frame_picture import FramePicture
from .importer import Imported
from .job_scene import import_result, scene_context
from .kept_jobs import Keeper, request_of
from .request import AnimateRequest, check_video, find_objects
from .server_thread import (
    JOIN_SECONDS,
    Advanced,
    Connect,
    Connected,
    Downloaded,
    Failed,
    News,
    Previewed,
    ResumeOrder,
    ServerOrder,
    ServerThread,
    Submitted,
)
from .user_folder import job_folders

LOGGER = logging.getLogger(__name__)

ProgressCallback = Callable[[str, float], None]
"""Called with the stage and the fraction of the whole job that is done, 0..1, never falling."""


class AnimateJob:
    """Makes the objects of a request move like its video.

    Attributes:
        id: Name of the job in this Blender session.
        request: What is asked for.
        phase: What the job is doing now.
        stage: The server's name of the present step while it runs, else the phase.
        progress: Fraction of the whole job that is done, 0..1; never falls.
        seconds_left: How long the server may still compute; None if it does not know.
        error: Why the job failed; None unless it did.
        imported: The objects of the result; None before the import and after undo or file load, which
            invalidate them.
        warnings: What the result does not do as asked, one sentence each.
        result_path: The downloaded result as long as it exists.
        picture: How the newest frame of the running job looks.
    """

    def __init__(
        self,
        request: AnimateRequest,
        connect: Connect,
        results_folder: Path,
        capture_options: CaptureOptions | None = None,
    ) -> None:
        """Make a job that waits for its turn; everything happens in `poll`.

        Args:
            request: What is asked for, already checked.
            connect: Finds the server; called on the job's thread, must not touch Blender.
            results_folder: Where the downloaded result is kept until it is imported.
            capture_options: How the views are rendered; None takes the request's views.

        Raises:
            FileError: A folder cannot be made, for example because the disk is full.
        """
        self.id = uuid.uuid4().hex[:8]
        self.request = request
        self.phase = Phase.WAITING
        self.stage = Phase.WAITING.value
        self.progress = 0.0
        self.seconds_left: float | None = None
        self.error: GvfBlenderError | None = None
        self.imported: Imported | None = None
        self.warnings: tuple[str, ...] = ()
        self.result_path: Path | None = None
        self.picture = FramePicture()
        self._keeper = Keeper()
        self._capture_options = capture_options or CaptureOptions(views=request.views, movable=request.movable)
        self._scene_name = bpy.context.scene.name
        self._frame = exact_frame(bpy.context.scene)
        self._frame_start = bpy.context.scene.frame_current if request.frame_start is None else request.frame_start
        self._sources: tuple[SourceObject, ...] = ()
        self._session: CaptureSession | None = None
        self._left_file = False
        self._home_file = bpy.data.filepath
        self._scratch = job_folders(results_folder)
        self._wanted_result = results_folder / f"{request.video.stem}-{self.id}.safetensors"
        self._ahead: Callable[[], AnimateJob | None] = lambda: None
        self._thread = ServerThread(connect, self._scratch, name=f"gvf-job-{self.id}")

    @classmethod
    def take_up(cls, kept: KeptJob, connect: Connect, results_folder: Path) -> "AnimateJob":
        """Go on with a job of an earlier session, in the present file; an interrupted one starts again on the server.

        Args:
            kept: The job.
            connect: As for a new job.
            results_folder: As for a new job.

        Raises:
            SettingsError: The job is from a version of the extension with other settings.
            FileError: A folder cannot be made.
        """
        job = cls(request_of(kept), connect, results_folder)
        job.id, job._scene_name, job._sources = kept.id, kept.scene, kept.sources
        job._keeper.keep(kept)
        source_marks.hold(kept.id, kept.sources)
        job._enter(Phase.QUEUED)
        job._thread.start()
        job._thread.send(ResumeOrder(kept.server_job, job._wanted_result))
        return job

    def again(self, connect: Connect, results_folder: Path) -> "AnimateJob":
        """A new job with the settings, the scene and the frame of this one.

        Args:
            connect: As for a new job.
            results_folder: As for a new job.

        Raises:
            FileError: A folder cannot be made.
        """
        job = AnimateJob(self.request, connect, results_folder, self._capture_options)
        job._scene_name, job._frame, job._frame_start = self._scene_name, self._frame, self._frame_start
        return job

    @property
    def kept(self) -> KeptJob | None:
        """What another session needs to take the job up; None before the server has it and once it is over for good.

        It is over for good when a file that may hold the result has been saved; without windows when it is imported.
        """
        return self._keeper.job

    @property
    def finished(self) -> bool:
        """Nothing more will happen."""
        return self.phase.finished

    @property
    def waits_for(self) -> "AnimateJob | None":
        """The job that is captured now while this one waits for its turn."""
        return self._ahead() if self.phase is Phase.WAITING else None

    @property
    def message(self) -> Sentence:
        """One sentence about where the job stands."""
        if self.error is not None:
            return self.error.text
        if (other := self.waits_for) is not None:
            return Sentence("Waiting for {title}", title=other.request.title)
        if self._waits_for_render:
            return Sentence("Waiting for the render to end")
        if self.phase is Phase.RUNNING and self.stage != Phase.RUNNING:
            stage = Sentence(f"{self.stage[:1].upper()}{self.stage[1:]}")
            if self.seconds_left is None:
                return stage
            return Sentence("{stage}, {left}", stage=stage, left=time_left(self.seconds_left))
        return MESSAGES.get(self.phase, Sentence(""))

    @property
    def can_be_taken_up(self) -> bool:
        """The server may still have the job, or can do it again from what was sent."""
        return self.phase is Phase.FAILED and self.kept is not None and not self.can_import_again

    @property
    def can_import_again(self) -> bool:
        """The result is still there."""
        return self.finished and self.result_path is not None and self.result_path.is_file()

    @property
    def _waits_for_render(self) -> bool:
        """What changes the file would show in the middle of the artist's render, or crash it."""
        return self.phase in (Phase.CAPTURING, Phase.IMPORTING) and is_rendering()

    def queue_behind(self, ahead: "Callable[[], AnimateJob | None]") -> None:
        """Let other jobs be captured first.

        Args:
            ahead: Tells which one is captured now; None once it is this one's turn.
        """
        self._ahead = ahead

    def poll(self, budget: TickBudget | None = None) -> None:
        """Advance without waiting: begin, take the server's news, render at most one view, or import the result.

        Failures do not leave this method; they end up in `phase` and `error`.

        Args:
            budget: When it is spent, no further news is taken; None for a budget of its own.
        """
        if self.finished:
            return
        budget = budget or TickBudget()
        self._keeper.touch()
        try:
            if self.phase is Phase.WAITING and self.waits_for is None:
                self._begin()
            elif self.phase is Phase.CAPTURING and not self._waits_for_render:
                self._render_a_view()
            elif self.phase is Phase.IMPORTING and not self._waits_for_render:
                self._import_first_time()
            while not (self.finished or budget.is_spent) and (news := self._thread.next_news()) is not None:
                self._take(news)
        except GvfBlenderError as error:
            self._fail(error)
        except Exception as error:
            LOGGER.exception("Job %s failed while %s", self.id, self.phase)
            self._fail(DefectError(f"The add-on failed while {self.phase}", error))

    def wait(self, on_progress: ProgressCallback = lambda stage, fraction: None) -> Imported:
        """Block until the job is over; for background mode, where nothing else advances it, and the console.

        Jobs whose turn comes first are advanced as well, until they are captured.

        Args:
            on_progress: Called on the main thread with the stage and the fraction of the whole that is done.

        Returns:
            What was imported.

        Raises:
            RenderError: The artist renders, which would never end; a job without a result is cancelled.
            GvfBlenderError: The job failed, or what it had imported is gone since.
            JobCancelled: The job was cancelled.
        """
        reported: tuple[str, float] | None = None
        try:
            while not self.finished:
                if (self.stage, self.progress) != reported:
                    reported = (self.stage, self.progress)
                    on_progress(*reported)
                polled = self.waits_for or self
                # Blender would notice the end of a render only once this call has returned.
                if polled._waits_for_render:
                    polled._refuse_beside_render()
                polled._poll_after_news()
            if self.phase is Phase.DONE:
                on_progress(self.stage, self.progress)
        except BaseException:
            self.cancel()
            self.close()
            raise
        if self.error is not None:
            raise self.error
        if self.phase is Phase.CANCELLED:
            raise JobCancelled()
        if self.imported is None:
            raise GvfBlenderError(
                f"What {self.request.title} had imported is gone since an undo or another file.",
                "Import it again with import_again().",
            )
        return self.imported

    def cancel(self) -> None:
        """Stop now; the server is told by the job's thread. A finished job stays as it is."""
        if self.finished:
            return
        self._close_capture()
        self._thread.cancel()
        self._keeper.forget()
        source_marks.release(self.id)
        self._enter(Phase.CANCELLED)
        # The thread removes the result too if it arrives later, or is just written, which locks it on Windows.
        with suppress(OSError):
            self._wanted_result.unlink(missing_ok=True)
        self.result_path = None

    def leave(self) -> None:
        """Let the server go on without Blender, for another session to take the job up; else cancel."""
        if self.kept is None:
            self.cancel()
            return
        self._keeper.release()
        source_marks.leave(self.id)
        if not self.finished:
            self._thread.leave()
            # Not left to the thread, which may end with Blender.
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._enter(Phase.CANCELLED)

    def close(self, patience: float = JOIN_SECONDS) -> None:
        """Cancel if unfinished, and remove a result that has been imported.

        Args:
            patience: Seconds to wait for the job's thread; it goes on by itself to tell the server of a cancel.
        """
        self.cancel()
        self._keeper.forget()
        source_marks.release(self.id)
        self._thread.join(patience)
        if self.phase is Phase.DONE and self.result_path is not None:
            try:
                self.result_path.unlink(missing_ok=True)
            except OSError as error:
                LOGGER.warning("%s could not be removed: %s", self.result_path, error)
            else:
                self.result_path = None

    def import_again(self) -> Imported:
        """Import the kept result, into the scene of the job or else the current one.

        Raises:
            FileError: There is no result.
            GvfBlenderError: The import failed; the result is kept.
        """
        if self.result_path is None or not self.result_path.is_file():
            raise FileError(f"The job {self.request.title} has no result to import.", "Press Animate to make it again.")
        imported = import_result(
            self.result_path, self._sources, self.request.outputs, self._frame_start, self._scene_name
        )
        self.imported, self.error = imported, None
        self.warnings = tuple(imported.warnings)
        if not _has_windows():
            self._keeper.forget()
        source_marks.release(self.id)
        self._enter(Phase.DONE)
        return imported

    def before_undo(self) -> None:
        """Give the running capture up while its data is still valid; the next poll starts it anew."""
        self._close_capture()
        self.imported = None

    def stay_with_unsaved(self) -> bool:
        """Show other Blenders that an imported result which no file holds yet is this one's; whether it is."""
        if self.phase is not Phase.DONE or self.kept is None:
            return False
        self._keeper.touch()
        return True

    def after_save(self) -> None:
        """What was imported is on the disk now."""
        if self.phase is Phase.DONE:
            self._keeper.forget()

    def before_file_load(self) -> None:
        """Give the capture up for good, also one to come: its objects are about to disappear."""
        self.imported = None
        if not self._left_file:
            self._home_file = bpy.data.filepath
        if self.phase.needs_scene:
            self._fail(GvfBlenderError("A file was opened before the mesh was captured.", "Press Animate again."))

    def after_file_load(self) -> None:
        """Note whether the open file is still the one that the result belongs to."""
        self._left_file = not self._home_file or bpy.data.filepath != self._home_file

    def _refuse_beside_render(self) -> None:
        """Raise before the capture; let a job whose result is there fail, so that the result is kept."""
        if self.phase is Phase.CAPTURING:
            raise error_beside_render("captured")
        self._fail(self._with_kept_result(error_beside_render("imported")))

    def _with_kept_result(self, error: GvfBlenderError) -> GvfBlenderError:
        hint = f"{error.hint} The result is kept in {self.result_path}; use Import Again.".strip()
        return type(error)(error.message, hint)

    def _poll_after_news(self) -> None:
        if self.phase not in (Phase.WAITING, Phase.CAPTURING, Phase.IMPORTING):
            self._thread.wait_for_news()
        self.poll()

    def _begin(self) -> None:
        # It may be gone since, and without it the views would be rendered in vain.
        for video in (self.request.video, *(one.video for one in self.request.further)):
            check_video(video)
        self._enter(Phase.CONNECTING)
        self._thread.start()

    def _take(self, news: News) -> None:
        match news:
            case Connected():
                if self.kept is None:
                    self._enter(Phase.CAPTURING)
            case Submitted(job_id=job_id):
                self._keeper.keep(self._record(job_id))
            case Advanced(phase=phase, stage=stage, fraction=fraction, seconds_left=seconds_left):
                self.seconds_left = seconds_left
                self._enter(phase, fraction, stage)
            case Previewed(path=path):
                self.picture.show(path)
            case Downloaded(path=path):
                self.result_path = path
                self._enter(Phase.IMPORTING)
            case Failed(error=error):
                raise error

    def _render_a_view(self) -> None:
        if self._session is None:
            context = scene_context(self._scene_name, strict=True)
            objects = find_objects(self.request.objects)
            path = self._scratch / "capture.safetensors"
            self._session = CaptureSession(context, objects, path, self._capture_options, self._frame)
            self._sources = source_marks.marked(self._session.sources)
            source_marks.hold(self.id, self._sources)
        fraction = self._session.step()
        self._enter(Phase.CAPTURING, fraction)
        result = self._session.result
        if result is None:
            return
        self._close_capture()
        self._enter(Phase.UPLOADING)
        self._thread.send(
            ServerOrder(
                capture=result.path,
                video=self.request.video,
                settings=self.request.settings.to_dict(),
                result=self._wanted_result,
                further=self.request.further,
            )
        )

    def _import_first_time(self) -> None:
        try:
            if self._left_file:
                raise GvfBlenderError(
                    "Another file was opened before the result arrived.", "Open the file with the objects again."
                )
            self.import_again()
        except GvfBlenderError as error:
            raise self._with_kept_result(error) from error

    def _enter(self, phase: Phase, fraction: float = 0.0, stage: str = "") -> None:
        self.phase = phase
        self.stage = stage or phase.value
        if phase is not Phase.RUNNING:
            self.picture.clear()
        if phase not in (Phase.FAILED, Phase.CANCELLED):
            self.progress = max(self.progress, overall_progress(phase, fraction))

    def _fail(self, error: GvfBlenderError) -> None:
        self.error = error
        try:
            self._close_capture()
        except Exception:
            LOGGER.exception("The capture of job %s could not be taken down", self.id)
        if isinstance(error, ServerError) and error.code not in RESUMABLE_CODES:
            self._keeper.forget()
        if self.kept is None:
            self._thread.cancel()
        else:
            self._thread.leave()
        self._enter(Phase.FAILED)
        if self.kept is None and not self.can_import_again:
            source_marks.release(self.id)

    def _record(self, server_job: str) -> KeptJob:
        return KeptJob(
            id=self.id,
            server_job=server_job,
            objects=self.request.objects,
            video=str(self.request.video),
            settings=self.request.settings.to_dict(),
            outputs=self.request.outputs,
            frame_start=self._frame_start,
            views=self.request.views,
            movable=self.request.movable,
            scene=self._scene_name,
            blend=self._home_file,
            sources=self._sources,
            further=tuple((str(one.video), one.azimuth, one.elevation) for one in self.request.further),
        )

    def _close_capture(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            session.close()


def _has_windows() -> bool:
    return not bpy.app.background
