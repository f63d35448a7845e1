"""Schedules, samplers and guidance as pure functions; knows no networks."""

from gvf_core.diffusion.dpm_solver import (
    AdaptiveSample,
    StepControl,
    noise_from_velocity,
    sample_adaptive,
    sample_multistep,
)
from gvf_core.diffusion.flow_matching import FlowSettings, FlowStep, flow_steps, sample_flow
from gvf_core.diffusion.guidance import Branch, Guidance
from gvf_core.diffusion.schedule import (
    VpSchedule,
    add_noise,
    cumulative_alphas,
    discrete_vp_schedule,
    squared_cosine_betas,
    velocity_target,
)

__all__ = [
    "AdaptiveSample",
    "Branch",
    "FlowSettings",
    "FlowStep",
    "Guidance",
    "StepControl",
    "VpSchedule",
    "add_noise",
    "cumulative_alphas",
    "discrete_vp_schedule",
    "flow_steps",
    "noise_from_velocity",
    "sample_adaptive",
    "sample_flow",
    "sample_multistep",
    "squared_cosine_betas",
    "velocity_target",
]
