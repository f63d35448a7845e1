"""Running the tasks of a manifest one after another, each from its own file into its own .blend file."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from .asset_file import BLEND, open_asset, pack_textures, save_asset
from .core.batch_state import BatchRecord, append_record, finished_tasks, one_batch_at_a_time, state_path
from .core.data_places import PARTIAL
from .core.errors import DefectError, FileError, GvfBlenderError, JobCancelled
from .core.manifest import BatchTask
from .importer import Imported, raise_transparent_bounces
from .importer.retiming import playback_of, whole_frames

LOGGER = logging.getLogger(__name__)

Animate = Callable[[Sequence[bpy.types.Object], BatchTask], Imported]


@dataclass(frozen=True)
class BatchOutcome:
    """What became of one task.

    Attributes:
        task: The task.
        output: The .blend file; None if the task failed.
        skipped: It was done in an earlier run.
        warnings: What could not be done as asked.
        error: Why it failed.
    """

    task: BatchTask
    output: Path | None = None
    skipped: bool = False
    warnings: tuple[str, ...] = ()
    error: GvfBlenderError | None = None


def run_batch(manifest: Path, tasks: Sequence[BatchTask], animate: Animate, resume: bool) -> list[BatchOutcome]:
    """Run the tasks; a failing one does not keep the others from running.

    Args:
        manifest: The state is kept beside it.
        tasks: What to do.
        animate: Makes the objects of a task move.
        resume: Skip what the state says is done.

    Raises:
        FileError: The state cannot be kept, or another process runs the batch.
        JobCancelled: Somebody cancelled; what was done before stays done.
    """
    state = state_path(manifest)
    with one_batch_at_a_time(state):
        return _run_all(state, tasks, animate, finished_tasks(state) if resume else set())


def _run_all(state: Path, tasks: Sequence[BatchTask], animate: Animate, done: set[str]) -> list[BatchOutcome]:
    outcomes = []
    for number, task in enumerate(tasks, start=1):
        start = time.monotonic()
        key = ""
        try:
            # Once: the files may change while the task runs.
            key = task.key
            output = task.output(key)
            if key in done and output.is_file():
                LOGGER.info("%d of %d, %s: done before", number, len(tasks), task)
                outcomes.append(BatchOutcome(task, output, skipped=True))
                continue
            LOGGER.info("%d of %d, %s", number, len(tasks), task)
            outcome = BatchOutcome(task, output, warnings=_run(task, output, animate))
            done.add(key)
        except JobCancelled:
            raise
        except GvfBlenderError as error:
            LOGGER.warning("%d of %d, %s, failed: %s", number, len(tasks), task, error)
            outcome = BatchOutcome(task, error=error)
        except Exception as error:  # a night's work shall not end for what one asset brings
            LOGGER.exception("%d of %d, %s, failed", number, len(tasks), task)
            outcome = BatchOutcome(task, error=DefectError("The add-on failed", error))
        outcomes.append(outcome)
        append_record(
            state,
            BatchRecord(
                key=key,
                task=str(task),
                state="failed" if outcome.error else "done",
                output=str(outcome.output or ""),
                message=str(outcome.error or " ".join(outcome.warnings)),
                seconds=round(time.monotonic() - start, 1),
            ),
        )
    return outcomes


def _run(task: BatchTask, output: Path, animate: Animate) -> tuple[str, ...]:
    try:
        task.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"The folder {task.folder} cannot be made ({error.strerror}).", "Choose another.") from error
    objects = open_asset(task.asset, task.objects, keep_preferences=True)
    is_new = task.asset.suffix.lower() != BLEND
    if is_new:
        # The artist's own file keeps its settings.
        raise_transparent_bounces(bpy.context.scene)
    # In the folder of the result from the start: tracks in a file of their own go beside it and not beside the asset.
    # Under another name until it is done: what stops halfway must neither look done nor replace an earlier result.
    partial = output.with_name(f"{output.stem}{PARTIAL}{output.suffix}")
    try:
        save_asset(partial)
        imported = animate(objects, task)
        if is_new:
            _fit_frame_range(imported)
            pack_textures()
        save_asset(output)
    finally:
        _remove(partial)
    return imported.warnings


def _remove(partial: Path) -> None:
    try:
        partial.unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("%s could not be removed: %s", partial, error)


def _fit_frame_range(imported: Imported) -> None:
    shown = [thing for thing in (imported.splats, imported.points, *imported.motion) if thing is not None]
    playbacks = [found for found in map(playback_of, shown) if found is not None]
    if playbacks:
        scene = bpy.context.scene
        start, end = min(found.start for found in playbacks), max(found.end for found in playbacks)
        scene.frame_start, scene.frame_end = whole_frames(start, end)
