"""Batches of prepared clips: every clip in turn, the same ones for the same step, damage told in a sentence."""

import io
import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from gvf_core.errors import FileFormatError, SettingsError
from gvf_core.rendering.camera import orbit_camera
from gvf_core.training.clip_loader import ClipLoader, SampleChoice, sample_clip
from gvf_core.training.clip_record import ClipRecord, ViewRole, write_clip

FRAMES, CANONICAL, TARGETS = 6, 5, 2


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 4), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def record(name: str) -> ClipRecord:
    """A clip whose points say their frame, and whose pictures their frame (of canonical ones: their number)."""
    frame = np.concatenate([np.zeros(CANONICAL), np.arange(FRAMES), np.repeat(np.arange(FRAMES), TARGETS)])
    role = np.repeat([ViewRole.CANONICAL, ViewRole.CONDITION, ViewRole.TARGET], [CANONICAL, FRAMES, FRAMES * TARGETS])
    shown = np.concatenate([np.arange(CANONICAL), 100 + frame[CANONICAL:]])
    return ClipRecord(
        name=name,
        family=name,
        category="thing",
        origin="asset",
        fps=24.0,
        points=np.tile(np.arange(FRAMES, dtype=np.float32)[:, None, None], (1, 7, 3)),
        vertices=np.zeros((3, 3), np.float32),
        triangles=np.array([[0, 1, 2]], np.int32),
        cameras=(orbit_camera(0.0, 10.0, size=8),) * len(frame),
        view_frame=frame.astype(np.int32),
        view_role=role.astype(np.int32),
        pngs=tuple(picture(int(value)) for value in shown),
    )


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        write_clip(tmp_path, record(f"clip-{index}"))
    return tmp_path


def drawn(loader: ClipLoader, start: int, count: int) -> list[list[tuple]]:
    batches = itertools.islice(loader.batches(start), count)
    return [[(sample.name, *sample.frame.tolist()) for sample in batch] for batch in batches]


def test_every_clip_comes_once_before_any_comes_twice(folder):
    names = [name for batch in drawn(ClipLoader(folder, 2, workers=0), 0, 10) for name, *_ in batch]
    for epoch in (names[place : place + 5] for place in range(0, 20, 5)):
        assert Counter(epoch) == Counter(f"clip-{index}" for index in range(5))
    assert names[:5] != names[5:10]


def test_a_training_that_resumes_gets_the_batches_it_would_have_got(folder):
    loader = ClipLoader(folder, 3, seed=7, workers=0)
    assert drawn(loader, 4, 3) == drawn(loader, 0, 7)[4:]
    assert drawn(ClipLoader(folder, 3, seed=8, workers=0), 0, 4) != drawn(loader, 0, 4)


def test_workers_make_no_difference_and_leave_the_global_generator_alone(folder):
    alone = drawn(ClipLoader(folder, 2, seed=1, workers=0), 3, 4)
    before = torch.get_rng_state()
    assert drawn(ClipLoader(folder, 2, seed=1, workers=2), 3, 4) == alone
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sample_holds_what_was_asked_for():
    sample = sample_clip(record("one"), SampleChoice(frames=3, canonical=2, targets=5), np.random.default_rng(0))
    assert len(set(sample.frame.tolist())) == 3 and (np.diff(sample.frame) > 0).all()
    np.testing.assert_array_equal(sample.points[:, 0, 0], sample.frame)
    assert (sample.rest == 0).all()
    assert len({int(view.rgba[0, 0, 0]) for view in sample.canonical}) == 2
    assert [int(view.rgba[0, 0, 0]) for view in sample.condition] == [100 + frame for frame in sample.frame]
    for frame, views in zip(sample.frame, sample.targets, strict=True):
        assert [int(view.rgba[0, 0, 0]) for view in views] == [100 + frame] * TARGETS


def test_nothing_is_decoded_that_was_not_asked_for():
    choice = SampleChoice(frames=0, canonical=0, condition=False, targets=0)
    sample = sample_clip(record("one"), choice, np.random.default_rng(0))
    assert len(sample.points) == FRAMES
    assert sample.canonical == sample.condition == () and sample.targets == ((),) * FRAMES


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_is_one_sentence(folder, workers):
    (folder / "clip-0.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"^clip-0\.safetensors is not a readable"):
        drawn(ClipLoader(folder, 5, workers=workers), 0, 1)


def test_an_empty_folder_and_an_empty_batch_are_refused(folder, tmp_path_factory):
    with pytest.raises(FileFormatError, match="gvf train prepare"):
        ClipLoader(tmp_path_factory.mktemp("empty"), 2)
    with pytest.raises(SettingsError, match="batch is 0"):
        ClipLoader(folder, 0)
    with pytest.raises(SettingsError, match="frames of a sample is -1"):
        SampleChoice(frames=-1)
