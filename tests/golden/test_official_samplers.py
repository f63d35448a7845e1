"""Schedules and samplers give the official numbers."""

import math
import re

import pytest
import torch

from gvf_core.diffusion import (
    FlowSettings,
    StepControl,
    add_noise,
    cumulative_alphas,
    discrete_vp_schedule,
    flow_steps,
    noise_from_velocity,
    sample_adaptive,
    sample_multistep,
    squared_cosine_betas,
    velocity_target,
)
from gvf_core.models.checkpoint import load_weights
from gvf_core.models.structure_flow import StructureFlow
from tests.golden import official_configs
from tests.golden.golden_case import GoldenCase, assert_equal_to, load_case, rounds_as_recorded
from tests.golden.test_official_variation_dit import accepted_times


def test_the_cosine_schedule():
    case = load_case("cosine_schedule")
    betas = squared_cosine_betas(case.config["steps"])
    schedule = discrete_vp_schedule(betas)
    assert len(schedule.times) == case.settings["total_N"]
    t, alphas = case["in.t"], cumulative_alphas(betas)
    found = {
        "out.betas_base": betas,
        "out.betas": betas,
        "out.alphas_cumprod": alphas,
        "out.log_alpha_array": schedule.log_alphas[None],
        "out.t_array": schedule.times[None],
        "out.log_mean_coeff": schedule.log_alpha(t),
        "out.std": schedule.sigma(t),
        "out.lambda": schedule.half_log_snr(t),
        "out.inverse_lambda": schedule.time_of(case["in.lambda_query"]),
        "out.model_t": schedule.network_time(t),
        "out.q_sample": add_noise(case["in.x0"], case["in.noise"], case["in.ts"], alphas),
        "out.v_target": velocity_target(case["in.x0"], case["in.noise"], case["in.ts"], alphas),
    }
    for name, values in found.items():
        assert_equal_to(values, case[name], 1e-5, name)


def velocity_of(case: GoldenCase, name: str):
    """The two analytic models that the cases were made with; `t` is the network time."""

    def linear(x, t):
        return (0.3 + 0.5 * torch.cos(t / 1000 * math.pi / 2)) * x - 0.2 * torch.sin(t / 300) * case["in.const"]

    def tanh(x, t):
        return torch.tanh(x @ case["in.W"]) * (1 - t / 1000) - 0.5 * (t / 1000) * x

    return linear if name.endswith("linear") else tanh


@pytest.mark.parametrize("name", ["dpm_adaptive_linear", "dpm_adaptive_tanh"])
def test_dpm_solver(name):
    case = load_case(name)
    schedule = discrete_vp_schedule(squared_cosine_betas())
    asked = []

    def noise(x, t):
        asked.append(float(t))
        return noise_from_velocity(velocity_of(case, name)(x, schedule.network_time(t)), x, t, schedule)

    config = case.config
    assert config["order"] == 2
    control = StepControl(
        absolute_tolerance=config["atol"],
        relative_tolerance=config["rtol"],
        first_step=config["h_init"],
        safety=config["theta"],
        start=config["t_start"],
        end=config["t_end"],
        time_tolerance=config["t_err"],
    )
    sample = sample_adaptive(noise, case["in.noise"], schedule, control, repeat_rejected=True)
    assert sample.calls == len(asked) == case.settings["nfe"]
    assert sample.attempts == len(case["out.accepted"])
    assert_equal_to(torch.tensor(asked), case["out.call_t"], 1e-5, "out.call_t")
    assert_equal_to(torch.tensor(sample.times), accepted_times(case), 1e-5, "out.accepted_times")
    assert_equal_to(sample.state, case["out.sample"], 1e-5 if rounds_as_recorded() else 1e-4, "out.sample")

    shorter = sample_adaptive(noise, case["in.noise"], schedule, control)
    assert torch.equal(shorter.state, sample.state)
    assert shorter.times == sample.times
    assert shorter.calls == sample.calls - (len(case["out.accepted"]) - int(case["out.accepted"].sum()))

    for key in (key for key in case.tensors if key.startswith("out.sample_multistep")):
        steps = int(re.search(r"\d+$", key)[0])
        found = sample_multistep(noise, case["in.noise"], schedule, steps, start=control.start, end=control.end)
        assert_equal_to(found, case[key], 1e-5, key)


@torch.inference_mode()
def test_the_euler_sampler_of_flows():
    case = load_case("flow_euler_sampler")
    weights = load_case("sparse_structure_flow").weights
    flow = StructureFlow(official_configs.structure_flow(case.config)).eval()
    load_weights(flow, weights, "the reference case")
    settings = FlowSettings(
        steps=case.settings["sampler"]["steps"],
        rescale=case.settings["sampler"]["rescale_t"],
        guidance=case.settings["sampler"]["cfg_strength"],
        interval=tuple(case.settings["sampler"]["cfg_interval"]),
        smallest_sigma=case.settings["sampler"]["sigma_min"],
    )
    contexts = {True: flow.condition(case["in.cond"]), False: flow.condition(torch.zeros_like(case["in.cond"][:, :1]))}

    def velocity(x, time, conditioned):
        return flow(x, torch.full((len(x),), time), contexts[conditioned])

    steps = list(flow_steps(velocity, case["in.noise"], settings))
    assert_equal_to(torch.stack([step.state for step in steps]), case["out.x_t"], 1e-4, "out.x_t")
    assert_equal_to(torch.stack([step.clean for step in steps]), case["out.x_0"], 1e-4, "out.x_0")
    assert_equal_to(steps[-1].state, case["out.sample"], 1e-4, "out.sample")
