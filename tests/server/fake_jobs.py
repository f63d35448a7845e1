"""Fakes of the worker's job function, imported by the worker of a real server under test.

`scripted` computes nothing: its driving video is a text whose lines say what the worker does, so that one server
serves every test. `fabricated_animation` runs the real job around a fake pipeline.
"""

import os
import signal
import threading
from pathlib import Path

import numpy as np

from gvf_core.errors import Cancelled, VideoError
from server.preview import PreviewFile

POLL_SECONDS = 0.01


def scripted(task, on_progress, cancelled):
    never = threading.Event()
    for line in task.video.read_text().splitlines():
        verb, _, argument = line.partition(" ")
        match verb:
            case "progress":
                stage, fraction = argument.split()
                on_progress(stage, float(fraction))
            case "tell-pid":
                on_progress(str(os.getpid()), 0.1)
            case "tell-gpu":
                on_progress(os.environ["CUDA_VISIBLE_DEVICES"], 0.1)
            case "tell-threads":
                on_progress(f"{os.environ.get('NUMBA_NUM_THREADS')} threads", 0.1)
            case "tell-further":
                for one in task.further:
                    on_progress(f"{one.path.name} {one.azimuth:g} {one.elevation:g} {one.path.read_text()}", 0.1)
            case "wait-for":  # a file, or a request to cancel
                while not Path(argument).exists():
                    if cancelled():
                        raise Cancelled()
                    never.wait(POLL_SECONDS)
            case "preview":  # width and height
                width, height = map(int, argument.split())
                picture = np.tile(np.float32([0.5, 0.25, 0, 0.5]), (height, width, 1))
                PreviewFile(task.preview)(0, picture)
            case "sleep":
                never.wait(float(argument))
            case "ignore-cancel":
                never.wait()
            case "helper":  # a process of the job's own, as a video decoder would be
                if os.fork() == 0:
                    never.wait()
            case "refuse":
                raise VideoError(f"{task.video.name} holds no frames.", "Choose another video.")
            case "raise":
                raise ZeroDivisionError(argument)
            case "signal":
                os.kill(os.getpid(), signal.Signals[argument])
            case "run-out-of-memory":
                raise MemoryError
            case "run-out-of-memory-once":
                on_progress(str(os.getpid()), 0.5)
                if not task.smaller_chunks:
                    raise MemoryError
            case "leave-result-and-fail":
                task.result.write_bytes(b"half")
                raise ZeroDivisionError
            case _:
                raise AssertionError(f"unknown line {line!r}")
    task.result.write_bytes(b"fake animation " + repr(task.settings).encode())


def instant(task, on_progress, cancelled):
    task.result.write_bytes(b"fake animation")


def fabricated_animation(task, on_progress, cancelled):
    import torch

    from gvf_core.animation import Animation
    from gvf_core.gaussians import Gaussians, VariationField
    from server.animation_job import animate_job

    def fake_animate(capture, video, settings, on_progress, cancelled, further, on_preview):
        on_progress("fabricating", 0.5)
        views = [f"{one.path.name} {one.azimuth} {one.elevation}" for one in further]
        count = settings.gaussians
        gaussians = Gaussians(*(torch.zeros(count, width) for width in (3, 3, 4, 3)), torch.zeros(count))
        return Animation(
            gaussians=gaussians,
            variation=VariationField(torch.zeros(2, count, 14)),
            vertices=np.stack([capture.vertices, capture.vertices]),
            world_from_unit=capture.world_from_unit,
            fps=24.0,
            provenance={"engine": "fake", "views": views},
        )

    animate_job(task, on_progress, cancelled, animate=fake_animate)
