"""LPIPS is that of torchmetrics, gives gradients to pictures, and takes its weights from files."""

import importlib.util

import pytest
import torch
from safetensors.torch import save_file
from weight_files import one_thread, save_pickled, save_trap

from gvf_core.errors import WeightsError
from gvf_core.models import perceptual
from gvf_core.models.perceptual import PerceptualDistance, load_perceptual_distance, packaged_linear_weights

SMALL = (4, 4, 6, 6, 8)
needs_torchmetrics = pytest.mark.skipif(
    importlib.util.find_spec("torchmetrics") is None, reason="needs the extra evaluate"
)


@pytest.fixture(autouse=True)
def _seeded():
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def small_network() -> PerceptualDistance:
    network = PerceptualDistance(SMALL)
    for name, parameter in network.named_parameters():
        if name.startswith("lin"):
            parameter.data.abs_()
    return network


@pytest.fixture(scope="module")
def vgg16() -> dict[str, torch.Tensor]:
    """A whole VGG16 as torchvision saves it, untrained; what classifies is cut short."""
    torch.manual_seed(1)
    features = {name: value for name, value in PerceptualDistance().state_dict().items() if name.startswith("features")}
    return {**features, "classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.zeros(2)}


def test_layers_are_numbered_as_in_vgg16():
    shapes = {name: tuple(value.shape) for name, value in PerceptualDistance().state_dict().items()}
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    convolutions = {int(name.split(".")[1]) for name in shapes if name.startswith("features")}
    assert convolutions == {0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28}
    assert {name for name in shapes if name.startswith("lin")} == {f"lin{index}.model.1.weight" for index in range(5)}


def test_equal_pictures_have_no_distance_and_others_have_more_the_more_they_differ():
    network, picture = small_network(), torch.rand(1, 3, 32, 32)
    noise = torch.randn(1, 3, 32, 32)
    distances = [float(network(picture, picture + strength * noise)) for strength in (0.0, 0.05, 0.2)]
    assert distances[0] == 0
    assert 0 < distances[1] < distances[2]


def test_pictures_get_gradients_and_weights_none():
    network, picture = small_network(), torch.rand(2, 3, 32, 32, requires_grad=True)
    network(picture, torch.rand(2, 3, 32, 32)).sum().backward()
    assert picture.grad.isfinite().all() and picture.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_constant_picture_whose_features_vanish_has_a_finite_gradient():
    network = small_network()
    for parameter in network.features.parameters():
        parameter.data.fill_(-0.1)
    picture = torch.zeros(1, 3, 16, 16, requires_grad=True)
    network(picture, torch.ones(1, 3, 16, 16)).sum().backward()
    assert picture.grad.isfinite().all()


def test_training_mode_changes_nothing():
    network = small_network()
    assert not network.train().training
    assert not any(module.training for module in network.modules())


@needs_torchmetrics
def test_it_is_the_measure_of_torchmetrics(tmp_path, vgg16, monkeypatch):
    from torchmetrics.functional.image import lpips as reference

    network = load_perceptual_distance(save_pickled(tmp_path / "vgg16-397923af.pth", vgg16))
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_, **__: network.features)
    theirs = reference._NoTrainLpips(net="vgg")
    pictures, references = torch.rand(3, 3, 48, 40), torch.rand(3, 3, 48, 40)
    expected = theirs(pictures, references, normalize=True).flatten()
    assert expected.min() > 1e-3
    torch.testing.assert_close(network(pictures, references), expected, rtol=1e-5, atol=1e-7)


@needs_torchmetrics
def test_weights_come_from_safetensors_too(tmp_path, vgg16):
    pickled = load_perceptual_distance(save_pickled(tmp_path / "vgg16.pth", vgg16))
    path = tmp_path / "vgg16.safetensors"
    save_file(vgg16, path)
    saved = load_perceptual_distance(path, packaged_linear_weights())
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in pickled.state_dict().items())


@needs_torchmetrics
def test_the_weights_of_other_networks_and_files_that_run_code_are_refused(tmp_path, vgg16):
    other = save_pickled(tmp_path / "vgg11.pth", {"features.0.weight": vgg16["features.0.weight"]})
    with pytest.raises(WeightsError, match=r"vgg11\.pth with vgg\.pth lacks features\.0\.bias"):
        load_perceptual_distance(other)
    with pytest.raises(WeightsError, match="loading it could run code"):
        load_perceptual_distance(save_trap(tmp_path / "trap.pth", tmp_path / "sprung"))
    assert not (tmp_path / "sprung").exists()


def test_without_torchmetrics_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"gvf-blender\[evaluate\]"):
        packaged_linear_weights()
