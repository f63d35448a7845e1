"""The attention kernel for CPUs gives what softmax gives, and leaves to torch what it cannot do."""

import functools
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gvf_core.models import attention, cpu_attention
from gvf_core.models.attention import KeysValues, attend, merge_heads
from gvf_core.models.cpu_attention import MIN_QUERIES, MIN_TOKENS, attend_on_cpu, is_faster
from tests.plain import plain_networks
from tests.unit.small_networks import DIT, assert_close, noise, small_dit

NAN, INFINITY = float("nan"), float("inf")


def exact(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    scores = queries.double() @ keys.double().transpose(-1, -2) * scale
    return merge_heads(torch.softmax(scores, dim=-1) @ values.double())


def errors(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None = None) -> tuple[float, float]:
    """Largest errors of ours and of torch, over the largest value."""
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    expected = exact(queries, keys, values, scale)
    torchs = merge_heads(F.scaled_dot_product_attention(queries, keys, values, scale=scale))
    results = attend_on_cpu(queries, keys, values, scale), torchs
    ours, theirs = (((result - expected).abs().max() / expected.abs().max()).item() for result in results)
    return ours, theirs


def large_inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Of a size for which the kernel is taken."""
    return noise(1, 8, 520, 16, seed=seed), noise(1, 8, 700, 16, seed=seed + 1), noise(1, 8, 700, 16, seed=seed + 2)


@pytest.mark.parametrize("queries", [1, 63, 65, 600])
@pytest.mark.parametrize("tokens", [1, 5, 6, 61, 120, 1370])
def test_any_number_of_queries_and_tokens(queries, tokens):
    assert errors(noise(2, 3, queries, 14), noise(2, 3, tokens, 14, seed=1), noise(2, 3, tokens, 14, seed=2))[0] < 1e-6


@pytest.mark.parametrize(("channels", "value_channels"), [(1, 1), (14, 14), (32, 4), (5, 33), (64, 64)])
def test_any_number_of_channels(channels, value_channels):
    keys, values = noise(1, 2, 333, channels, seed=1), noise(1, 2, 333, value_channels, seed=2)
    assert errors(noise(1, 2, 100, channels), keys, values)[0] < 1e-6


def test_heads_and_items_may_share_tokens():
    queries = noise(2, 3, 100, 14)
    for tokens in (noise(1, 1, 70, 14), noise(2, 1, 70, 14), noise(1, 3, 70, 14)):
        expanded = tokens.expand(2, 3, -1, -1)
        assert errors(queries, expanded, expanded)[0] < 1e-6
    # Only the keys are shared: nothing is shared.
    assert errors(queries, noise(1, 1, 70, 14).expand(2, 3, -1, -1), noise(2, 3, 70, 14))[0] < 1e-6


def test_any_layout_in_memory():
    queries, keys, values = noise(2, 100, 3, 4, 16).permute(2, 0, 3, 1, 4).unbind()
    assert errors(queries, keys, values)[0] < 1e-6
    assert torch.equal(attend_on_cpu(queries, keys, values), attend_on_cpu(*map(torch.clone, (queries, keys, values))))
    assert errors(queries[..., ::2], keys[..., 1::2], values.flip(-1)[..., :3])[0] < 1e-6


@pytest.mark.parametrize("factor", [20, 200, 1e4])
def test_large_scores_are_about_as_exact_as_with_torch(factor):
    queries, keys, values = large_inputs()
    ours, theirs = errors(factor * queries, keys, values)
    assert ours <= 2 * theirs


@pytest.mark.parametrize("factor", [1, 30, 1000])
def test_scores_that_rise_from_token_to_token(factor):
    direction = noise(1, 1, 1, 16)
    keys = direction * torch.linspace(-9, 9, 1000)[:, None]
    ours, theirs = errors(factor * noise(1, 1, 200, 1, seed=1) * direction, keys, keys)
    assert ours <= max(2 * theirs, 1e-6)


def test_an_offset_of_all_scores_changes_nothing_but_rounding():
    queries, keys, values = large_inputs()
    queries[..., 0] = 1
    for offset in (300, -300):
        ours, theirs = errors(queries, keys + offset * torch.eye(16)[0], values)
        assert ours <= max(2 * theirs, 1e-6)


def test_tokens_without_weight_do_not_count():
    # Weights below 2 ** -100 are not zero in the kernel.
    keys = torch.full((1, 1, 500, 4), -100.0)
    keys[0, 0, 250] = 100
    assert torch.equal(attend_on_cpu(torch.ones(1, 1, 10, 4), keys, keys), torch.full((1, 10, 4), 100.0))


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
def test_a_query_that_is_not_finite_gives_nan_and_disturbs_no_other(number):
    queries, keys, values = large_inputs()
    clean = attend_on_cpu(queries, keys, values)
    queries[0, 2, 77, 3] = number
    result = attend_on_cpu(queries, keys, values).unflatten(-1, (8, 16))
    assert result[0, 77, 2].isnan().all()
    result[0, 77, 2] = clean.unflatten(-1, (8, 16))[0, 77, 2]
    torch.testing.assert_close(result.flatten(2), clean)


@pytest.mark.parametrize("token", [0, 3, 350, 699])
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FC00001, 0x7FFFFFFF, -0x1])
def test_a_key_that_is_not_a_number_gives_nan_in_its_head(token, bits):
    queries, keys, values = large_inputs()
    keys.view(torch.int32)[0, 5, token, 7] = bits
    result = attend_on_cpu(queries, keys, values).unflatten(-1, (8, 16))
    assert result[:, :, 5].isnan().all()
    assert result[:, :, [0, 1, 2, 3, 4, 6, 7]].isfinite().all()


def test_infinite_scores_give_no_wrong_number():
    queries, keys, values = large_inputs()
    for number in (INFINITY, -INFINITY):
        keys[0, 0, 9, 2], keys[0, 1, 640, 5] = number, number
        result = attend_on_cpu(queries, keys, values)
        expected = merge_heads(F.scaled_dot_product_attention(queries, keys, values))
        assert result[expected.isnan()].isnan().all()
        finite = result.isfinite()
        torch.testing.assert_close(result[finite], expected[finite])
    # Products that overflow.
    assert attend_on_cpu(queries * 1e30, keys * 1e30, values).isnan().all()


def test_a_value_that_is_not_finite_shows_in_its_channel_only():
    queries, keys, values = large_inputs()
    for number in (NAN, INFINITY):
        values[0, 1, 33, 4] = number
        result = attend_on_cpu(queries, keys, values).unflatten(-1, (8, 16))
        assert not result[0, :, 1, 4].isfinite().any()
        result[0, :, 1, 4] = 0
        assert result.isfinite().all()


def test_the_number_of_threads_does_not_change_the_bits():
    inputs, threads, results = large_inputs(), torch.get_num_threads(), set()
    try:
        for count in (1, 2, 3, 2):
            torch.set_num_threads(count)
            results.add(attend_on_cpu(*inputs).numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(results) == 1


def test_calls_at_the_same_time_do_not_disturb_each_other():
    inputs = [large_inputs(seed) for seed in (0, 10)]
    expected = [attend_on_cpu(*one) for one in inputs]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda one: attend_on_cpu(*one), inputs * 8))
    assert all(torch.equal(result, expected[index % 2]) for index, result in enumerate(results))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system does not fork.")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    expected = attend_on_cpu(*large_inputs()).numpy().tobytes()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_attend_in_fork, args=(sender,))
    child.start()
    try:
        assert receiver.poll(30), "the forked process hangs"
        assert receiver.recv_bytes() == expected
    finally:
        child.kill()
        child.join()


def _attend_in_fork(sender) -> None:
    torch.set_num_threads(1)  # torch's own do not survive
    sender.send_bytes(attend_on_cpu(*large_inputs()).numpy().tobytes())


@pytest.mark.skipif(not cpu_attention.MEASURED, reason="On this processor torch's kernel is used.")
def test_large_attention_without_gradients_takes_the_kernel():
    queries, keys, values = large_inputs()
    assert is_faster(queries, keys, values)
    assert torch.equal(attend(queries, KeysValues(keys, values), 0.3), attend_on_cpu(queries, keys, values, 0.3))
    assert is_faster(queries.requires_grad_().detach(), keys, values)
    with torch.inference_mode():
        assert is_faster(queries, keys, values)
        torch.testing.assert_close(attend_on_cpu(queries, keys, values), attend_on_cpu(queries.detach(), keys, values))


@pytest.mark.skipif(not cpu_attention.MEASURED, reason="On this processor torch's kernel is used.")
@torch.inference_mode()
def test_the_variation_dit_gives_the_same_with_it(monkeypatch):
    channels = []

    def counted(queries: Tensor, *others: Tensor | float | None) -> Tensor:
        channels.append(queries.shape[-1])
        return attend_on_cpu(queries, *others)

    monkeypatch.setattr(attention, "attend_on_cpu", counted)
    dit = small_dit()
    x, t, positions = noise(1, 3, 256, DIT.latent_channels), torch.tensor([700.0]), noise(1, 256, 3, seed=3)
    image, static = noise(1, 3, 700, DIT.image_channels, seed=1), noise(1, 900, 14, seed=2)
    expected = plain_networks.variation_dit(dit.state_dict(), DIT.heads, x, t, image, static, positions)
    assert_close(dit(x, t, [dit.condition(image, static, positions)]), expected, 2e-5)
    # Of each block the attention to the image and to the static tokens, which are not padded.
    assert channels == [DIT.width // DIT.heads, 14] * DIT.blocks


def test_what_needs_gradients_is_torchs():
    inputs = large_inputs()
    for leaf in inputs:
        leaf.requires_grad_()
        assert not is_faster(*inputs)
        attend(inputs[0], KeysValues(*inputs[1:])).sum().backward()
        assert leaf.grad is not None
        leaf.requires_grad_(False)


def test_what_the_kernel_cannot_do_or_does_no_faster_is_torchs():
    queries, keys, values = large_inputs()
    assert not is_faster(queries.bfloat16(), keys.bfloat16(), values.bfloat16())
    assert not is_faster(queries.double(), keys.double(), values.double())
    assert not is_faster(*(x.to("meta") for x in (queries, keys, values)))
    assert not is_faster(queries[0], keys[0], values[0])
    assert not is_faster(*(x.repeat(1, 1, 1, 4) for x in (queries, keys, values)))
    assert not is_faster(queries, keys[:, :1], values[:, :1])
    assert not is_faster(
        queries[:, :, : MIN_QUERIES - 1].repeat(99, 1, 1, 1), *(x.repeat(99, 1, 1, 1) for x in (keys, values))
    )
    assert not is_faster(queries, *(x[:, :, : MIN_TOKENS - 1] for x in (keys, values)))
    assert not is_faster(*(x[:, :1] for x in (queries, keys, values)))
    result = attend(queries.bfloat16(), KeysValues(keys.bfloat16(), values.bfloat16()))
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.double(), exact(queries, keys, values, 0.25), rtol=0, atol=0.02)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_network_has_torchs_attention():
    queries, keys, values = large_inputs()
    traced = torch.jit.trace(_Attention(), (queries, keys, values))
    assert "scaled_dot_product_attention" in str(traced.inlined_graph)
    exported = torch.export.export(_Attention(), (queries, keys, values))
    assert "scaled_dot_product_attention" in str(exported.graph)


class _Attention(torch.nn.Module):
    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attend(queries, KeysValues(keys, values))


def test_shapes_that_do_not_fit_are_refused():
    queries, keys, values = large_inputs()
    for one, other in ((keys[:, :, :9], values), (keys[..., :9], values), (keys[:, :, :0], values[:, :, :0])):
        with pytest.raises(ValueError, match="do not fit"):
            attend_on_cpu(queries, one, other)


def test_where_numba_cannot_compile_attention_is_torchs(monkeypatch, caplog):
    class Broken:
        def compile(self, signature):
            raise RuntimeError("no compiler")

    monkeypatch.setattr(cpu_attention, "attend_units", Broken())
    monkeypatch.setattr(cpu_attention, "_compiled", functools.cache(cpu_attention._compiled.__wrapped__))
    monkeypatch.setattr(cpu_attention, "MEASURED", True)
    queries, keys, values = large_inputs()
    assert not is_faster(queries, keys, values)
    assert "no compiler" in caplog.text
    assert attend(queries, KeysValues(keys, values)).isfinite().all()
    with pytest.raises(RuntimeError, match="does not work"):
        attend_on_cpu(queries, keys, values)
