"""A folder of prepared clips keeps what is done, splits by family for good, and goes on where it stopped."""

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gvf_core.errors import Cancelled, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training import preparation_run
from gvf_core.training.clip_motion import Refusal, RefusalKind, Signature, signature
from gvf_core.training.clip_preparation import ClipOutcome
from gvf_core.training.clip_record import ClipRecord, ViewRole, read_clip, write_clip
from gvf_core.training.preparation_report import write_report
from gvf_core.training.preparation_run import prepare_clips
from gvf_core.training.preparation_settings import PreparationSettings

SETTINGS = PreparationSettings(views=2, size=16)
FAMILIES = ("cats", "dogs", "fish", "birds")


@pytest.fixture
def assets(tmp_path) -> list[AnimatedAsset]:
    """Two of each of four families of one category."""
    found = []
    for family in FAMILIES:
        for index in range(2):
            path = tmp_path / f"{family}{index}.glb"
            path.write_text(path.stem)
            found.append(AnimatedAsset(path, path.stem, family, "animal"))
    return found


def walk(asset: AnimatedAsset) -> ClipRecord:
    """A clip that tells the asset's contents as its category."""
    file = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(file, "PNG")
    return ClipRecord(
        name=f"{asset.name}-walk",
        family=asset.family,
        category=asset.path.read_text(),
        origin="asset",
        fps=24.0,
        points=np.random.default_rng(len(asset.name)).normal(size=(2, 9, 3)).astype(np.float32),
        vertices=np.zeros((3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        cameras=(orbit_camera(0.0, 0.0, size=8),) * 3,
        view_frame=np.array([0, 0, 1], np.int32),
        view_role=np.array([ViewRole.CANONICAL, ViewRole.CONDITION, ViewRole.CONDITION], np.int32),
        pngs=(file.getvalue(),) * 3,
    )


class Studio:
    """Stands for Blender: what is asked of it, and one file for each asset."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.relatives: dict[str, dict[str, Signature]] = {}
        self.lock = threading.Lock()
        self.fail: Exception | None = None

    def __call__(self, asset, settings, folder: Path, relatives, *, threads, cancelled, on_progress=None):
        with self.lock:
            self.asked.append(asset.name)
            self.relatives[asset.name] = dict(relatives)
        if self.fail is not None:
            raise self.fail
        write_clip(folder, walk(asset))
        return [
            ClipOutcome("walk", name=f"{asset.name}-walk", motion=0.1, pictures=3),
            ClipOutcome("wait", refused=Refusal(RefusalKind.STILL, "It waits.")),
        ]


@pytest.fixture
def studio(monkeypatch) -> Studio:
    made = Studio()
    monkeypatch.setattr(preparation_run, "prepare_asset", made)
    return made


def clip_files(folder: Path) -> dict[str, str]:
    """Split by file."""
    return {path.name: path.parent.name for path in folder.glob("t*/*.safetensors")}


def test_families_are_never_on_both_sides_of_the_split(assets, studio, tmp_path):
    outcomes = prepare_clips(assets, SETTINGS, tmp_path / "out", jobs=2)
    assert [outcome.asset for outcome in outcomes] == [asset.name for asset in assets]
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert sorted(split.values()) == ["test", "train", "train", "train"]
    files = clip_files(tmp_path / "out")
    assert len(files) == 8
    for asset in assets:
        assert files[f"{asset.name}-walk.safetensors"] == split[asset.family]


def test_relatives_are_known_in_a_fixed_order(assets, studio, tmp_path):
    prepare_clips(assets[::-1], SETTINGS, tmp_path / "out", jobs=3)
    assert not studio.relatives["cats0"] and list(studio.relatives["cats1"]) == ["cats0: walk"]
    assert studio.relatives["cats1"]["cats0: walk"].matches(signature(walk(assets[0]).points))


def test_a_second_call_does_only_what_is_missing(assets, studio, tmp_path):
    first = prepare_clips(assets, SETTINGS, tmp_path / "out", limit=3)
    assert len(studio.asked) == 3
    studio.asked.clear()
    told = []
    again = prepare_clips(assets, SETTINGS, tmp_path / "out", on_asset=told.append)
    assert studio.asked == [asset.name for asset in assets[3:]]
    assert sorted(outcome.asset for outcome in told) == sorted(asset.name for asset in assets)
    assert again[:3] == first
    assert studio.relatives["dogs1"]


def test_an_asset_that_changed_or_lost_a_clip_is_prepared_anew(assets, studio, tmp_path):
    prepare_clips(assets, SETTINGS, tmp_path / "out")
    studio.asked.clear()
    assets[0].path.write_text("another cat")
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    lost = tmp_path / "out" / split["fish"] / "fish1-walk.safetensors"
    lost.unlink()
    cut = tmp_path / "out" / split["dogs"] / "dogs1-walk.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    (state,) = (tmp_path / "out" / "assets").glob("birds1-*")
    state.write_text("{")
    prepare_clips(assets, SETTINGS, tmp_path / "out")
    assert studio.asked == ["cats0", "dogs1", "fish1", "birds1"]
    assert lost.is_file() and read_clip(cut).family == "dogs"
    assert read_clip(tmp_path / "out" / split["cats"] / "cats0-walk.safetensors").category == "another cat"


def test_a_family_keeps_its_side_when_others_come(assets, studio, tmp_path):
    few = [asset for asset in assets if asset.family in ("cats", "dogs")]
    prepare_clips(few, SETTINGS, tmp_path / "out")
    before = json.loads((tmp_path / "out" / "split.json").read_text())
    prepare_clips(assets, SETTINGS, tmp_path / "out")
    after = json.loads((tmp_path / "out" / "split.json").read_text())
    assert {family: after[family] for family in before} == before and set(after) == set(FAMILIES)


def test_other_settings_in_the_same_folder_are_refused(assets, studio, tmp_path):
    prepare_clips(assets, SETTINGS, tmp_path / "out", limit=1)
    with pytest.raises(SettingsError, match="views 2 instead of 3"):
        prepare_clips(assets, PreparationSettings(views=3, size=16), tmp_path / "out")


def test_a_folder_from_before_a_setting_existed_goes_on(assets, studio, tmp_path):
    prepare_clips(assets, SETTINGS, tmp_path / "out", limit=1)
    path = tmp_path / "out" / "settings.json"
    stored = json.loads(path.read_text())
    del stored["keep_vertices"]
    path.write_text(json.dumps(stored))
    assert len(prepare_clips(assets, SETTINGS, tmp_path / "out")) == 8


def test_an_error_of_the_machine_stops_all(assets, studio, tmp_path):
    studio.fail = SettingsError("There is no Blender.")
    with pytest.raises(SettingsError, match="no Blender"):
        prepare_clips(assets, SETTINGS, tmp_path / "out")
    assert len(studio.asked) == 1
    studio.fail = None
    assert len(prepare_clips(assets, SETTINGS, tmp_path / "out")) == 8


def test_what_is_done_is_kept_when_it_is_cancelled(assets, studio, tmp_path):
    with pytest.raises(Cancelled):
        prepare_clips(assets, SETTINGS, tmp_path / "out", cancelled=lambda: len(studio.asked) >= 2)
    done = set(studio.asked)
    studio.asked.clear()
    prepare_clips(assets, SETTINGS, tmp_path / "out")
    assert done.isdisjoint(studio.asked) and len(done) + len(studio.asked) == 8


def test_clips_below_the_least_aesthetic_score_are_left_out_and_are_no_relatives(assets, studio, tmp_path):
    scores = {asset.name: 5.0 if asset.name == "cats0" else 6.0 for asset in assets}
    settings = PreparationSettings(views=2, size=16, aesthetic=5.5)

    def score(record: ClipRecord) -> float:
        return scores[record.category]

    outcomes = prepare_clips(assets, settings, tmp_path / "out", score=score)
    assert len(clip_files(tmp_path / "out")) == 7 and not studio.relatives["cats1"]
    walks = {outcome.asset: outcome.clips[0] for outcome in outcomes}
    assert walks["cats0"].refused == Refusal(RefusalKind.PLAIN, "Its score is 5.00; 5.5 is the least.")
    assert walks["cats1"].aesthetic == 6 and walks["cats1"].name
    figures = write_report(tmp_path / "out", outcomes, settings)
    assert not figures["filters_left_out"] and figures["reasons"]["low aesthetic score"] == 1
    studio.asked.clear()
    scores.clear()
    assert prepare_clips(assets, settings, tmp_path / "out", score=score) == outcomes
    assert not studio.asked


def test_clips_from_before_the_predictor_was_installed_are_scored_without_blender(assets, studio, tmp_path):
    settings = PreparationSettings(views=2, size=16, aesthetic=5.5)
    outcomes = prepare_clips(assets, settings, tmp_path / "out")
    assert len(clip_files(tmp_path / "out")) == 8
    assert "clip-vit-l14" in write_report(tmp_path / "out", outcomes, settings)["filters_left_out"][0]
    studio.asked.clear()
    prepare_clips(assets, settings, tmp_path / "out", score=lambda record: 9.0 if record.category[-1] == "1" else 1.0)
    assert sorted(name.split("-")[0] for name in clip_files(tmp_path / "out")) == [f"{f}1" for f in sorted(FAMILIES)]
    # The second of a family had been compared with the first, which is gone.
    assert studio.asked == [f"{family}1" for family in FAMILIES]


@pytest.mark.parametrize(("name", "value"), [("frames", 1), ("views", 0), ("size", 8), ("fov", 180.0), ("clips", -1)])
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(SettingsError, match=f"--{name} is {value}"):
        PreparationSettings(**{name: value})
