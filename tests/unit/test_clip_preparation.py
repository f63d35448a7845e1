"""Which clips of an asset are chosen, and what is told of the others; a stand-in answers for Blender."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from gvf_core.blender.assets import ClipName
from gvf_core.errors import BlenderError, FileNotWrittenError, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset
from gvf_core.evaluation.clip_file import AssetClip
from gvf_core.training import clip_preparation
from gvf_core.training.clip_motion import RefusalKind
from gvf_core.training.clip_preparation import clip_file_name, prepare_asset
from gvf_core.training.clip_record import read_clip
from gvf_core.training.preparation_settings import PreparationSettings

ASSET = AnimatedAsset(Path("fox.glb"), "fox", "foxes", "animal")
SETTINGS = PreparationSettings(frames=6, views=2, targets=1, size=16)
WINDOW = 5 / 24


def picture(alpha: int = 255) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16, 4), alpha, np.uint8)).save(file, "PNG")
    return file.getvalue()


def turning(amount: float) -> tuple[np.ndarray, np.ndarray]:
    """A long body that turns by an angle in each frame, and its triangles."""
    sphere = trimesh.creation.icosphere(2)
    rest = np.asarray(sphere.vertices) * (0.5, 0.1, 0.1)
    frames = [rest @ trimesh.transformations.rotation_matrix(amount * i, [0, 0, 1])[:3, :3].T for i in range(6)]
    return np.stack(frames).astype(np.float32), np.asarray(sphere.faces, np.int32)


@dataclass
class StandIn:
    """A Blender that has clips of given lengths which turn by given amounts, of the beginning and of the whole."""

    clips: dict[str, tuple[float, float, float]]
    answer: tuple[bytes, ...] | str | Exception | None = None
    read: list[tuple[str, float]] = field(default_factory=list)
    filmed: list[str] = field(default_factory=list)

    def list_clips(self, asset, **_):
        return tuple(ClipName(name, seconds, 24.0) for name, (seconds, _, _) in self.clips.items())

    def read_clips(self, asset, outputs, *, frames, seconds, **_):
        self.read += [(name, seconds) for name in outputs]
        self.paths = {path: (name, seconds) for name, path in outputs.items()}
        return {name: "Its topology changes." for name in outputs if name == "Melt"}

    def load_clip(self, path):
        name, seconds = self.paths[path]
        vertices, triangles = turning(self.clips[name][1 if seconds else 2])
        ids = np.zeros(vertices.shape[1], np.int32)
        return AssetClip("fox.glb", name, vertices, triangles, ids, ("Fox",), np.eye(4), 24.0)

    def film_asset(self, asset, films, **_):
        self.filmed += [film.clip for film in films]
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer or (picture(),) * len(film.cameras) for film in films]


@pytest.fixture
def stand_in(monkeypatch):
    def install(**clips: tuple[float, float, float]) -> StandIn:
        blender = StandIn(clips)
        for name in ("list_clips", "read_clips", "load_clip", "film_asset"):
            monkeypatch.setattr(clip_preparation, name, getattr(blender, name))
        return blender

    return install


def kinds(outcomes) -> dict[str, RefusalKind | None]:
    return {outcome.clip: outcome.refused.kind if outcome.refused else None for outcome in outcomes}


def test_clips_that_move_are_written_and_the_others_are_told(stand_in, tmp_path):
    blender = stand_in(Run=(1, 0.1, 0), Sleep=(1, 0, 0), Blink=(0.4, 0.1, 0), Melt=(1, 0.1, 0))
    outcomes = prepare_asset(ASSET, SETTINGS, tmp_path, [])
    assert kinds(outcomes) == {
        "Run": None, "Sleep": RefusalKind.STILL, "Blink": RefusalKind.SHORT, "Melt": RefusalKind.UNREADABLE,
    }  # fmt: skip
    assert blender.filmed == ["Run"]
    (path,) = tmp_path.iterdir()
    record = read_clip(path)
    assert (record.family, record.category, record.origin, record.fps) == ("foxes", "animal", "asset", 24.0)
    assert len(record.pngs) == 2 + 6 + 6 and path.stem == clip_file_name("fox", "Run")


def test_a_slow_clip_is_read_again_as_a_whole(stand_in, tmp_path):
    blender = stand_in(Grow=(9, 0.001, 0.05), Walk=(9, 0.1, 0.2), Short=(0.5, 0.001, 0.05))
    outcomes = prepare_asset(ASSET, PreparationSettings(frames=6, views=1, targets=0, size=16), tmp_path, [])
    assert sorted(blender.read) == [
        ("Grow", 0.0),
        ("Grow", WINDOW),
        ("Short", 0.0),
        ("Short", WINDOW),
        ("Walk", WINDOW),
    ]
    assert kinds(outcomes)["Grow"] is None


def test_the_stride_makes_the_window_longer(stand_in, tmp_path):
    blender = stand_in(Walk=(9, 0.1, 0.2))
    prepare_asset(ASSET, PreparationSettings(frames=6, stride=3, views=1, targets=0, size=16), tmp_path, [])
    assert blender.read == [("Walk", pytest.approx(3 * WINDOW))]


def test_the_same_motion_under_two_names_is_kept_once(stand_in, tmp_path):
    blender = stand_in(Run=(1, 0.1, 0), Copy=(1, 0.1, 0), Other=(1, 0.2, 0))
    first = prepare_asset(ASSET, SETTINGS, tmp_path, [])
    assert sorted(str(kind) for kind in kinds(first).values()) == ["None", "None", "duplicate in its family"]
    known = [(outcome.clip, outcome.signature) for outcome in first if outcome.signature is not None]
    blender.filmed.clear()
    again = prepare_asset(AnimatedAsset(Path("twin.glb"), "twin", "foxes"), SETTINGS, tmp_path, known)
    assert set(kinds(again).values()) == {RefusalKind.DUPLICATE} and not blender.filmed


def test_so_many_clips_of_an_asset_are_drawn_by_the_seed(stand_in, tmp_path):
    clips = {f"Clip{index}": (1, 0.05 + 0.03 * index, 0) for index in range(6)}
    chosen = []
    for seed in (0, 0, 1, 2, 3):
        blender = stand_in(**clips)
        settings = PreparationSettings(frames=6, views=1, targets=0, size=16, clips=2, seed=seed)
        assert len(prepare_asset(ASSET, settings, tmp_path, [])) == 2
        chosen.append(tuple(blender.filmed))
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [((picture(0),) * 14, RefusalKind.INVISIBLE), ("Its vertices do not fit.", RefusalKind.UNREADABLE)],
)
def test_a_clip_that_cannot_be_filmed_is_told(stand_in, tmp_path, answer, kind):
    stand_in(Run=(1, 0.1, 0)).answer = answer
    (outcome,) = prepare_asset(ASSET, SETTINGS, tmp_path, [])
    assert outcome.refused.kind == kind and not list(tmp_path.iterdir())


def test_a_crash_of_blender_costs_the_asset_and_no_blender_at_all_costs_the_run(stand_in, tmp_path):
    blender = stand_in(Run=(1, 0.1, 0))
    blender.answer = BlenderError("Blender broke down.")
    (outcome,) = prepare_asset(ASSET, SETTINGS, tmp_path, [])
    assert (outcome.clip, outcome.refused.sentence) == ("", "Blender broke down.")
    blender.answer = SettingsError("There is no Blender.")
    with pytest.raises(SettingsError):
        prepare_asset(ASSET, SETTINGS, tmp_path, [])


def test_a_clip_that_cannot_be_written_stops_the_run(stand_in, tmp_path):
    stand_in(Run=(1, 0.1, 0))
    with pytest.raises(FileNotWrittenError, match="could not be written"):
        prepare_asset(ASSET, SETTINGS, tmp_path / "nowhere", [])


def test_a_file_in_which_nothing_moves_is_told(stand_in, tmp_path):
    stand_in()
    (outcome,) = prepare_asset(ASSET, SETTINGS, tmp_path, [])
    assert outcome.refused.sentence == "Nothing in the file moves."


def test_names_of_files_are_readable_and_never_the_same():
    names = {clip_file_name(*pair) for pair in (("fox", "a|b"), ("fox", "a/b"), ("fox a", "b"), ("fox", "ä" * 200))}
    assert len(names) == 4 and all(name.isascii() and len(name) < 100 and "/" not in name for name in names)
