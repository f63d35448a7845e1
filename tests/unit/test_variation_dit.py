"""The shortcuts of the variation DiT change nothing but the time it takes."""

import pytest
import torch

from gvf_core.diffusion import Guidance, discrete_vp_schedule, sample_multistep, squared_cosine_betas
from gvf_core.models.guided_dit import dit_conditions, guided_noise
from gvf_core.models.narrow_attention import NarrowContext
from tests.plain import plain_networks
from tests.unit.small_networks import DIT, assert_close, dit_inputs, small_dit

SCHEDULE = discrete_vp_schedule(squared_cosine_betas())


@torch.inference_mode()
def test_kept_keys_and_values_give_what_the_plain_network_gives():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs()
    expected = plain_networks.variation_dit(dit.state_dict(), DIT.heads, x, t, image, static, positions)
    assert_close(dit(x, t, [dit.condition(image, static, positions)]), expected, 2e-5)


@torch.inference_mode()
def test_static_tokens_need_not_be_widened():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs()
    narrow, wide = (dit.condition(image, static, positions, narrow=narrow) for narrow in (True, False))
    assert_close(dit(x, t, [narrow]), dit(x, t, [wide]), 2e-5)
    automatic = dit.condition(image, static, positions)
    assert isinstance(automatic.static[0], NarrowContext)
    # Training goes through the weights as they are.
    assert not isinstance(dit.train().condition(image, static, positions).static[0], NarrowContext)


@torch.inference_mode()
def test_one_zero_token_stands_for_all_dropped_ones():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs()
    shortcut = dit_conditions(dit, image, static, positions, Guidance(2.0, 3.0))
    none = dit.condition(torch.zeros_like(image), torch.zeros_like(static), positions)
    images_dropped = dit.condition(torch.zeros_like(image), static, positions)
    assert_close(dit(x, t, [shortcut["none"]]), dit(x, t, [none]), 2e-6)
    assert_close(dit(x, t, [shortcut["static"]]), dit(x, t, [images_dropped]), 2e-6)


@pytest.mark.parametrize("scales", [(1.0, 1.0), (1.0, 2.0), (2.0, 2.0), (1.5, 0.0), (1.5, 2.0)])
@torch.inference_mode()
def test_branches_in_one_batch_give_what_they_give_one_by_one(scales):
    dit, guidance = small_dit(), Guidance(*scales)
    x, _, image, static, positions = dit_inputs()
    conditions = dit_conditions(dit, image, static, positions, guidance)
    assert set(conditions) == set(guidance.branches)
    together, apart = (guided_noise(dit, conditions, guidance, SCHEDULE, batched=batched) for batched in (True, False))
    time = torch.tensor(0.6)
    assert_close(together(x, time), apart(x, time), 2e-6)


@torch.inference_mode()
def test_frames_are_told_apart_by_their_images_alone():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs(frames=4)
    order = torch.tensor([2, 0, 3, 1])
    straight = dit(x, t, [dit.condition(image, static, positions)])
    shuffled = dit(x[:, order], t, [dit.condition(image[:, order], static, positions)])
    assert_close(shuffled, straight[:, order], 2e-6)


@torch.inference_mode()
def test_items_of_a_batch_do_not_see_each_other():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs(batch=3)
    whole = dit(x, t, [dit.condition(image, static, positions)])
    one = slice(1, 2)
    assert_close(dit(x[one], t[one], [dit.condition(image[one], static[one], positions[one])]), whole[one], 2e-6)


def test_gradients_reach_every_weight():
    dit = small_dit()
    x, t, image, static, positions = dit_inputs()
    dit(x, t, [dit.condition(image, static, positions)]).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in dit.parameters())


@torch.inference_mode()
def test_sampling_twice_from_the_same_noise_gives_the_same_bytes():
    dit, guidance = small_dit(), Guidance()
    x, _, image, static, positions = dit_inputs()

    def sample() -> torch.Tensor:
        conditions = dit_conditions(dit, image, static, positions, guidance)
        return sample_multistep(guided_noise(dit, conditions, guidance, SCHEDULE), x, SCHEDULE, steps=4)

    assert torch.equal(sample(), sample())
