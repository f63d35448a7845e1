"""DPM-Solver++ of order 2 (Lu et al. 2022): adaptive and multistep, as pure functions.

A model is a function of the state and a continuous time (a float32 scalar on the CPU) that returns its estimate of the
noise; `noise_from_velocity` turns into one what a network predicts.

The order of the sums is that of the official code. At the noisiest times the signal's weight is 0.006, so the clean
state is a difference of nearly equal numbers; its last bits decide the error of the first step, and with it all times
of the adaptive solver.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.diffusion.schedule import VpSchedule
from gvf_core.errors import SamplingError

NoiseModel = Callable[[Tensor, Tensor], Tensor]
"""(state, time) -> noise."""

START, END = 1.0, 1e-3
"""From pure noise to the time at which the official sampler stops, without a last step to zero."""


_EARLIEST_END = 5e-4


@dataclass(frozen=True)
class StepControl:
    """How the adaptive solver chooses its steps; the defaults are the official ones.

    Attributes:
        absolute_tolerance: Of the state; 0.0078 is a step of 8-bit pictures.
        relative_tolerance: Of the state.
        first_step: In half log-SNR.
        safety: Factor on the step that the error suggests.
        start: Time of the noise.
        end: Time to stop at.
        time_tolerance: How close to the end is there.

    Raises:
        ValueError: The times are not 1 >= start > end >= 0.0005, below which the schedule has no noise left.
    """

    absolute_tolerance: float = 0.0078
    relative_tolerance: float = 0.05
    first_step: float = 0.05
    safety: float = 0.9
    start: float = START
    end: float = END
    time_tolerance: float = 1e-5

    def __post_init__(self) -> None:
        """Check the times."""
        if not 1 >= self.start > self.end >= _EARLIEST_END:
            raise ValueError(f"Sampling runs from at most 1 down to at least {_EARLIEST_END}, not {self}.")


_MIDDLE = 0.5
"""Where within a step the second evaluation lies, in half log-SNR."""
_FEW_STEPS = 10


@dataclass(frozen=True)
class AdaptiveSample:
    """What the adaptive solver found.

    Attributes:
        state: The state at the last time.
        times: The times it accepted, the first one being the start.
        attempts: Number of steps tried.
        calls: Number of evaluations of the model.
    """

    state: Float[Tensor, "batch *rest"]
    times: tuple[float, ...]
    attempts: int
    calls: int


def noise_from_velocity(
    velocity: Float[Tensor, "batch *rest"], x: Float[Tensor, "batch *rest"], t: Tensor, schedule: VpSchedule
) -> Float[Tensor, "batch *rest"]:
    """The noise in a state from the velocity there: alpha v + sigma x."""
    return float(schedule.alpha(t)) * velocity.to(x.dtype) + float(schedule.sigma(t)) * x


def sample_adaptive(
    model: NoiseModel,
    x: Float[Tensor, "batch *rest"],
    schedule: VpSchedule,
    control: StepControl | None = None,
    *,
    repeat_rejected: bool = False,
    on_step: Callable[[float], None] = lambda fraction: None,
) -> AdaptiveSample:
    """Steps as large as the difference between orders 1 and 2 allows.

    The tolerance of a value is the larger of the absolute one and the relative one times the larger of the first-order
    solution now and at the last accepted step. The error of a step is the root mean square over a sample of difference
    over tolerance, the worst of the batch; steps therefore depend on what else is in the batch.

    Args:
        model: Estimates the noise.
        x: Noise.
        schedule: The noise schedule.
        control: How steps are chosen.
        repeat_rejected: Evaluate the model again at the start of a step that is tried again, as the official code
            does; the result is the same bits, because the state there has not changed.
        on_step: Called with the fraction of the way done, in half log-SNR, after every attempt; may raise to stop.

    Raises:
        SamplingError: The model's answer is not finite, so that no step is ever small enough.
    """
    control = control or StepControl()
    s, end, h = torch.tensor(control.start), torch.tensor(control.end), torch.tensor(control.first_step)
    lambda_first = lambda_s = schedule.half_log_snr(s)
    lambda_end = schedule.half_log_snr(end)
    last_low, first = x, None
    times, attempts, calls = [float(s)], 0, 0
    while abs(s - end) > control.time_tolerance:
        t = schedule.time_of(lambda_s + h)
        if first is None or repeat_rejected:
            first = _clean(model, x, schedule, s)
            calls += 1
        step = _log_snr_step(schedule, s, t)
        low = _first_order(x, first, schedule, s, t, step)
        high = _second_order(model, x, first, schedule, s, t, step)
        calls, attempts = calls + 1, attempts + 1
        tolerance = control.relative_tolerance * torch.maximum(low.abs(), last_low.abs())
        tolerance = tolerance.clamp_min(control.absolute_tolerance)
        error = ((high - low) / tolerance).flatten(1).square().mean(dim=1).sqrt().max().cpu()
        if not error.isfinite():
            raise not_finite(s)
        if error <= 1:
            x, last_low, s, first = high, low, t, None
            lambda_s = schedule.half_log_snr(s)
            times.append(float(s))
        h = torch.minimum(control.safety * h * torch.float_power(error, -0.5).float(), lambda_end - lambda_s)
        on_step(float((lambda_s - lambda_first) / (lambda_end - lambda_first)))
    return AdaptiveSample(x, tuple(times), attempts, calls)


def sample_multistep(
    model: NoiseModel,
    x: Float[Tensor, "batch *rest"],
    schedule: VpSchedule,
    steps: int,
    *,
    start: float = START,
    end: float = END,
    on_step: Callable[[float], None] = lambda fraction: None,
) -> Float[Tensor, "batch *rest"]:
    """A fixed number of steps of equal time, each with one evaluation and what the last one found.

    The first step is of order 1, and so is the last one where there are less than ten, as officially.

    Args:
        model: Estimates the noise.
        x: Noise.
        schedule: The noise schedule.
        steps: Number of steps.
        start: Time of the noise.
        end: Time to stop at.
        on_step: Called with the fraction of steps done after every step; may raise to stop.

    Raises:
        SamplingError: The model's answer is not finite.
    """
    times = torch.linspace(start, end, steps + 1)
    last = None
    for index, (s, t) in enumerate(pairwise(times)):
        now, h = _clean(model, x, schedule, s), _log_snr_step(schedule, s, t)
        if not now.isfinite().all():
            raise not_finite(s)
        first_order = _first_order(x, now, schedule, s, t, h)
        if last is None or (index == steps - 1 and steps < _FEW_STEPS):
            x = first_order
        else:
            ratio = _log_snr_step(schedule, times[index - 1], s) / h
            slope = float(1 / ratio) * (now - last)
            x = first_order - 0.5 * _data_weight(schedule, t, h) * slope
        last = now
        on_step((index + 1) / steps)
    return x


def not_finite(t: Tensor | float) -> SamplingError:
    """What is wrong when a network's answer at a time is."""
    return SamplingError(
        f"The network's answer at time {float(t):.4f} is not finite.",
        "Compute in float32 or bfloat16, and check the weights with `gvf models verify`.",
    )


