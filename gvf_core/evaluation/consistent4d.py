"""The protocol "consistent4d": results beside the truth of Consistent4D's test set, or of anything laid out alike.

Jiang et al., "Consistent4D", ICLR 2024. Relied on are its readme and evaluation scripts: `OBJECT/eval_0` to `eval_3`
hold pictures `0.png`, `1.png`, ... on both sides, laid over white, compared at 512 x 512 pixels; and what its authors
say of the cameras (issue 12): the driving video is at azimuth 0, the views are at -75, 15, 105 and 195 degrees, else
unchanged.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

import gvf_core
from gvf_core.errors import FileFormatError, GvfError
from gvf_core.evaluation.animation_tracks import AnimationTracks, load_tracks
from gvf_core.evaluation.contact_sheet import SheetRow, sheet_frames, write_sheet
from gvf_core.evaluation.judges import installed_judges
from gvf_core.evaluation.picture_scores import SCORES, SCRIPT_SCORES, save_words, score_views
from gvf_core.evaluation.side_pictures import side_pictures
from gvf_core.models.record import sha256_of

ASIDE = (-75.0, 15.0, 105.0, 195.0)
"""Degrees of azimuth of `eval_0` to `eval_3` from the driving video."""
SIDE = 512
VIEWS = tuple(f"eval_{index}" for index in range(len(ASIDE)))
_ANIMATION = ".safetensors"

Video = UInt8[np.ndarray, "frames 3 height width"]


@dataclass(frozen=True)
class ObjectTask:
    """One object to compare.

    Attributes:
        name: Of its folder.
        truth: Folder with the views.
        result: Folder with the views, or an animation file; nothing may be there.
        folder: Where to keep figures, words of I3D and the sheet.
        judges: What tells the networks apart that compare.
    """

    name: str
    truth: Path
    result: Path
    folder: Path
    judges: str

    @property
    def slug(self) -> str:
        """Name of its files."""
        readable = "".join(char if char.isalnum() else "-" for char in self.name)[:80]
        return f"{readable}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"

    @property
    def row_file(self) -> Path:
        """Where the figures are kept."""
        return self.folder / "objects" / f"{self.slug}.json"

    @property
    def words_file(self) -> Path:
        """Where what I3D says of the videos is kept."""
        return self.folder / "objects" / f"{self.slug}.videos.safetensors"

    def key(self) -> str:
        """What the figures depend on: all bytes of both sides, the networks, and this version."""
        digest = hashlib.sha256(json.dumps([gvf_core.__version__, self.judges]).encode())
        for side in (self.truth, self.result):
            for path in sorted(side.rglob("*")) if side.is_dir() else [side]:
                if path.is_file():
                    digest.update(f"\0{path.relative_to(side.parent)}\0".encode())
                    digest.update(bytes.fromhex(sha256_of(path)))
        return digest.hexdigest()

    def kept(self) -> dict[str, Any] | None:
        """The figures of an earlier run."""
        try:
            stored = json.loads(self.row_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stored["row"] if isinstance(stored, dict) and stored.get("key") == self.key() else None

    def is_measured(self) -> bool:
        """Whether there are figures; what failed is tried again."""
        row = self.kept()
        return row is not None and "failure" not in row

    def forget(self) -> None:
        """Remove what is kept, so that a run that is stopped leaves no mixture of old and new."""
        self.row_file.unlink(missing_ok=True)
        self.words_file.unlink(missing_ok=True)


def find_objects(truth: Path, results: Path, folder: Path, judges: str) -> list[ObjectTask]:
    """Pair the objects of the ground truth with their results.

    Args:
        truth: Folder of folders with the views.
        results: Folder of such folders, or of animation files `OBJECT.safetensors`.
        folder: Where to keep what comes out.
        judges: What tells the networks apart that compare.

    Raises:
        FileFormatError: There is no object, or none has a result.
    """
    names = sorted({path.parent.name for view in VIEWS for path in truth.glob(f"*/{view}") if path.is_dir()})
    if not names:
        raise FileFormatError(
            f"{truth} holds no folders OBJECT/{VIEWS[0]}.", "docs/evaluation.md describes the layout."
        )
    tasks = []
    for name in names:
        places = (results / name, results / f"{name}{_ANIMATION}")
        place = next((one for one in places if one.exists()), places[0])
        tasks.append(ObjectTask(name, truth / name, place, folder, judges))
    if not any(task.result.exists() for task in tasks):
        raise _no_result(tasks[0])
    return tasks


def evaluate_object(task: ObjectTask) -> None:
    """Compare one object and keep its figures; what cannot be read is kept as a failure."""
    torch.set_num_threads(1)
    row: dict[str, Any] = {"object": task.name, "result": task.result.name}
    task.forget()
    try:
        row |= _scored(task)
    except GvfError as error:
        row |= {"failure": str(error)}
    partial = task.row_file.with_suffix(".partial")
    partial.write_text(json.dumps({"key": task.key(), "row": row}, indent=2) + "\n", encoding="utf-8")
    partial.replace(task.row_file)


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """The pictures of one view by their numbers, in order.

    Raises:
        FileFormatError: There are none, they are not called by numbers, or a number is there twice.
    """
    files = [path for path in folder.glob("*.png") if not path.name.startswith(".")]
    if not files:
        raise FileFormatError(f"{folder} holds no PNG files.", "docs/evaluation.md describes the layout.")
    if wrong := [path.name for path in files if not path.stem.isdecimal()]:
        raise FileFormatError(f"{wrong[0]} in {folder} is not called by a number.", "Call pictures 0.png, 1.png, ...")
    numbered = dict(sorted((int(path.stem), path) for path in files))
    if len(numbered) < len(files):
        twice = next(path for path in files if path not in numbered.values())
        raise FileFormatError(
            f"{twice.name} in {folder} has the number of {numbered[int(twice.stem)].name}.", "Remove one of them."
        )
    return numbered


def read_view(folder: Path) -> Video:
    """The pictures of one view, in the order of their numbers, over white, 512 x 512 pixels.

    Raises:
        FileFormatError: As `numbered_pictures`; or a picture cannot be read.
    """
    return np.stack([_read_picture(path) for path in numbered_pictures(folder).values()])


def _scored(task: ObjectTask) -> dict[str, Any]:
    if not task.result.exists():
        raise _no_result(task)
    if task.result.is_dir():
        _check_numbers(task)
    judges = installed_judges()
    truth = [read_view(task.truth / view) for view in VIEWS]
    if task.result.is_dir():
        found = [read_view(task.result / view) for view in VIEWS]
    else:
        found = _drawn(load_tracks(task.result))
    for view, ours, theirs in zip(VIEWS, found, truth, strict=True):
        if len(ours) != len(theirs):
            raise FileFormatError(
                f"{view} of the result {task.name} has {len(ours)} frames, the truth {len(theirs)}.",
                "Compare equally many.",
            )
    pairs = ((_numbers(ours), _numbers(theirs)) for ours, theirs in zip(found, truth, strict=True))
    scores = score_views(pairs, judges, (*SCORES, *SCRIPT_SCORES))
    if scores.words is not None:
        save_words(task.words_file, scores.words)
    _sheet(task, found, truth)
    return {"frames": len(truth[0]), **scores.as_row(), "weights": dict(judges.weights)}


def _no_result(task: ObjectTask) -> FileFormatError:
    return FileFormatError(
        f"There is no result for {task.name} in {task.result.parent}.",
        f"It is called {task.name}/ or {task.name}{_ANIMATION}.",
    )


def _check_numbers(task: ObjectTask) -> None:
    """Equally many pictures may still lack different ones; only where numbers begin is of no matter.

    Raises:
        FileFormatError: One lies beside another than its own.
    """
    for view in VIEWS:
        ours, theirs = (list(numbered_pictures(side / view)) for side in (task.result, task.truth))
        if len(ours) == len(theirs) and [one - ours[0] for one in ours] != [one - theirs[0] for one in theirs]:
            raise FileFormatError(
                f"The pictures in {view} of the result {task.name} have other numbers than those of the truth.",
                "Look for one that is missing.",
            )


def _drawn(tracks: AnimationTracks) -> list[Video]:
    cameras = [tracks.camera(aside, SIDE, SIDE) for aside in ASIDE]
    return [side_pictures(tracks.splats, camera, tracks.frames) for camera in cameras]


def _read_picture(path: Path) -> UInt8[np.ndarray, "3 height width"]:
    try:
        with Image.open(path, formats=["PNG"]) as file:
            # Of grey with 16 bits Pillow makes white where it is lighter than 255 of 65,535; of colours, the upper 8.
            deep = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)) if file.mode[0] == "I" else file
            picture = deep.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileFormatError(f"{path} cannot be read ({error}).", "Fetch or render it again.") from error
    flat = Image.new("RGBA", picture.size, "white")
    flat.alpha_composite(picture)
    return np.moveaxis(np.asarray(flat.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)), -1, 0)


def _sheet(task: ObjectTask, found: list[Video], truth: list[Video]) -> None:
    shown = sheet_frames(len(truth[0]))
    rows = []
    for view, ours, theirs in zip(VIEWS, found, truth, strict=True):
        rows += [
            SheetRow(f"{view}, {who}", [np.moveaxis(side[index], 0, -1) for index in shown])
            for who, side in (("result", ours), ("truth", theirs))
        ]
    frames = ", ".join(str(index) for index in shown)
    write_sheet(task.folder / "sheets" / f"{task.slug}.png", f"{task.name}   frames {frames}", rows)


def _numbers(video: Video) -> Float[torch.Tensor, "frames 3 height width"]:
    return torch.from_numpy(video).float() / 255
