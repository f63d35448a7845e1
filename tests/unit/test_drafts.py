"""Files take the place of earlier ones whole, and nothing of the artist's is lost on the way."""

import errno
from pathlib import Path

import pytest

from gvf_blender.core.drafts import drafts_of
from gvf_blender.core.errors import FileError


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"a_{number}.ply" for number in range(3)]
    for path in paths:
        path.write_bytes(b"earlier")
    return paths


def write(paths):
    with drafts_of(paths) as drafts:
        for draft in drafts:
            draft.write_bytes(b"new")


def test_files_take_the_place_of_earlier_ones(paths, tmp_path):
    write(paths)
    assert sorted(tmp_path.iterdir()) == paths
    assert {path.read_bytes() for path in paths} == {b"new"}


def test_what_fails_half_way_leaves_the_earlier_ones(paths, tmp_path, monkeypatch):
    replace, calls = Path.replace, []

    def fails_once(path, target):
        calls.append(target)
        if len(calls) == 4:
            raise PermissionError(errno.EACCES, "It is open")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fails_once)
    with pytest.raises(FileError, match="could not be replaced"):
        write(paths)
    assert sorted(tmp_path.iterdir()) == paths
    assert {path.read_bytes() for path in paths} == {b"earlier"}


def test_an_earlier_file_that_cannot_be_put_back_is_kept_and_named(paths, tmp_path, monkeypatch):
    replace = Path.replace

    def locked(path, target):
        if Path(target) in paths:
            raise PermissionError(errno.EACCES, "It is open")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", locked)
    with pytest.raises(FileError, match=r"could not be put back \(It is open\)") as caught:
        write(paths)
    (kept,) = tmp_path.rglob("*.earlier")
    assert str(kept) in caught.value.message and kept.read_bytes() == b"earlier"
    assert [path.read_bytes() for path in paths if path.exists()] == [b"earlier"] * 2
