"""Other number types and compilation change results only within their precision."""

import shutil

import pytest
import torch

from gvf_core.models import acceleration
from gvf_core.models.acceleration import fastest_dtype, prepare
from gvf_core.models.layers import LowPrecision
from gvf_core.models.presets import create
from gvf_core.models.roles import Role
from tests.unit.small_networks import assert_close, dit_inputs, noise, randomized, small_dit, small_vae, some_voxels

CPU = torch.device("cpu")


def dit_output(dit) -> torch.Tensor:
    x, t, image, static, positions = dit_inputs()
    with torch.inference_mode():
        return dit(x, t, [dit.condition(image, static, positions)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.005)])
def test_half_precision_stays_close_and_results_are_float32(dtype, tolerance):
    dit = small_dit()
    exact = dit_output(dit)
    prepare(dit, CPU, dtype=dtype)
    assert dit_output(dit).dtype == torch.float32
    assert_close(dit_output(dit), exact, tolerance)

    vae = small_vae()
    latents, gaussians = noise(1, 2, 12, 4), noise(1, 20, 14)
    with torch.inference_mode():
        exact = vae.decode(latents, gaussians)
        prepare(vae, CPU, dtype=dtype)
        assert_close(vae.decode(latents, gaussians), exact, tolerance)


@pytest.mark.parametrize("role", [Role.STATIC_VAE, Role.SLAT_FLOW, Role.STRUCTURE_DECODER])
def test_networks_on_voxels_run_in_half_precision_too(role):
    network = randomized(create(role, "nano"))
    coordinates = some_voxels(40)

    def output() -> torch.Tensor:
        with torch.inference_mode():
            if role is Role.STRUCTURE_DECODER:
                return network(noise(1, 8, 4, 4, 4))
            if role is Role.STATIC_VAE:
                return network.decode_rows(noise(len(coordinates), 8), coordinates)
            context = network.condition(noise(2, 5, network.params.image_channels))
            return network(noise(len(coordinates), 8), network.prepare(coordinates), torch.tensor([3.0, 600]), context)

    exact = output()
    prepare(network, CPU, dtype=torch.bfloat16)
    assert output().dtype == torch.float32
    assert_close(output(), exact, 0.2 if role is Role.SLAT_FLOW else 0.05)


def test_only_the_layers_that_may_are_converted():
    vae = small_vae()
    prepare(vae, CPU, dtype=torch.bfloat16)
    low = {id(p) for module in vae.modules() if isinstance(module, LowPrecision) for p in module.parameters()}
    assert low
    for name, parameter in vae.named_parameters():
        assert (parameter.dtype == torch.bfloat16) == (id(parameter) in low), name
    assert vae.position_encoding[0].omega.dtype == torch.float64


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({torch.float32: 1.0, torch.bfloat16: 3.0}, torch.float32),
        ({torch.float32: 1.0, torch.bfloat16: 0.9}, torch.float32),
        ({torch.float32: 1.0, torch.bfloat16: 0.3}, torch.bfloat16),
    ],
)
def test_the_number_type_is_the_one_measured_to_be_well_ahead(monkeypatch, seconds, chosen):
    fastest_dtype.cache_clear()
    monkeypatch.setattr(acceleration, "_multiplication_seconds", lambda device, dtype: seconds[dtype])
    assert fastest_dtype(CPU) == chosen
    fastest_dtype.cache_clear()


def test_the_measurement_on_this_machine_gives_a_type():
    assert fastest_dtype(CPU) in (torch.float32, torch.bfloat16)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++") and not shutil.which("g++"), reason="compiling needs a C++ compiler")
def test_a_compiled_network_gives_the_same():
    dit = small_dit()
    exact = dit_output(dit)
    prepare(dit, CPU, dtype=torch.float32, compiled=True)
    assert_close(dit_output(dit), exact, 1e-5)
