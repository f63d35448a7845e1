"""The jobs of this Blender session, and the timer that advances them while Blender has windows.

A module-level list and not Blender data: a running job belongs to the session, not to the file that happens to be
open, and must neither be saved with it nor undone.
"""

import itertools
import logging
import time
from functools import partial

import bpy
from bpy.app.handlers import persistent

from . import source_marks
from .capture import remove_leftovers
from .core.job_phase import Phase
from .core.kept_job import TOUCH_SECONDS
from .core.tick_budget import Clock, TickBudget
from .job import AnimateJob
from .server_thread import JOIN_SECONDS

LOGGER = logging.getLogger(__name__)

MAX_FINISHED = 5
"""Older finished jobs leave the list, and their imported results the disk."""
CAPTURE_INTERVAL = 0.01
"""Seconds between two views: enough for Blender to handle input and redraw."""
WAIT_INTERVAL = 0.1
"""Seconds between two looks at the server's news."""

_SHOWN_IN = {"VIEW_3D": "UI", "PREFERENCES": "WINDOW"}

_jobs: list[AnimateJob] = []
_turns = itertools.count()


def jobs() -> tuple[AnimateJob, ...]:
    """All jobs, the newest last."""
    return tuple(_jobs)


def find_job(job_id: str) -> AnimateJob | None:
    """The job of this id; an empty id means the newest job."""
    return next((job for job in reversed(_jobs) if not job_id or job.id == job_id), None)


def add(job: AnimateJob) -> None:
    """Take a job into the list, to be captured after those before it; without windows somebody else has to poll it."""
    _jobs.append(job)
    job.queue_behind(partial(_captured_before, job))
    finished = [each for each in _jobs if each.finished]
    for old in finished[: max(0, len(finished) - MAX_FINISHED)]:
        if old.phase is not Phase.DONE:
            old.leave()  # what can be taken up again is offered from now on, and not lost with its place in the list
        remove(old)
    if not bpy.app.background:
        # A timer that only stays with what is unsaved comes too seldom.
        if bpy.app.timers.is_registered(advance):
            bpy.app.timers.unregister(advance)
        bpy.app.timers.register(advance, first_interval=0.0, persistent=True)


def replace(old: AnimateJob, new: AnimateJob) -> None:
    """Take a job into the list in place of one that goes on as this one."""
    old.leave()
    _jobs.remove(old)
    add(new)


def remove(job: AnimateJob) -> None:
    """Cancel a job and take it out of the list if it is there, without waiting for its server."""
    job.close(patience=0.0)
    if job in _jobs:
        _jobs.remove(job)


def advance(clock: Clock = time.perf_counter) -> float | None:
    """Poll every running job once, each time another one first: the budget of a tick may not suffice for all.

    Args:
        clock: Tells seconds, for the budget.

    Returns:
        Seconds until the next call, None when nothing runs or is unsaved, as `bpy.app.timers` wants it.
    """
    running = [job for job in _jobs if not job.finished]
    first = next(_turns) % max(1, len(running))
    budget = TickBudget(clock)
    for job in (*running[first:], *running[:first]):
        job.poll(budget)
        if job.phase is Phase.DONE:
            push_undo("Import Animation")
        if job.finished:
            LOGGER.info("%s: %s", job.request.title, job.message)
    if running:
        redraw_panels()
    unsaved = [job for job in _jobs if job.stay_with_unsaved()]
    if all(job.finished for job in running):
        return TOUCH_SECONDS if unsaved else None
    return CAPTURE_INTERVAL if any(job.phase is Phase.CAPTURING for job in running) else WAIT_INTERVAL


def redraw_panels() -> None:
    """Let the sidebars of all 3D viewports and the preferences show the present state."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            shown = _SHOWN_IN.get(area.type)
            for region in area.regions:
                if region.type == shown:
                    region.tag_redraw()


def push_undo(message: str) -> None:
    """Make what a timer has just done a step of its own.

    A timer is no operator: without this, undo would take back the artist's last step together with it.
    """
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=message)


def _captured_before(job: AnimateJob) -> AnimateJob | None:
    """The first of those before it in the list that still need the scene."""
    before = itertools.takewhile(lambda each: each is not job, _jobs)
    return next((each for each in before if each.phase.needs_scene), None)


@persistent
def _before_undo(*_: object) -> None:
    for job in _jobs:
        job.before_undo()


@persistent
def _after_save(*_: object) -> None:
    for job in _jobs:
        job.after_save()


@persistent
def _after_undo(*_: object) -> None:
    # The steps that were made while a capture ran hold its temporary scene.
    remove_leftovers()


@persistent
def _before_load(*_: object) -> None:
    for job in _jobs:
        job.before_file_load()


@persistent
def _after_load(*_: object) -> None:
    source_marks.after_file_load()
    for job in _jobs:
        job.after_file_load()
    remove_leftovers()


_HANDLERS = (
    ("undo_pre", _before_undo),
    ("redo_pre", _before_undo),
    ("undo_post", _after_undo),
    ("redo_post", _after_undo),
    ("save_post", _after_save),
    ("load_pre", _before_load),
    ("load_post", _after_load),
)


def register() -> None:
    """Listen to undo, and to files that are saved and opened."""
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    """Stop the timer and leave every job: what a server has goes on, the rest is cancelled within a few seconds."""
    if bpy.app.timers.is_registered(advance):
        bpy.app.timers.unregister(advance)
    for name, handler in _HANDLERS:
        handlers = getattr(bpy.app.handlers, name)
        # Blender 4.2 drops them all before it disables add-ons at its end.
        if handler in handlers:
            handlers.remove(handler)
    for job in _jobs:
        job.leave()
    deadline = time.monotonic() + JOIN_SECONDS
    for job in _jobs:
        job.close(patience=max(0.0, deadline - time.monotonic()))
    _jobs.clear()
