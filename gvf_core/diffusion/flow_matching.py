"""The Euler sampler of rectified flows with classifier-free guidance in an interval of time, as TRELLIS uses it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gvf_core.diffusion.dpm_solver import not_finite

Flow = Callable[[Tensor, float, bool], Tensor]
"""(state, network time 0..1000, conditioned) -> flow."""


@dataclass(frozen=True)
class FlowSettings:
    """How a flow is sampled.

    Attributes:
        steps: Number of Euler steps.
        rescale: Bends the times towards noise: t' = rescale t / (1 + (rescale - 1) t).
        guidance: Strength s of the guided flow (1 + s) conditioned - s unconditioned.
        interval: Times within which it is guided; outside, the conditioned flow is taken as it is.
        smallest_sigma: Noise that is left in clean data.
    """

    steps: int = 25
    rescale: float = 3.0
    guidance: float = 5.0
    interval: tuple[float, float] = (0.5, 1.0)
    smallest_sigma: float = 1e-5


@dataclass(frozen=True)
class FlowStep:
    """One step of the sampler.

    Attributes:
        state: The state after the step.
        clean: The clean state as estimated before it.
    """

    state: Float[Tensor, "*shape"]
    clean: Float[Tensor, "*shape"]


def flow_times(settings: FlowSettings) -> list[float]:
    """Times from 1 (noise) to 0 (data), one more than there are steps."""
    t = np.linspace(1, 0, settings.steps + 1)
    return (settings.rescale * t / (1 + (settings.rescale - 1) * t)).tolist()


def flow_steps(flow: Flow, x: Float[Tensor, "*shape"], settings: FlowSettings) -> Iterator[FlowStep]:
    """Follow the flow from noise to data, step by step; the last state is the sample.

    Args:
        flow: The network, which is asked without the condition only where guidance needs it.
        x: Noise.
        settings: How to sample.

    Raises:
        SamplingError: The network's answer is not finite.
    """
    times = flow_times(settings)
    low, high = settings.interval
    for t, following in pairwise(times):
        velocity = flow(x, 1000 * t, True)
        if settings.guidance and low <= t <= high:
            velocity = (1 + settings.guidance) * velocity - settings.guidance * flow(x, 1000 * t, False)
        if not velocity.isfinite().all():
            raise not_finite(t)
        sigma = settings.smallest_sigma
        clean = (1 - sigma) * x - (sigma + (1 - sigma) * t) * velocity
        x = x - (t - following) * velocity
        yield FlowStep(x, clean)


def sample_flow(flow: Flow, x: Float[Tensor, "*shape"], settings: FlowSettings) -> Float[Tensor, "*shape"]:
    """The sample at the end of `flow_steps`."""
    for step in flow_steps(flow, x, settings):
        x = step.state
    return x
