"""Schedules, samplers and guidance."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.diffusion import (
    FlowSettings,
    Guidance,
    StepControl,
    add_noise,
    cumulative_alphas,
    discrete_vp_schedule,
    noise_from_velocity,
    sample_adaptive,
    sample_flow,
    sample_multistep,
    squared_cosine_betas,
    velocity_target,
)
from gvf_core.diffusion.flow_matching import flow_times
from gvf_core.errors import SamplingError

SCHEDULE = discrete_vp_schedule(squared_cosine_betas())
CLEAN = torch.tensor([[1.5, -0.5, 0.25, 3.0]])


def noise_around(clean: torch.Tensor):
    """What a perfect network says where there is only one clean state."""

    def model(x, t):
        return (x - SCHEDULE.alpha(t) * clean) / SCHEDULE.sigma(t)

    return model


def gaussian_model(std: float):
    """The noise that a perfect network sees where clean states are normal with this deviation."""

    def model(x, t):
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        return sigma * x / (alpha**2 * std**2 + sigma**2)

    return model


@given(st.floats(0.002, 1))
def test_signal_and_noise_share_the_variance_and_time_follows_from_their_ratio(time):
    t = torch.tensor(time)
    assert (SCHEDULE.alpha(t) ** 2 + SCHEDULE.sigma(t) ** 2).item() == pytest.approx(1, abs=1e-5)
    assert SCHEDULE.time_of(SCHEDULE.half_log_snr(t)).item() == pytest.approx(time, abs=2e-4)


def test_the_noisiest_steps_are_cut_off():
    assert len(SCHEDULE.times) == 996
    assert SCHEDULE.network_time(torch.tensor(1.0)).item() == pytest.approx(1000 * 995 / 996)
    assert SCHEDULE.network_time(torch.tensor(1e-3)).item() < 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 994))
def test_a_velocity_leads_back_to_the_noise(step):
    alphas = cumulative_alphas(squared_cosine_betas())
    noise, index = torch.tensor([[0.3, -1.2, 0.8, 0.1]]), torch.tensor([step])
    x, v = add_noise(CLEAN, noise, index, alphas), velocity_target(CLEAN, noise, index, alphas)
    t = SCHEDULE.times[index[0]]
    torch.testing.assert_close(noise_from_velocity(v, x, t, SCHEDULE), noise, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_both_solvers_carry_a_normal_distribution_to_its_width(std):
    # The exact solution scales the noise: x(end) = x(start) sqrt(variance(end) / variance(start)).
    start, end = torch.tensor(1.0), torch.tensor(1e-3)
    variance = [SCHEDULE.alpha(t) ** 2 * std**2 + SCHEDULE.sigma(t) ** 2 for t in (start, end)]
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    exact = x * (variance[1] / variance[0]).sqrt()
    adaptive = sample_adaptive(gaussian_model(std), x, SCHEDULE, StepControl(1e-4, 1e-4))
    assert (adaptive.state - exact).abs().max() < 2e-3
    errors = [(sample_multistep(gaussian_model(std), x, SCHEDULE, n) - exact).abs().max() for n in (20, 40, 80)]
    assert errors[2] < 0.02
    if std != 1:
        # Order 2: half the step leaves about a quarter of the error; order 1 would leave half.
        assert errors[0] / errors[1] > 2.5 and errors[1] / errors[2] > 3


def test_a_looser_tolerance_takes_fewer_evaluations():
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    tight, loose = (
        sample_adaptive(gaussian_model(2.0), x, SCHEDULE, StepControl(tolerance, tolerance))
        for tolerance in (1e-3, 5e-2)
    )
    assert loose.calls < tight.calls
    assert tight.times[0] == 1 and list(tight.times) == sorted(tight.times, reverse=True)
    assert tight.times[-1] == pytest.approx(1e-3, abs=1e-4)


def test_a_rejected_step_does_not_ask_the_network_again_and_changes_no_bit():
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    again, kept = (
        sample_adaptive(gaussian_model(3.0), x, SCHEDULE, repeat_rejected=repeat) for repeat in (True, False)
    )
    rejected = again.attempts - (len(again.times) - 1)
    assert rejected > 0
    assert (again.calls, kept.calls) == (2 * again.attempts, 2 * again.attempts - rejected)
    assert torch.equal(again.state, kept.state)


def test_progress_rises_to_one_and_an_exception_in_it_stops_the_sampler():
    seen: list[float] = []
    sample_adaptive(noise_around(CLEAN), torch.randn(1, 4), SCHEDULE, on_step=seen.append)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1, abs=1e-4)
    seen.clear()
    sample_multistep(noise_around(CLEAN), torch.randn(1, 4), SCHEDULE, 5, on_step=seen.append)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])

    def stop(_fraction: float) -> None:
        raise KeyboardInterrupt

    for sample in (sample_adaptive, lambda *arguments, **more: sample_multistep(*arguments, steps=9, **more)):
        with pytest.raises(KeyboardInterrupt):
            sample(noise_around(CLEAN), torch.randn(1, 4), SCHEDULE, on_step=stop)


@given(st.floats(-1, 4), st.floats(-1, 4))
def test_guidance_is_the_official_sum_whatever_is_left_out(static_scale, image_scale):
    guidance = Guidance(static_scale, image_scale)
    none, static, full = torch.tensor(1.0), torch.tensor(3.0), torch.tensor(-2.0)
    needed = dict(zip(("none", "static", "full"), (none, static, full), strict=True))
    guided = guidance.combine({branch: needed[branch] for branch in guidance.branches})
    assert guided.item() == pytest.approx(1 + static_scale * 2 + image_scale * -5, abs=1e-4)


def test_without_guidance_one_prediction_is_needed():
    assert Guidance().branches == ("full",)
    assert Guidance(1.0, 2.0).branches == ("static", "full")
    assert Guidance(2.0, 2.0).branches == ("none", "full")
    assert Guidance(0.0, 0.0).branches == ("none",)


def test_a_straight_flow_arrives_in_any_number_of_steps():
    noise = torch.tensor([0.4, -1.0])
    clean = torch.tensor([2.0, 3.0])
    for steps in (1, 3, 10):
        end = sample_flow(lambda x, t, conditioned: noise - clean, noise, FlowSettings(steps=steps, guidance=0))
        torch.testing.assert_close(end, clean)


def test_the_unconditioned_flow_is_asked_for_only_within_the_interval():
    asked: list[tuple[float, bool]] = []

    def flow(x, t, conditioned):
        asked.append((t / 1000, conditioned))
        return torch.zeros_like(x)

    sample_flow(flow, torch.zeros(2), FlowSettings(steps=8, rescale=1.0, interval=(0.5, 0.8)))
    assert [t for t, conditioned in asked if conditioned] == pytest.approx(flow_times(FlowSettings(8, 1.0))[:-1])
    assert [t for t, conditioned in asked if not conditioned] == [0.75, 0.625, 0.5]


def test_betas_follow_the_squared_cosine():
    betas = squared_cosine_betas(50)
    expected = [math.cos((i / 50 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(51)]
    alphas = cumulative_alphas(betas)
    assert alphas[:-1].tolist() == pytest.approx([value / expected[0] for value in expected[1:-1]])
    assert betas.max().item() == 0.999


@pytest.mark.parametrize("answer", [math.nan, math.inf])
def test_answers_that_are_not_finite_stop_the_adaptive_solver_with_a_sentence(answer):
    with pytest.raises(SamplingError, match=r"answer at time 1\.0000 is not finite"):
        sample_adaptive(lambda x, t: torch.full_like(x, answer), torch.ones(1, 4), SCHEDULE)


@pytest.mark.parametrize("answer", [math.nan, math.inf])
def test_answers_that_are_not_finite_stop_the_other_samplers_too(answer):
    with pytest.raises(SamplingError, match=r"answer at time 1\.0000 is not finite"):
        sample_multistep(lambda x, t: torch.full_like(x, answer), torch.ones(1, 4), SCHEDULE, 5)
    for guidance in (0.0, 3.0):
        with pytest.raises(SamplingError, match=r"answer at time 1\.0000 is not finite"):
            sample_flow(lambda x, t, c: torch.full_like(x, answer), torch.ones(4), FlowSettings(guidance=guidance))


@pytest.mark.parametrize(("start", "end"), [(1.1, 1e-3), (1.0, 0.0), (0.2, 0.3), (math.nan, 1e-3)])
def test_times_that_the_schedule_does_not_have_are_refused(start, end):
    with pytest.raises(ValueError, match="Sampling runs from"):
        StepControl(start=start, end=end)
