"""Colours and opacities that follow the video."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_assets import painted_body, picture
from threadpoolctl import threadpool_limits

from gvf_core.canonical import gaussians_on_surface
from gvf_core.gaussians import VariationField
from gvf_core.motion import Monitor, Motion, MotionTask
from gvf_core.motion.recolor import RecolorOptions, recolor
from gvf_core.rendering import orbit_camera

BODY = painted_body(size=192, axes=(0.5, 0.2, 0.2))
CAMERA = orbit_camera(0, 10, radius=1.7, size=128)
SILENT = Monitor(lambda fraction: None, lambda: False)
LOOK = slice(VariationField.COLORS.start, VariationField.OPACITY + 1)
SPOT = 0.12
"""Half the width of the part in the middle that turns red."""


@pytest.fixture(scope="module", autouse=True)
def one_thread_per_operation():
    with threadpool_limits(1):
        yield


def clip(light: float) -> np.ndarray:
    """Three frames: the middle of the body turns red. All of them are seen in another light than the capture."""
    rest = picture(BODY.vertices, BODY.vertices, BODY.triangles, CAMERA)
    rest[..., :3] *= light
    columns = np.abs(np.arange(rest.shape[1]) - rest.shape[1] / 2) < 10
    frames = np.stack([rest, rest, rest])
    for index, redness in enumerate((0.0, 0.4, 0.8)):
        red = frames[index, ..., 3:] * np.array([light, 0, 0], np.float32)
        spot = frames[index][:, columns]
        frames[index][:, columns, :3] = (1 - redness) * spot[..., :3] + redness * red[:, columns]
    return frames


@pytest.fixture(scope="module", params=[1.0, 0.6])
def task(request) -> MotionTask:
    canonical = gaussians_on_surface(BODY, 3000, np.random.default_rng(0))
    return MotionTask(BODY, canonical, clip(request.param), CAMERA, 0)


def still(task: MotionTask) -> Motion:
    return Motion(VariationField(torch.zeros(3, len(task.canonical.gaussians), 14)), {"engine's": 1})


@pytest.fixture(scope="module")
def recolored(task) -> Motion:
    return recolor(task, still(task), SILENT)


def redness(task: MotionTask, motion: Motion, frame: int, where: torch.Tensor) -> float:
    colors = task.canonical.gaussians.activate(motion.variation.deltas[frame]).colors[where]
    return float((colors[:, 0] - colors[:, 1:].mean(dim=1)).mean())


def test_what_turns_red_in_the_video_turns_red(task, recolored):
    means = task.canonical.gaussians.means
    front = means[:, 1] < -0.1
    spot, beside = front & (means[:, 0].abs() < SPOT / 2), front & (means[:, 0].abs() > 2 * SPOT)
    at_rest, halfway, at_end = (redness(task, recolored, frame, spot) for frame in range(3))
    assert at_rest + 0.05 < halfway < at_end - 0.05
    assert abs(redness(task, recolored, 2, beside) - redness(task, recolored, 0, beside)) < 0.03
    figures = recolored.figures["recolored"]
    assert figures["after"] < 0.8 * figures["before"]
    assert recolored.figures["engine's"] == 1


def test_the_first_frame_the_motion_and_the_hidden_side_stay(task, recolored):
    deltas = recolored.variation.deltas
    assert not deltas[0].any()
    assert not deltas[..., : LOOK.start].any()
    means = task.canonical.gaussians.means
    spot = means[:, 0].abs() < SPOT / 2
    changes = [deltas[2, spot & side].abs().mean() for side in (means[:, 1] > 0.1, means[:, 1] < -0.1)]
    assert changes[0] < 0.1 * changes[1]


def test_a_video_whose_colours_do_not_change_changes_none(task):
    calm = replace(task, frames=np.stack([task.frames[0]] * 3))
    deltas = recolor(calm, still(calm), SILENT).variation.deltas
    assert deltas[..., LOOK].abs().mean() < 0.02


def test_what_gains_nothing_leaves_the_motion_as_it_was(task):
    motion = still(task)
    assert recolor(task, motion, SILENT, RecolorOptions(iterations=1, rate=0.0)).variation is motion.variation
