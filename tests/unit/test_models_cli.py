"""`gvf models` does what it says, says what it did, and fails in one sentence."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_stand_in import serve, use
from safetensors.torch import save_file
from weight_files import (
    DIT_FILE,
    SLAT_ENCODER_FILE,
    nano_state,
    one_thread,
    save_image_encoder,
    save_pickled,
    save_statistics,
    save_trap,
)

from gvf_core.cli import main
from gvf_core.models.roles import Role
from gvf_core.models.store import Store


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Iterator[Store]:
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path / "models"))
    with one_thread():
        yield Store(tmp_path / "models")


@pytest.fixture(scope="module")
def slat_encoder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / SLAT_ENCODER_FILE
    save_file(nano_state(Role.SLAT_ENCODER), path)
    return path


@pytest.fixture
def said(capsys):
    """Status, standard output and standard error of a command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["models", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return run


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve() as hub:
        use(monkeypatch, hub.endpoint, tmp_path / "cache")
        yield hub


def publish(hub, folder: Path) -> None:
    """Put everything that animating needs onto the hub, at small size."""
    gvf, dino = "BwZhang/GaussianVariationFieldDiffusion", "facebook/dinov2-with-registers-large"
    save_pickled(folder / DIT_FILE, nano_state(Role.VARIATION_DIT))
    save_pickled(folder / "ema_deformation_0.9999_200000.pt", nano_state(Role.VARIATION_VAE))
    save_pickled(folder / "ema_static_vae_0.9999_200000.pt", nano_state(Role.STATIC_VAE))
    save_statistics(folder)
    hub.files |= {f"{gvf}/{file.name}": file.read_bytes() for file in folder.iterdir()}
    hub.files |= {f"{dino}/{file.name}": file.read_bytes() for file in save_image_encoder(folder / "dino")}


def test_list_shows_what_is_installed_and_what_is_not(said, slat_encoder):
    assert said("add", slat_encoder)[0] == 0
    status, out, _ = said("list")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert all(word in lines["gvf-dit"] for word in (" no ", "422 MB", "none stated", "animating"))
    assert all(word in lines["trellis-slat-encoder"] for word in ("nano, user", "MB", "MIT", "new assets"))


def test_list_for_programs_is_json(said, store, slat_encoder):
    store.install("trellis-slat-encoder", [slat_encoder])
    values = json.loads(said("list", "--json")[1])
    rows = {row["name"]: row for row in values["models"]}
    assert values["folder"] == str(store.root)
    assert rows["gvf-dit"]["licence"] is None
    assert rows["gvf-dit"]["files"] == {DIT_FILE: "not known yet"}
    found = rows["trellis-slat-encoder"]
    assert (found["installed"], found["preset"], found["origin"]) == (True, "nano", "user")


def test_list_names_damage_and_goes_on(said, store, slat_encoder):
    store.install("trellis-slat-encoder", [slat_encoder])
    (store.folder("trellis-slat-encoder") / "weights.json").write_text("{}")
    status, out, err = said("list")
    assert status == 0
    assert "damaged" in out
    assert "trellis-slat-flow" in out
    assert "is not valid" in err


def test_add_finds_official_files_anywhere_in_a_folder(said, store, tmp_path, slat_encoder):
    place = tmp_path / "place"
    save_pickled(place / "gvf" / DIT_FILE, nano_state(Role.VARIATION_DIT))
    save_statistics(place / "gvf" / "statistics")
    save_image_encoder(place / "dino")
    (place / "trellis" / "ckpts").mkdir(parents=True)
    # As in the hub's cache, where all files are links.
    (place / "trellis" / "ckpts" / SLAT_ENCODER_FILE).symlink_to(slat_encoder)
    (place / "config.json").write_text('{"model_type": "of somebody else"}')
    (place / "notes.pt").write_bytes(b"not looked at")
    status, _, err = said("add", place)
    assert status == 0
    names = ["gvf-dit", "gvf-statistics", "dinov2-vitl14-reg", "trellis-slat-encoder"]
    assert sorted(installed.name for installed in store.installed()) == sorted(names)
    assert all(f"Installed {name} (" in err for name in names)
    assert "Animating still needs gvf-variation-vae, gvf-static-vae." in err


def test_add_installs_what_is_good_and_says_what_was_refused(said, store, tmp_path, slat_encoder):
    place = tmp_path / "place"
    files = save_statistics(place)
    files[-1].unlink()
    save_trap(place / DIT_FILE, tmp_path / "touched")
    save_pickled(place / "ema_static_vae_0.9999_200000.pt", {"weight": torch.zeros(3)})
    (place / SLAT_ENCODER_FILE).write_bytes(slat_encoder.read_bytes())
    status, _, err = said("add", place)
    assert status == 1
    assert "gvf-dit was refused: " in err and "could run code" in err
    assert "gvf-static-vae was refused: ema_static_vae_0.9999_200000.pt lacks " in err
    assert "gvf-statistics was refused: deformation_std.pt is missing." in err
    assert [installed.name for installed in store.installed()] == ["trellis-slat-encoder"]
    assert not (tmp_path / "touched").exists()


def test_add_takes_one_file_and_brings_along_what_belongs_to_it(said, store, tmp_path, slat_encoder):
    save_statistics(tmp_path / "place")
    save_image_encoder(tmp_path / "place")
    assert said("add", tmp_path / "place" / "static_std.pt")[0] == 0
    assert said("add", tmp_path / "place" / "model.safetensors")[0] == 0
    assert said("add", slat_encoder)[0] == 0
    assert len(store.installed()) == 3


def test_add_takes_a_file_of_any_name_if_told_what_it_is(said, store, tmp_path):
    file = save_pickled(tmp_path / "mine.pt", nano_state(Role.SLAT_ENCODER))
    status, _, err = said("add", file)
    assert status == 1
    assert "holds none of the released files" in err
    assert said("add", file, "--as", "trellis-slat-encoder")[0] == 0
    assert store.find("trellis-slat-encoder").sources[0].name == "mine.pt"


def test_add_finds_nothing_in_an_empty_folder_a_loop_or_nowhere(said, tmp_path):
    empty = tmp_path / "empty"
    (empty / "deep").mkdir(parents=True)
    (empty / "deep" / "loop").symlink_to(empty, target_is_directory=True)
    (empty / DIT_FILE).symlink_to(empty / DIT_FILE)
    status, _, err = said("add", empty)
    assert status == 1
    assert "holds none of the released files. Their names are ema_diffusion_0.9999_500000.pt" in err
    status, _, err = said("add", tmp_path / "missing")
    assert status == 1
    assert "There is no file or folder" in err


def test_add_does_not_dig_without_end(said, tmp_path):
    deep = tmp_path.joinpath("place", *"abcdefghijkl")
    save_pickled(deep / DIT_FILE, {})
    status, _, err = said("add", tmp_path / "place")
    assert status == 1
    assert "too deep" in err


def test_add_says_which_of_two_files_it_takes(said, tmp_path, slat_encoder):
    for folder in ("a", "b"):
        (tmp_path / "place" / folder).mkdir(parents=True)
        (tmp_path / "place" / folder / SLAT_ENCODER_FILE).write_bytes(slat_encoder.read_bytes())
    status, _, err = said("add", tmp_path / "place")
    assert status == 0
    assert f"those in {tmp_path / 'place' / 'a'} are taken" in err


def test_download_without_names_takes_what_animating_needs(said, store, hub, tmp_path):
    publish(hub, tmp_path / "published")
    status, _, err = said("download", "--yes")
    assert status == 0, err
    assert {installed.name: installed.origin for installed in store.installed()} == dict.fromkeys(
        ["gvf-dit", "gvf-variation-vae", "gvf-static-vae", "gvf-statistics", "dinov2-vitl14-reg"], "official"
    )
    assert "states no licence" in err
    assert "All weights that animating needs are installed." in err
    hub.requests.clear()
    status, _, err = said("download")
    assert status == 0
    assert "gvf-dit (nano, official) is installed already" in err
    assert hub.requests == []


def test_download_of_weights_without_a_licence_needs_a_yes(said, store, hub, tmp_path, monkeypatch):
    publish(hub, tmp_path / "published")
    status, _, err = said("download", "gvf-statistics")
    assert status == 1
    assert "states no licence" in err
    assert "use --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, expected in (("n", 1), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda *_, answer=answer: answer)
        assert hub.requests == []
        assert said("download", "gvf-statistics")[0] == expected
    assert [installed.name for installed in store.installed()] == ["gvf-statistics"]


def test_download_of_weights_with_a_licence_asks_nothing(said, hub, slat_encoder):
    hub.files[f"microsoft/TRELLIS-image-large/ckpts/{SLAT_ENCODER_FILE}"] = slat_encoder.read_bytes()
    status, _, err = said("download", "trellis-slat-encoder")
    assert status == 0
    assert "licence" not in err


def test_download_fails_in_one_sentence(said, hub):
    status, _, err = said("download", "trellis-slat-encoder")
    assert status == 1
    assert err.startswith("Error: The hub has no microsoft/TRELLIS-image-large.")
    status, _, err = said("download", "--offline", "trellis-slat-encoder")
    assert status == 1
    assert "is not in the hub's cache" in err


def test_verify_says_ok_or_what_is_wrong_for_every_entry(said, store, tmp_path, slat_encoder):
    assert said("verify")[2] == "Nothing is installed.\n"
    store.install("trellis-slat-encoder", [slat_encoder])
    store.install("gvf-statistics", save_statistics(tmp_path))
    status, _, err = said("verify")
    assert status == 0
    assert "gvf-statistics: OK" in err and "trellis-slat-encoder: OK" in err
    os.truncate(store.weights_file("gvf-statistics"), 20)
    status, _, err = said("verify")
    assert status == 1
    assert "gvf-statistics: statistics.safetensors of gvf-statistics is not the file" in err
    assert "trellis-slat-encoder: OK" in err
    assert said("verify", "trellis-slat-encoder")[0] == 0
    assert said("verify", "gvf-dit")[0] == 1


def test_remove_names_what_it_removed(said, store, slat_encoder):
    store.install("trellis-slat-encoder", [slat_encoder])
    status, _, err = said("remove", "trellis-slat-encoder", "gvf-dit")
    assert status == 1
    assert f"Removed trellis-slat-encoder from {store.root}." in err
    assert "gvf-dit is not installed. Installed: nothing." in err
    assert store.installed() == []


@pytest.mark.parametrize("action", ["download", "verify", "remove"])
def test_an_unknown_name_stops_everything_before_it_starts(said, store, slat_encoder, action):
    store.install("trellis-slat-encoder", [slat_encoder])
    status, _, err = said(action, "trellis-slat-encoder", "../models")
    assert status == 1
    assert err.startswith("Error: There are no weights called '../models'. Known names: gvf-dit, ")
    assert store.find("trellis-slat-encoder") is not None
