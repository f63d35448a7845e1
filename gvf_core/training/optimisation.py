"""Groups of parameters, their optimizers and rates, and the moving average of what is trained."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from gvf_core.errors import FileFormatError, SettingsError
from gvf_core.models.checkpoint import NOT_PICKLED
from gvf_core.training.orthogonal_momentum import OrthogonalMomentum
from gvf_core.training.settings import LoopSettings

LOGGER = logging.getLogger(__name__)

UNREADABLE = (*NOT_PICKLED, SafetensorError, UnpicklingError)
"""What reading a damaged or foreign state raises, by what is wrong with it."""

_SMALLEST_MATRIX = 32
"""Rows and columns that a matrix needs for orthogonal updates; what leads to or from few channels takes AdamW."""
_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        parameters: Those that are trained.
        factor: Their rate over that of the settings.
    """

    parameters: tuple[nn.Parameter, ...]
    factor: float = 1.0


def trainable(*modules: nn.Module | None, factor: float = 1.0) -> ParameterGroup:
    """The parameters of modules that require gradients."""
    parameters = (p for module in modules if module is not None for p in module.parameters() if p.requires_grad)
    return ParameterGroup(tuple(parameters), factor)


def make_optimizers(groups: Sequence[ParameterGroup], settings: LoopSettings) -> list[torch.optim.Optimizer]:
    """AdamW for all groups, or for what Muon leaves."""
    matrices, others = [], []
    for group in groups:
        own = [p for p in group.parameters if settings.optimizer == "muon" and _is_matrix(p)]
        rest = [p for p in group.parameters if not any(p is matrix for matrix in own)]
        matrices += [{"params": own, "factor": group.factor}] if own else []
        others += [{"params": rest, "factor": group.factor}] if rest else []
    optimizers: list[torch.optim.Optimizer] = []
    if matrices:
        optimizers.append(OrthogonalMomentum(matrices, weight_decay=settings.weight_decay))
    if others:
        # The rate is set before every step.
        optimizers.append(torch.optim.AdamW(others, lr=0.0, betas=_BETAS, weight_decay=settings.weight_decay))
    return optimizers


def rate_factor(step: int, settings: LoopSettings) -> float:
    """Of the learning rate in an update, counted from 0: warm-up, then constant, then falling to zero."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up))
    if settings.decay_from >= 1:
        return warm
    left = (1 - step / settings.steps) / (1 - settings.decay_from)
    return warm * min(1.0, max(0.0, left))


def set_rates(optimizers: Sequence[torch.optim.Optimizer], step: int, settings: LoopSettings) -> float:
    """Set the rate of every group for an update; returns the rate of a group without a factor of its own."""
    rate = settings.learning_rate * rate_factor(step, settings)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
    return rate


def spoilt_unless_finite(loss: Tensor) -> Tensor:
    """A loss whose gradients are no numbers where it is none, so that all processes learn of it by their common norm.

    The absolute difference from what is infinite or no number, for one, has finite gradients.
    """
    return torch.where(loss.detach().isfinite(), 1.0, math.nan) * loss


class FiniteSteps:
    """Keeps losses and gradients that are no finite numbers from the weights, which one such step would destroy."""

    most = 20
    """In a row: half precision begins with a few, until its losses are scaled down enough."""

    def __init__(self) -> None:
        self._left_out = 0

    def takes(self, norm: Tensor, step: int) -> bool:
        """Whether a step may be made.

        Args:
            norm: Of its gradients; no number if its loss is none.
            step: Its number.

        Raises:
            SettingsError: Too many in a row could not.
        """
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if torch.isfinite(whole):
            self._left_out = 0
            return True
        LOGGER.warning("Step %d is left out: its loss or gradients are no finite numbers.", step)
        self._left_out += 1
        if self._left_out == self.most:
            raise SettingsError(
                f"{self.most} steps in a row, up to step {step}, had losses or gradients that are no finite numbers.",
                "What was saved before is kept. Train with a lower learning rate, or look for broken clips.",
            )
        return False


def unreadable(state: Path, error: Exception, hint: str) -> FileFormatError:
    """A state cannot be gone on with, for one of the reasons in `UNREADABLE`."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return FileFormatError(f"{state} cannot be resumed ({reason}).", hint)


def force_to_disk(*paths: Path) -> None:
    """Wait until files are on the disk itself: a power cut after a rename could else leave their names alone."""
    for path in paths:
        with path.open("r+b") as file:  # to be written to, as Windows wants it
            os.fsync(file.fileno())


class MovingAverage:
    """Exponential moving average of the trained parameters, of the part that this process holds.

    Args:
        parameters: Trained ones, always in the same order.
        decay: Of the average. The first updates forget faster, min(decay, (1 + n) / (10 + n)), because the average
            would otherwise keep the random start of a short training; after 90,000 updates 0.9999 is what counts.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self._means = [_local(parameter).detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the parameters in after an update, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mean, parameter in zip(self._means, self._parameters, strict=True):
            mean.lerp_(_local(parameter), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in place of the parameters, for pictures, errors and export."""
        own = [_local(parameter).detach().clone() for parameter in self._parameters]
        self._put(self._means)
        try:
            yield
        finally:
            self._put(own)

    def state(self) -> list[Tensor]:
        """What `restore` takes."""
        return self._means

    def restore(self, means: Sequence[Tensor]) -> None:
        """Go on from the averages of an earlier training.

        Raises:
            ValueError: They are of other parameters.
        """
        if [mean.shape for mean in means] != [mean.shape for mean in self._means]:
            raise ValueError("the averages are of other parameters")
        for mean, saved in zip(self._means, means, strict=True):
            mean.copy_(saved)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            _local(parameter).copy_(value)


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.dim() == 2 and min(parameter.shape) >= _SMALLEST_MATRIX


def _local(parameter: Tensor) -> Tensor:
    """The part that this process holds of a parameter that is spread over processes (FSDP), else all of it."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
