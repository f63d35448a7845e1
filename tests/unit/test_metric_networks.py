"""Networks that measure have the published names and shapes, and the store takes their files."""

import pytest
import torch
from weight_files import one_thread, save_pickled

from gvf_core.commands.models import _json_row
from gvf_core.errors import WeightsError
from gvf_core.models.metric_networks import (
    aesthetic_head,
    check_metric_state,
    load_aesthetic_head,
    load_video_features,
    metric_state,
)
from gvf_core.models.perceptual import PerceptualDistance
from gvf_core.models.registry import Part, checkpoint
from gvf_core.models.search import find_checkpoints
from gvf_core.models.store import Store
from gvf_core.models.video_features import (
    LEAST_FRAMES,
    VideoFeatureParams,
    VideoFeatures,
    _padded,
    with_counters,
)


@pytest.fixture(autouse=True)
def _seeded():
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def i3d_state() -> dict[str, torch.Tensor]:
    return VideoFeatures().state_dict()


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "models")


def test_i3d_has_the_published_names_and_size(i3d_state):
    shapes = {name: tuple(value.shape) for name, value in i3d_state.items()}
    assert shapes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert shapes["Mixed_4f.b1b.conv3d.weight"] == (320, 160, 3, 3, 3)
    assert shapes["Mixed_5c.b3b.bn.running_var"] == (128,)
    assert shapes["logits.conv3d.weight"] == (400, 1024, 1, 1, 1)
    assert sum(name.endswith("running_mean") for name in shapes) == 57
    # As many bytes as the published file of 50,883,138 has, up to its names.
    stored = sum(value.numel() * 4 for name, value in i3d_state.items() if not name.endswith("tracked"))
    assert 0 < 50_883_138 - stored < 60_000


@pytest.mark.parametrize("frames", [LEAST_FRAMES, 16])
def test_i3d_says_one_number_of_each_class(frames):
    network = VideoFeatures(VideoFeatureParams(classes=7, thinner=16))
    said = network(torch.rand(2, 3, frames, 224, 224) * 2 - 1)
    assert said.shape == (2, 7) and said.isfinite().all()
    assert not torch.equal(said[0], said[1])


def test_padding_makes_the_sizes_of_tensorflow_and_puts_the_odd_zero_at_the_end():
    padded = _padded(torch.ones(1, 1, 5, 224, 7), (7, 7, 3), (2, 2, 2))
    assert padded.shape[2:] == (11, 229, 9)
    odd = _padded(torch.ones(1, 1, 1, 1, 4), (1, 1, 3), (1, 1, 2))[0, 0, 0, 0]
    assert odd.tolist() == [1, 1, 1, 1, 0]


def test_a_file_without_counters_is_stored_and_loaded(store, tmp_path, i3d_state):
    old = {name: value for name, value in i3d_state.items() if not name.endswith("num_batches_tracked")}
    installed = store.install("i3d-kinetics400", [save_pickled(tmp_path / "i3d_pretrained_400.pt", old)])
    assert (installed.preset, installed.origin) == (None, "user")
    store.verify("i3d-kinetics400")
    network = load_video_features(store.weights_file("i3d-kinetics400"))
    assert all(torch.equal(value, with_counters(old)[name]) for name, value in network.state_dict().items())


def test_of_vgg16_the_store_keeps_what_lpips_uses(store, tmp_path):
    state = {name: value for name, value in PerceptualDistance().state_dict().items() if name.startswith("features")}
    whole = {**state, "classifier.6.bias": torch.zeros(1000)}
    installed = store.install("vgg16", [save_pickled(tmp_path / "mine.pth", whole)])
    assert 58_000_000 < installed.size < 60_000_000
    store.verify("vgg16")


def test_of_clip_only_the_half_that_sees_is_used():
    state = {
        "text_model.final_layer_norm.bias": torch.zeros(1),
        "vision_model.embeddings.position_ids": torch.arange(50)[None],
        "visual_projection.weight": torch.zeros(512, 768),
        "logit_scale": torch.zeros(()),
    }
    assert set(metric_state(Part.PICTURE_EMBEDDING, state)) == {"visual_projection.weight"}
    with pytest.raises(WeightsError, match=r"mine lacks vision_model\.embeddings\.class_embedding \[768\]"):
        check_metric_state(Part.PICTURE_EMBEDDING, {"visual_projection.weight": torch.zeros(512, 768)}, "mine")


def test_the_file_of_clip_is_taken_from_a_folder_only_if_the_configuration_says_so(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert find_checkpoints(tmp_path).candidates == ()
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert find_checkpoints(tmp_path).candidates == ()
    (tmp_path / "config.json").write_text('{"model_type": "clip", "projection_dim": 512}')
    assert [candidate.entry.name for candidate in find_checkpoints(tmp_path).candidates] == ["clip-vit-b32"]
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"model_type": "clip", "projection_dim": 768}')
    assert [candidate.entry.name for candidate in find_checkpoints(tmp_path).candidates] == ["clip-vit-l14"]


def test_the_aesthetic_head_has_the_published_names_and_size(store, tmp_path):
    state = aesthetic_head().state_dict()
    assert list(state)[::2] == [f"layers.{place}.weight" for place in (0, 2, 4, 6, 7)]
    # As many bytes as the published file of 3,714,759 has, up to its names.
    assert 0 < 3_714_759 - 4 * sum(value.numel() for value in state.values()) < 5000
    store.install("laion-aesthetic", [save_pickled(tmp_path / "sac+logos+ava1-l14-linearMSE.pth", state)])
    store.verify("laion-aesthetic")
    head = load_aesthetic_head(store.weights_file("laion-aesthetic"))
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())


def test_the_larger_clip_has_the_published_size():
    with pytest.raises(WeightsError, match=r"mine lacks vision_model\.embeddings\.class_embedding \[1024\]"):
        check_metric_state(Part.AESTHETIC_EMBEDDING, {"visual_projection.weight": torch.zeros(768, 1024)}, "mine")


def test_lists_for_programs_name_source_licence_and_sum():
    row = _json_row(checkpoint("vgg16"), None, "")
    assert row["licence"] == "BSD-3-Clause" and row["role"] == "perceptual"
    assert row["files"]["vgg16-397923af.pth"].startswith("397923af")