def _clean(model: NoiseModel, x: Tensor, schedule: VpSchedule, t: Tensor) -> Tensor:
    """The clean state as the model sees it: (x - sigma noise) / alpha."""
    return (x - float(schedule.sigma(t)) * model(x, t)) / float(schedule.alpha(t))


def _first_order(x: Tensor, clean: Tensor, schedule: VpSchedule, s: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """Order 1 from time s to t, a step of h in half log-SNR: the estimate of the clean state taken as constant."""
    return float(schedule.sigma(t) / schedule.sigma(s)) * x - _data_weight(schedule, t, h) * clean


def _second_order(
    model: NoiseModel, x: Tensor, clean: Tensor, schedule: VpSchedule, s: Tensor, t: Tensor, h: Tensor
) -> Tensor:
    """Order 2 from time s to t, with a second evaluation half way."""
    middle = schedule.time_of(schedule.half_log_snr(s) + _MIDDLE * h)
    change = _clean(model, _first_order(x, clean, schedule, s, middle, _MIDDLE * h), schedule, middle) - clean
    return _first_order(x, clean, schedule, s, t, h) - 0.5 / _MIDDLE * _data_weight(schedule, t, h) * change


def _data_weight(schedule: VpSchedule, t: Tensor, h: Tensor) -> float:
    """alpha_t (exp(-h) - 1), with h the step in half log-SNR."""
    return float(schedule.alpha(t) * torch.expm1(-h))


def _log_snr_step(schedule: VpSchedule, s: Tensor, t: Tensor) -> Tensor:
    return schedule.half_log_snr(t) - schedule.half_log_snr(s)
