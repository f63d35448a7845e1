"""A job function for the server's worker that needs no torch; the seed says how the job goes."""

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scripted_client import write_animation

from gvf_blender.core.safetensors_file import read_tensors
from gvf_core.errors import Cancelled, VideoError
from server.preview import PreviewFile
from server.worker_process import JobTask

SEED_FAILS = 1
SEED_NEVER_ENDS = 2
SEED_WAITS = 3
"""Until there is a file "go" in GVF_HOME."""
SEED_TELLS = 4
"""Fails with the further videos that it was given."""


def run(task: JobTask, on_progress: Callable[[str, float], None], cancelled: Callable[[], bool]) -> None:
    """Write a made-up animation of the capture, fail, or go on until it is cancelled."""
    PreviewFile(task.preview)(0, np.tile(np.float32([0.5, 0.25, 0, 0.5]), (16, 32, 1)))
    on_progress("tracking", 0.5)
    if task.settings.seed == SEED_FAILS:
        raise VideoError("The driving video shows nothing.", "Use a video in which something moves.")
    if task.settings.seed == SEED_TELLS:
        raise VideoError(", ".join(f"{one.path.name} {one.azimuth:g} {one.elevation:g}" for one in task.further))
    while task.settings.seed == SEED_NEVER_ENDS:
        if cancelled():
            raise Cancelled()
        threading.Event().wait(0.02)
    while task.settings.seed == SEED_WAITS and not (Path(os.environ["GVF_HOME"]) / "go").exists():
        threading.Event().wait(0.02)
    tensors, _ = read_tensors(task.capture)
    # As the pipeline of the core tells them.
    provenance = json.dumps({"settings": dataclasses.asdict(task.settings)})
    write_animation(task.result, tensors["vertices"], tensors["world_from_unit"], provenance)
