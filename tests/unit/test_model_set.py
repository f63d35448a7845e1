"""A set of weights is opened as a whole, or one sentence says what is missing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from weight_files import one_thread

from gvf_core.cli import main
from gvf_core.engine_choice import choose_engine
from gvf_core.errors import WeightsError
from gvf_core.models.model_set import Statistics, open_model_set
from gvf_core.models.random_weights import add_random
from gvf_core.models.record import RECORD_NAME
from gvf_core.models.registry import FOR_ANIMATING, checkpoint
from gvf_core.models.store import Store
from gvf_core.motion.engines import open_engine
from gvf_core.settings import AnimateSettings

CPU = torch.device("cpu")
SET = "untrained"


@pytest.fixture
def folder(random_weights, tmp_path, monkeypatch) -> Path:
    """A copy of the set, as the released weights and under its own name."""
    root = tmp_path / "models"
    shutil.copytree(random_weights / "sets" / SET, root / "sets" / SET, copy_function=_link)
    shutil.copytree(random_weights / "sets" / SET, root, copy_function=_link, dirs_exist_ok=True)
    monkeypatch.setenv("GVF_MODELS_DIR", str(root))
    return root


def _link(source: str, target: str) -> None:
    """Records are rewritten by tests, weights only replaced."""
    if source.endswith(RECORD_NAME):
        shutil.copy(source, target)
    else:
        Path(target).hardlink_to(source)


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_set_opens_once_and_is_kept(folder):
    with one_thread():
        models = open_model_set(SET, CPU)
        assert open_model_set(SET, CPU) is models
    assert models.dit.params.image_channels == models.image_encoder.sizes.width == 384
    assert {record.name for record in models.records} == {entry.name for entry in FOR_ANIMATING}


def test_random_weights_are_called_no_result(folder):
    models = open_model_set(SET, CPU)
    assert models.remark.startswith("The weights gvf-dit, gvf-variation-vae, ")
    assert models.remark.endswith("random and were never trained: this exercises the chain and is no result.")


def test_auto_never_takes_random_weights(folder):
    assert not Store(folder).is_ready()
    assert choose_engine(AnimateSettings()) == "fit"
    assert choose_engine(AnimateSettings(weights=SET)) == "fit"
    assert choose_engine(AnimateSettings(engine="diffusion")) == "diffusion"


def test_auto_takes_trained_weights_where_all_are_there(folder):
    for entry in FOR_ANIMATING:
        rewrite(folder / entry.name / RECORD_NAME, lambda record: record.update(origin="user"))
    assert Store(folder).is_ready()
    assert choose_engine(AnimateSettings()) == "diffusion"
    assert open_model_set("released", CPU).remark == ""
    shutil.rmtree(folder / "gvf-statistics")
    assert choose_engine(AnimateSettings()) == "fit"


def test_missing_weights_are_named_with_the_next_step(folder):
    shutil.rmtree(folder / "gvf-dit")
    shutil.rmtree(folder / "gvf-statistics")
    with pytest.raises(WeightsError, match=r"released lacks gvf-dit, gvf-statistics\..*gvf models download"):
        open_engine(AnimateSettings(engine="diffusion"))
    with pytest.raises(WeightsError, match=r"set of weights other lacks .*Known sets: released, untrained\."):
        open_engine(AnimateSettings(engine="diffusion", weights="other"))


def test_a_missing_statistics_file_is_named(folder):
    (folder / "gvf-statistics" / "statistics.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"gvf-statistics lacks its file statistics\.safetensors"):
        open_model_set("released", CPU)


def test_parts_of_different_sizes_do_not_go_together(folder):
    rewrite(folder / "gvf-dit" / RECORD_NAME, lambda record: record.update(preset="full"))
    with pytest.raises(WeightsError, match="different sizes: gvf-dit is full, gvf-variation-vae is nano"):
        open_model_set("released", CPU)


def test_weights_of_another_network_are_named(folder):
    target = folder / "gvf-variation-vae" / "weights.safetensors"
    target.unlink()
    shutil.copy(folder / "gvf-dit" / "weights.safetensors", target)
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        open_model_set("released", CPU)


def test_random_weights_do_not_replace_trained_ones(folder):
    rewrite(folder / "gvf-dit" / RECORD_NAME, lambda record: record.update(origin="user"))
    before = (folder / "gvf-vae").exists(), (folder / "gvf-dit" / RECORD_NAME).read_bytes()
    with pytest.raises(WeightsError, match=r"gvf-dit is installed \(user\); random weights do not replace it"):
        add_random(Store(folder), "nano", seed=1)
    assert ((folder / "gvf-vae").exists(), (folder / "gvf-dit" / RECORD_NAME).read_bytes()) == before


def test_a_seed_gives_the_same_random_weights(tmp_path):
    entries = [checkpoint("gvf-static-vae")]
    first, second, other = (
        add_random(Store(tmp_path / name), "nano", seed, entries)[0].files[0].sha256
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second != other


def test_the_command_makes_lists_checks_and_removes_a_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path))
    assert main(["models", "add-random", "gvf-statistics", "--seed", "3"]) == 0
    assert main(["models", "add-random", "Wrong Name"]) == 1
    assert "'Wrong Name', which is no name" in capsys.readouterr().err
    Store(tmp_path).of_set("mine").root.mkdir(parents=True)
    add_random(Store(tmp_path).of_set("mine"), "nano", 0, [checkpoint("gvf-statistics")])
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "Set mine: random; lacks gvf-dit, gvf-variation-vae, gvf-static-vae, dinov2-vitl14-reg" in listed
    assert main(["models", "list", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["origin"] for row in values["sets"]["mine"]] == ["random"]
    assert main(["models", "verify", "mine"]) == 0
    assert main(["models", "remove", "mine"]) == 0
    assert Store(tmp_path).sets() == []
    assert Store(tmp_path).find("gvf-statistics") is not None


def test_statistics_standardise_tokens_and_positions():
    statistics = Statistics(torch.arange(14.0), torch.full((14,), 2.0), torch.full((16,), 0.5), torch.full((16,), 3.0))
    tokens = torch.arange(14.0) + 2
    assert torch.equal(statistics.standardise_static(tokens[None]), torch.ones(1, 14))
    positions = statistics.standardise_positions(torch.tensor([[2.0, 3.0, 4.0]]))
    assert torch.equal(positions, torch.ones(1, 3))
    assert torch.equal(statistics.latents(torch.ones(2, 16)), torch.full((2, 16), 3.5))


def test_statistics_of_single_tokens_do_not_standardise_positions():
    statistics = Statistics(torch.zeros(4096, 14), torch.ones(14), torch.zeros(16), torch.ones(16))
    assert statistics.standardise_static(torch.zeros(1, 4096, 14)).shape == (1, 4096, 14)
    with pytest.raises(WeightsError, match="differ from token to token"):
        statistics.standardise_positions(torch.zeros(1, 3))
