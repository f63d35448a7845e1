"""The weights-free engine: motion from the video by analysis through synthesis.

The drawn asset is laid on the first frame, and control nodes on the surface are tracked from frame to frame in several
ways. To the best one the motion prior adds what one view does not show (depth and the hidden side), and it is polished
over the whole clip.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32

from gvf_core.canonical.surface import SurfaceGaussians
from gvf_core.gaussians import VariationField
from gvf_core.motion.appearance import contrasting_background
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.calibration import calibrate_size
from gvf_core.motion.descent import Descent, DescentOptions
from gvf_core.motion.engine import DrivingView, Motion, MotionTask
from gvf_core.motion.first_frame import lay_on_first_frame
from gvf_core.motion.guidance import guide, shipped_prior
from gvf_core.motion.observe import Observer
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.tracking import BEND_COST, GaussNewton, Search, TrackingOptions, Witness, track
from gvf_core.progress import Monitor
from gvf_core.settings import FitPreset
from gvf_core.side_by_side import searched_together, side_by_side

LOGGER = logging.getLogger(__name__)

RIGID = TrackingOptions(flow_rounds=3, blurs=(4, 2), stiffness=(30.0, 30.0), bend_scale=10.0)
"""All links stiff: the asset moves as a whole."""
COARSE_GAUSSIANS, COARSE_SIZE = 6000, 128
"""What descent looks at: on four research clips as good as 20,000 Gaussians at 256 pixels, in a third of the time."""


@dataclass(frozen=True)
class FitOptions:
    """How much is tried.

    Attributes:
        stepped: Ways to track by Gauss-Newton steps, by name.
        descended: Whether to track by descent, too.
        polishing: How the best explanation is polished; not at all if None.
        guided: Ask the motion prior for depth and the hidden side, where it is installed and there is one view only.
        asked: How often: at first about tracked motion, again about what an equal part of the polish has made of that.
    """

    stepped: Mapping[str, TrackingOptions]
    descended: DescentOptions | None
    polishing: PolishOptions | None
    guided: bool = True
    asked: int = 1


PRESETS: dict[FitPreset, FitOptions] = {
    "fast": FitOptions({"tracked": TrackingOptions()}, None, None),
    "standard": FitOptions({"tracked": TrackingOptions()}, DescentOptions(), PolishOptions()),
    "best": FitOptions(
        {"rigid": RIGID, "tracked": TrackingOptions()}, DescentOptions(), PolishOptions(iterations=40), asked=2
    ),
}
DESCENT_GAIN = 0.75
"""Descent is considered if its residual is lower than that of the steps at least by this factor: its depth is worse. Of
five clips of held-out families this holds for two. A walking fox (0.58) it takes from .72 to .56, guided and polished;
spikes of a trap (0.56) would become worse, and are told by their bends, which count in the cost."""
GUIDED_SLACK = 1.15
"""The residual of a guided and polished motion may be so much larger than before: what the prior knows does not show in
the video."""
CALIBRATED, TRACKED, POLISHED = 0.09, 0.55, 0.98
"""For the progress bar: what calibration takes of the time until tracking ends, and after which parts of the whole
tracking and polish end."""
STILL_BLUR, STILL_DIFFERENCE = 4.0, 0.12
"""A video is still when no pixel, blurred by so many pixels, differs more than this (0..1) from the first frame.
Measured on 512 px frames: a still picture with noise of 3/255, H.264 at crf 28, reaches 0.10; the example 0.66."""


def fit(
    task: MotionTask[SurfaceGaussians],
    monitor: Monitor,
    options: FitOptions = PRESETS["standard"],
) -> Motion:
    """Find the motion of the canonical Gaussians.

    Args:
        task: The asset and the video.
        monitor: Takes the progress.
        options: How much is tried.

    Raises:
        Cancelled: The caller asked to stop.
    """
    means = task.canonical.gaussians.means.numpy()
    if all(is_still(view.frames) for view in task.views):
        # Drawing the asset is never exact, and fitting would make up for that by moving it a little.
        still = VariationField(torch.zeros(len(task.frames), len(means), 14))
        return Motion(still, {"hypothesis": "unmoved"}, ("The video shows no motion. Choose another part of it.",))
    found = _explain(task, monitor.part(0, TRACKED), options)
    best, expected_error = found.best, None
    if best != "unmoved":
        best, expected_error = _improve(found, options, monitor.part(TRACKED, POLISHED))
    LOGGER.info("video residuals %s, taking %s", found.residuals, best)
    warnings: tuple[str, ...] = ()
    if best == "unmoved":
        warnings = (
            "No motion that explains the video better than standing still was found. "
            "Check the view (azimuth and elevation) and the first frame.",
        )
    return Motion(
        variation=variation_field(found.body, means, found.hypotheses[best]),
        figures={"video_residual": found.residuals, "hypothesis": best, "nodes": len(found.body.graph.nodes)},
        warnings=warnings,
        expected_error=expected_error,
    )


@dataclass(frozen=True)
class _Explanation:
    """How the body may have moved, and how well that explains the clip.

    Attributes:
        body: The asset, drawn as the video shows it.
        witnesses: The clip, and what draws the body as its cameras see it.
        hypotheses: Poses of all frames by name.
        residuals: `video_residual` of each.
        best: Name of the one that explains the clip best.
    """

    body: Body
    witnesses: Sequence[Witness]
    hypotheses: dict[str, list[Pose]]
    residuals: dict[str, float]
    best: str


def _explain(task: MotionTask[SurfaceGaussians], monitor: Monitor, options: FitOptions) -> _Explanation:
    """Track in all ways that are wanted, and choose one; nothing is improved yet.

    Raises:
        Cancelled: The caller asked to stop.
    """
    monitor(0)
    body = Body(task.capture, task.canonical)
    views = lay_on_first_frame(body, task.views)
    hypotheses = {"unmoved": [body.rest] * len(task.frames)}
    monitor(CALIBRATED)
    tracking = monitor.part(CALIBRATED, 1)
    searches: dict[str, Search] = {
        name: GaussNewton(body, _witnesses(body, views, task.seed), strengths)
        for name, strengths in options.stepped.items()
    }
    if options.descended is not None:
        searches["descended"] = _coarse_descent(body, views, task.seed, options.descended)
    shown = list(options.stepped)[-1]

    def search(name: str, monitor: Monitor) -> list[Pose]:
        return track(body, views, searches[name], monitor if name == shown else monitor.without_preview())

    # The longest first, so that the others take turns beside it.
    names = sorted(searches, key=lambda name: name != "descended")
    found = dict(zip(names, searched_together([partial(search, name) for name in names], tracking), strict=True))
    hypotheses |= {name: found[name] for name in searches}
    witnesses = _witnesses(body, views, task.seed)
    of_all = side_by_side(partial(video_residual, witnesses), hypotheses.values())
    residuals = dict(zip(hypotheses, of_all, strict=True))
    bends = {name: float(np.mean([body.bend(pose) for pose in poses])) for name, poses in hypotheses.items()}
    costs = {name: residuals[name] + BEND_COST * bends[name] for name in hypotheses}
    of_steps = min(residuals[name] for name in options.stepped)
    if "descended" in costs and residuals["descended"] > DESCENT_GAIN * of_steps:
        del costs["descended"]
    return _Explanation(body, witnesses, hypotheses, residuals, min(costs, key=costs.__getitem__))


def _witnesses(body: Body, views: Sequence[DrivingView], seed: int) -> list[Witness]:
    """Observers that draw the same random pixels every time, so that only options make a difference."""
    background = contrasting_background(body.colors)
    return [Witness(view, Observer(body, view.camera, background, np.random.default_rng(seed))) for view in views]


def _coarse_descent(body: Body, views: Sequence[DrivingView], seed: int, options: DescentOptions) -> Descent:
    """Descent on small pictures."""
    thin = body.thinned(COARSE_GAUSSIANS, np.random.default_rng(seed))
    small = tuple(view.resized(COARSE_SIZE) for view in views)
    calibrate_size(thin, small)
    return Descent(thin, small, options)


def _improve(
    found: _Explanation, options: FitOptions, monitor: Monitor
) -> tuple[str, Float[np.ndarray, "frames gaussians"] | None]:
    """Add hypotheses that the prior guided and that are polished, as far as wanted.

    Returns:
        Which is best now, and how far off the prior expects its Gaussians to be, if it is one that the prior guided.
    """
    body, residuals, observer = found.body, found.residuals, found.witnesses[0].observer
    views = [witness.view for witness in found.witnesses]
    prior = shipped_prior() if options.guided and len(views) == 1 else None
    best, expected_error, limit = found.best, None, residuals[found.best]
    if prior is not None:
        # Not polished, it lies less well on the frames. In any case it explains them better than standing still.
        slack = GUIDED_SLACK if options.polishing is not None else math.inf
        limit = min(slack * limit, residuals["unmoved"])
    steps = {"guided": prior is not None, "polished": options.polishing is not None}
    name = " and ".join(step for step, wanted in steps.items() if wanted)
    # The polish makes the seen part right, and then the prior's answer is better. Without both, a second round would
    # find what the first one found.
    rounds = options.asked if all(steps.values()) else int(any(steps.values()))
    poses, anchors, sigma = found.hypotheses[best], None, None
    for index in range(rounds):
        if prior is not None:
            guidance = guide(prior, body, observer, views[0].frames, poses)
            poses, anchors, sigma = guidance.poses, guidance.anchors, body.blend(guidance.sigma)
        if options.polishing is not None:
            part = monitor.part(index / rounds, (index + 1) / rounds)
            iterations = options.polishing.iterations // rounds
            poses = polish(body, views, poses, replace(options.polishing, iterations=iterations), part, anchors)
        name = name if index == 0 else f"{name} again"
        found.hypotheses[name], residuals[name] = poses, video_residual(found.witnesses, poses)
        if residuals[name] < limit:
            best, expected_error = name, sigma
    return best, expected_error


def is_still(frames: Float32[np.ndarray, "frames height width 4"]) -> bool:
    """Whether all frames look like the first one."""
    first = cv2.GaussianBlur(frames[0], (0, 0), STILL_BLUR)
    blurred = (cv2.GaussianBlur(frame, (0, 0), STILL_BLUR) for frame in frames[1:])
    return all(np.abs(frame - first).max() < STILL_DIFFERENCE for frame in blurred)


def video_residual(witnesses: Sequence[Witness], poses: list[Pose]) -> float:
    """Mean absolute difference between drawn poses and the frames after the first, 0..1."""
    differences = []
    for witness in witnesses:
        drawn = None
        for index in range(1, len(poses)):
            # All poses of standing still are one.
            if drawn is None or poses[index] is not poses[index - 1]:
                drawn = witness.observer.picture(poses[index])
            differences.append(drawn.difference(witness.picture(index)))
    return float(np.mean(differences))


def variation_field(body: Body, means: Float32[np.ndarray, "gaussians 3"], poses: list[Pose]) -> VariationField:
    """Raw deltas that take the canonical Gaussians into the poses."""
    rest = body.splats(body.rest)
    deltas = torch.zeros(len(poses), len(means), 14)
    for index, pose in enumerate(poses[1:], start=1):
        splats = body.splats(pose)
        # Raw quaternions add up: the sign nearer to the rest quaternion is the shorter way.
        sign = torch.where((splats.quaternions * rest.quaternions).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        deltas[index, :, VariationField.MEANS] = splats.means - torch.from_numpy(means)
        deltas[index, :, VariationField.ROTATIONS] = sign * splats.quaternions - rest.quaternions
    return VariationField(deltas)
