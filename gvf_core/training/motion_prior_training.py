"""Training and evaluation of the motion prior."""

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from gvf_core.errors import SettingsError
from gvf_core.models.motion_prior import encode_motion_prior
from gvf_core.models.motion_prior_network import MotionPrior, MotionPriorParams, PointMotion, PointTracks
from gvf_core.training.motion_prior_data import (
    ClipPool,
    ClipViews,
    evaluation_placement,
    exact_tracks,
    noisy_tracks,
    random_placement,
    select_points,
    view_clips,
)
from gvf_core.training.optimisation import UNREADABLE, FiniteSteps, force_to_disk, unreadable
from gvf_core.training.orthogonal_momentum import OrthogonalMomentum

LOGGER = logging.getLogger(__name__)

LEAST_MOTION = 0.005
"""Mean displacement below which a clip is left out of the evaluation: rounding of the stored points is 2e-4."""
_EVALUATION_BATCH = 9
_EVALUATION_FRAMES = 16
# Points that the z-buffer of a training example sees: half of the stored ones halve its time.
_HIDING_POINTS = 1024
_STATE_VERSION = 2
_LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; docs/motion-prior.md says how the shipped weights were made.

    Attributes:
        minutes: Wall clock after which training ends; the learning rate follows it.
        steps: Steps after which it ends at the latest.
        batch: Clips of a step.
        shards: Parts of a batch, each with its own thread.
        frames: Of a clip.
        points: Points of a clip are drawn from half to one and a half of this number.
        learning_rate: Highest one; if not given, that of the training that goes on, else 0.002.
        warm_up: Steps until it is reached.
        decay_from: Part of the training after which it falls linearly to zero.
        average: Decay of the moving average of the weights, which is what is kept.
        sigma_weight: Of the uncertainty's loss.
        seed: Of weights and examples. With `minutes`, the result also depends on the speed of the machine.
        report_seconds: Between evaluations, each with a checkpoint.
    """

    minutes: float = 60
    steps: int = 1_000_000
    batch: int = 16
    shards: int = 2
    frames: int = 8
    points: int = 96
    learning_rate: float | None = None
    warm_up: int = 50
    decay_from: float = 0.4
    average: float = 0.995
    sigma_weight: float = 0.1
    seed: int = 0
    report_seconds: float = 180


@dataclass(frozen=True)
class Score:
    """Errors on clips over those of the unmoved points (1 is useless); one value per clip.

    Attributes:
        names: Asset and window.
        all: Of all points.
        tracked: Of the points that have a track in the frame.
        hidden: Of the others.
        in_plane: Of all points, parallel to the image only.
        copied: Error of `copy_motion` on all points.
        calibration: Expected over true error length.
    """

    names: tuple[str, ...]
    all: Float[Tensor, " clips"]
    tracked: Float[Tensor, " clips"]
    hidden: Float[Tensor, " clips"]
    in_plane: Float[Tensor, " clips"]
    copied: Float[Tensor, " clips"]
    calibration: Float[Tensor, " clips"]

    def summary(self) -> str:
        """One line with the figures that matter."""
        worse = (self.all > 1).float().mean()
        return (
            f"median {self.all.median():.3f} mean {self.all.mean():.3f} tracked {self.tracked.nanmedian():.3f} "
            f"hidden {self.hidden.nanmedian():.3f} in-plane {self.in_plane.median():.3f} "
            f"copied {self.copied.median():.3f} worse than unmoved {worse:.3f} "
            f"sigma {self.calibration.median():.2f} clips {len(self.all)}"
        )


def train_motion_prior(
    train: ClipPool,
    held_out: ClipPool,
    output: Path,
    settings: TrainingSettings,
    start: MotionPrior | None = None,
    resume: bool = False,
    on_report: Callable[[float, str], None] | None = None,
) -> Score:
    """Train, and write the averaged weights at every report and at the end.

    Args:
        train: What to learn from.
        held_out: What to report on; nothing is chosen by it.
        output: The .safetensors file; what a resumed training needs goes beside it.
        settings: How.
        start: Weights to start from, and the sizes of the network; new ones if not given.
        resume: Go on from the state beside the output, which has the sizes.
        on_report: Called with the finished part, 0..1, and a line of text.

    Returns:
        The last evaluation, with exact tracks.

    Raises:
        FileFormatError: There is nothing to resume, or it is of another network.
        SettingsError: It began with other clips; or losses or gradients are no finite numbers any more, and what was
            saved before stays.
    """
    state_path = output.with_suffix(".state.pt")
    trainer = _Trainer.going_on(train, settings, state_path) if resume else _Trainer(train, settings, start)
    reported = time.monotonic()
    while (progress := trainer.progress()) < 1:
        trainer.step(progress)
        if time.monotonic() - reported > settings.report_seconds:
            score = evaluate_motion_prior(trainer.average, held_out)
            trainer.save(output, state_path)
            _report(on_report, progress, f"step {trainer.steps} loss {trainer.recent_loss:.3f} {score.summary()}")
            reported = time.monotonic()
    trainer.save(output, state_path)
    score = evaluate_motion_prior(trainer.average, held_out)
    _report(on_report, 1.0, f"step {trainer.steps} loss {trainer.recent_loss:.3f} {score.summary()}")
    return score


def deepen(network: MotionPrior, blocks: int) -> MotionPrior:
    """The same function with more blocks, ready to be trained further.

    Every block is followed by copies of itself whose last matrices are zero, so that they add nothing yet (as LLaMA Pro
    does, Wu et al. 2024, section 3.1).

    Args:
        network: With any weights.
        blocks: How many the result has; a multiple of what it has now.

    Raises:
        ValueError: It is no multiple.
    """
    present = network.params.blocks
    if blocks < present or blocks % present:
        raise ValueError(f"A network of {present} blocks cannot be deepened to {blocks}.")
    deeper = deepcopy(network)
    deeper.params = replace(network.params, blocks=blocks)
    deeper.blocks = nn.ModuleList()
    for block in network.layers():
        copies = [deepcopy(block) for _ in range(blocks // present)]
        for idle in copies[1:]:
            idle.add_nothing()
        deeper.blocks.extend(copies)
    return deeper


def motion_loss(motion: PointMotion, truth: Float[Tensor, "batch frames points 3"], sigma_weight: float) -> Tensor:
    """Error length relative to the clip's mean displacement, plus the uncertainty's likelihood.

    The likelihood is that of an exponentially distributed error length with mean sigma; it trains sigma alone, so that
    points with large errors are not given up (compare beta-NLL, Seitzer et al. 2022).
    """
    error = (motion.displacement - truth).square().sum(dim=-1).add(1e-10).sqrt()
    size = truth.norm(dim=-1).mean(dim=(1, 2)) + 0.02
    likelihood = error.detach() / motion.sigma + (motion.sigma / size[:, None, None]).log()
    return (error.mean(dim=(1, 2)) / size).mean() + sigma_weight * likelihood.mean()


def copy_motion(tracks: PointTracks) -> Float[Tensor, "batch frames points 3"]:
    """The baseline: the 2D motion of the nearest tracked point, no motion in depth."""
    apart = torch.cdist(tracks.positions, tracks.positions)[:, None]
    nearest = (apart + 9 * (tracks.confidence == 0).float()[:, :, None]).argmin(dim=-1)
    moved = tracks.lifted.gather(2, nearest[..., None].expand(-1, -1, -1, 2))
    return torch.cat([moved, torch.zeros_like(moved[..., :1])], dim=-1)


@torch.no_grad()
def evaluate_motion_prior(network: MotionPrior, pool: ClipPool, points: int = 256, noise: float | None = None) -> Score:
    """Errors on every clip that moves, with the protocol of the project (azimuth 45, elevation 15, 16 frames).

    Args:
        network: With any weights.
        pool: Windows; the first frame of each is the rest pose.
        points: How many points to draw.
        noise: Level of the simulated tracks' faults in pixels of 256; exact tracks if not given.
    """
    generator = torch.Generator().manual_seed(5)
    network.eval()
    chosen = torch.randperm(pool.positions.shape[2], generator=generator)[:points]
    rows: list[Tensor] = []
    names: list[str] = []
    for windows in torch.arange(len(pool.names)).split(_EVALUATION_BATCH):
        views = select_points(view_clips(pool, evaluation_placement(pool, windows, _EVALUATION_FRAMES)), chosen)
        if noise is None:
            tracks = exact_tracks(views)
        else:
            tracks = noisy_tracks(views, generator, torch.full((len(windows),), noise))
        rows.append(_errors(network(tracks), tracks, views))
        names.extend(pool.names[index] for index in windows.tolist())
    table = torch.cat(rows)
    moving = table[:, -1] > LEAST_MOTION
    kept = tuple(name for name, moves in zip(names, moving.tolist(), strict=True) if moves)
    return Score(kept, *table[moving, :-1].unbind(dim=1))


def _errors(motion: PointMotion, tracks: PointTracks, views: ClipViews) -> Float[Tensor, "clips columns"]:
    """Columns as in `Score`, then the mean displacement. The first frame is the rest pose and does not count."""
    truth, moved = views.displacement[:, 1:], motion.displacement[:, 1:]
    error, size = (moved - truth).norm(dim=-1), truth.norm(dim=-1)
    tracked = (tracks.confidence[:, 1:] > 0).float()

    def ratio(weight: Tensor) -> Tensor:
        return (error * weight).sum(dim=(1, 2)) / (size * weight).sum(dim=(1, 2))

    flat = (moved - truth)[..., :2].norm(dim=-1).sum(dim=(1, 2)) / truth[..., :2].norm(dim=-1).sum(dim=(1, 2))
    copied = (copy_motion(tracks)[:, 1:] - truth).norm(dim=-1).sum(dim=(1, 2)) / size.sum(dim=(1, 2))
    calibration = motion.sigma[:, 1:].sum(dim=(1, 2)) / error.sum(dim=(1, 2))
    columns = [ratio(torch.ones_like(size)), ratio(tracked), ratio(1 - tracked), flat, copied, calibration]
    return torch.stack([*columns, size.mean(dim=(1, 2))], dim=1)


class _Trainer:
    """Network, average, optimizer and examples of one training."""

    def __init__(self, pool: ClipPool, settings: TrainingSettings, start: MotionPrior | None) -> None:
        self.pool, self.settings = pool, settings
        self.network = _new_network(settings.seed) if start is None else deepcopy(start)
        self.average = deepcopy(self.network).requires_grad_(False)
        self.network.requires_grad_(True)
        heads = self.network.params.heads
        matrices = [p for p in self.network.blocks.parameters() if p.dim() == 2 and min(p.shape) > heads]
        others = [p for p in self.network.parameters() if not any(p is matrix for matrix in matrices)]
        self.optimizers = (
            OrthogonalMomentum(matrices),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01),
        )
        # Two threads with half a batch each: on two busy cores, threads within each product took half as long again.
        self.threads = ThreadPoolExecutor(settings.shards)
        self.steps, self.elapsed, self.recent_loss = 0, 0.0, 0.0
        self.learning_rate = settings.learning_rate or _LEARNING_RATE
        self.clips = pool.digest()
        self.finite = FiniteSteps()

    def progress(self) -> float:
        """The finished part, 0..1."""
        return min(1.0, max(self.elapsed / (60 * self.settings.minutes), self.steps / self.settings.steps))

    def step(self, progress: float) -> None:
        """One batch."""
        started, settings = time.monotonic(), self.settings
        rate = self.learning_rate * min(1, (self.steps + 1) / settings.warm_up)
        rate *= min(1, (1 - progress) / (1 - settings.decay_from))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        self.network.train()
        shards = list(self.threads.map(self._gradients, range(settings.shards)))
        for parameter, *gradients in zip(self.network.parameters(), *(part for _, part in shards), strict=True):
            parameter.grad = torch.stack(gradients).mean(dim=0)
        value = sum(loss for loss, _ in shards) / settings.shards
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        takes = self.finite.takes(norm if math.isfinite(value) else norm * math.nan, self.steps)
        for optimizer in self.optimizers:
            if takes:
                optimizer.step()
            optimizer.zero_grad()
        # The average forgets the start values quickly.
        decay = min(settings.average, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        if math.isfinite(value):
            self.recent_loss = value if self.steps == 0 else 0.98 * self.recent_loss + 0.02 * value
        self.steps += 1
        self.elapsed += time.monotonic() - started

    def _gradients(self, shard: int) -> tuple[float, tuple[Tensor, ...]]:
        """Loss and gradients of one part of a batch, on one core, from a seed of its own."""
        settings = self.settings
        torch.set_num_threads(1)
        generator = torch.Generator().manual_seed(hash((settings.seed, self.steps, shard)) % 2**63)
        placement = random_placement(self.pool, settings.batch // settings.shards, settings.frames, generator)
        begin, count = torch.rand(2, generator=generator).tolist()
        begin = round(begin * max(0, self.pool.positions.shape[2] - _HIDING_POINTS))
        views = view_clips(self.pool, placement, slice(begin, begin + _HIDING_POINTS))
        points = min(views.positions.shape[1], round(settings.points * (0.5 + count)))
        views = select_points(views, torch.arange(points))
        loss = motion_loss(self.network(noisy_tracks(views, generator)), views.displacement, settings.sigma_weight)
        return loss.item(), torch.autograd.grad(loss, list(self.network.parameters()))

    def save(self, output: Path, state_path: Path) -> None:
        """Write the averaged weights, and the state to go on from."""
        tensors, metadata = encode_motion_prior(self.average)
        # Whole or not at all, as the state below.
        part = output.with_suffix(".part")
        save_file(tensors, part, metadata)
        state = {
            "version": _STATE_VERSION,
            "params": asdict(self.network.params),
            "learning_rate": self.learning_rate,
            "clips": self.clips,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "elapsed": self.elapsed,
            "recent_loss": self.recent_loss,
        }
        unfinished = state_path.with_suffix(".pt.part")
        torch.save(state, unfinished)
        force_to_disk(part, unfinished)
        part.replace(output)
        unfinished.replace(state_path)

    @classmethod
    def going_on(cls, pool: ClipPool, settings: TrainingSettings, state_path: Path) -> "_Trainer":
        """As `save` left it."""
        try:
            state = torch.load(state_path, weights_only=True)
            if state["version"] != _STATE_VERSION:
                raise ValueError("it is of another version")
            trainer = cls(pool, settings, MotionPrior(MotionPriorParams(**state["params"])))
            trainer.network.load_state_dict(state["network"])
            trainer.average.load_state_dict(state["average"])
            for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            trainer.steps, trainer.elapsed = state["steps"], state["elapsed"]
            trainer.recent_loss = state["recent_loss"]
            trainer.learning_rate = settings.learning_rate or state["learning_rate"]
            if state.get("clips", trainer.clips) != trainer.clips:
                raise SettingsError(
                    f"The training of {state_path} began with other clips.",
                    "Go on with those, or train into another file.",
                )
            return trainer
        except UNREADABLE as error:
            raise unreadable(state_path, error, "Train from the start.") from error


def _new_network(seed: int) -> MotionPrior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MotionPrior(MotionPriorParams())


def _report(on_report: Callable[[float, str], None] | None, progress: float, line: str) -> None:
    LOGGER.info(line)
    if on_report is not None:
        on_report(progress, line)
