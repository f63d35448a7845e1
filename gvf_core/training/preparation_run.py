"""A folder of clips to train on, prepared asset by asset: what is done is kept, and a second call goes on.

settings.json   what the clips were made with; another call with other settings is refused
split.json      "train" or "test" of every family, which it keeps when assets are added
assets/         one file for each asset that is done: what became of its clips
train/, test/   one file for each clip, `gvf_core.training.clip_record`
"""

import dataclasses
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gvf_core.errors import Cancelled, FileNotWrittenError, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset
from gvf_core.training.clip_motion import Refusal, RefusalKind
from gvf_core.training.clip_preparation import (
    UNKNOWN_CATEGORY,
    ClipOutcome,
    Signature,
    clip_file_name,
    prepare_asset,
)
from gvf_core.training.motion_clips import held_out_families
from gvf_core.training.preparation_settings import PreparationSettings

REVISION = 1
"""Of what is made of an asset; another one makes it anew."""
SPLITS = ("train", "test")
_WAIT_SECONDS = 0.2

Split = Literal["train", "test"]
OnAsset = Callable[["AssetOutcome"], None]


@dataclass(frozen=True)
class AssetOutcome:
    """What became of an asset.

    Attributes:
        asset: Its name.
        family: By which the split goes.
        category: What kind of thing it is.
        split: Where its clips are.
        seconds: What it took.
        clips: What became of each clip.
    """

    asset: str
    family: str
    category: str
    split: Split
    seconds: float
    clips: tuple[ClipOutcome, ...]


def prepare_clips(
    assets: Sequence[AnimatedAsset],
    settings: PreparationSettings,
    folder: Path,
    *,
    limit: int | None = None,
    jobs: int = 1,
    on_asset: OnAsset = lambda outcome: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[AssetOutcome]:
    """Prepare assets side by side, each with a Blender process of its own; those of one family after the other.

    Args:
        assets: All there are: the split is made of them. In the order in which they are to be prepared.
        settings: What to make of each.
        folder: Where to write.
        limit: Prepare only so many.
        jobs: Assets at the same time.
        on_asset: Called when an asset is done, also if it was before, in any thread but one at a time.
        cancelled: Asked ten times a second.

    Returns:
        By the order of `assets`.

    Raises:
        SettingsError: The folder was begun with other settings, or there is no Blender.
        FileNotWrittenError: For example because the disk is full.
        Cancelled: `cancelled` returned True; what is done is kept.
    """
    prepared = _Folder(folder, settings, assets)
    families: dict[str, list[AnimatedAsset]] = {}
    for asset in assets[:limit]:
        families.setdefault(asset.family, []).append(asset)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    stop, lock = threading.Event(), threading.Lock()

    def tell(outcome: AssetOutcome) -> None:
        with lock:
            on_asset(outcome)

    def of_family(members: Sequence[AnimatedAsset]) -> list[AssetOutcome]:
        return prepared.prepare_family(members, threads, tell, stop.is_set)

    with ThreadPoolExecutor(jobs, "prepare") as pool:
        futures = [pool.submit(of_family, members) for members in families.values()]
        try:
            _wait_for(futures, cancelled)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    outcomes = {outcome.asset: outcome for future in futures for outcome in future.result()}
    return [outcomes[asset.name] for asset in assets[:limit]]


def _wait_for(futures: Iterable[Future[list[AssetOutcome]]], cancelled: Callable[[], bool]) -> None:
    """Until all are done, or one failed, whose error is raised."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        if cancelled():
            raise Cancelled()


class _Folder:
    """What is in the folder, and what is to be."""

    def __init__(self, path: Path, settings: PreparationSettings, assets: Sequence[AnimatedAsset]) -> None:
        self._path, self._settings = path, settings
        try:
            for name in ("assets", *SPLITS):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{path} cannot be written to ({error}).", "Choose another folder.") from error
        self._check_settings()
        self._split = self._split_of(assets)

    def prepare_family(
        self,
        members: Sequence[AnimatedAsset],
        threads: int,
        on_asset: OnAsset,
        cancelled: Callable[[], bool],
    ) -> list[AssetOutcome]:
        """Of one family; a clip that an earlier asset has already is a duplicate."""
        outcomes: list[AssetOutcome] = []
        relatives: list[tuple[str, Signature]] = []
        for asset in sorted(members, key=lambda one: one.name):
            outcome = self._prepare(asset, relatives, threads, cancelled)
            for clip in outcome.clips:
                if clip.signature is not None:
                    relatives.append((f"{asset.name}: {clip.clip}", clip.signature))
            outcomes.append(outcome)
            on_asset(outcome)
        return outcomes

    def _prepare(
        self,
        asset: AnimatedAsset,
        relatives: Sequence[tuple[str, Signature]],
        threads: int,
        cancelled: Callable[[], bool],
    ) -> AssetOutcome:
        state, split = self._path / "assets" / f"{clip_file_name(asset.name, '')}.json", self._split[asset.family]
        key = _key(asset, relatives)
        kept = _read_state(state)
        if kept is not None:
            stored, outcome = kept
            if stored == key and all((self._path / split / f).is_file() for f in _files(outcome)):
                return outcome
            for file in _files(outcome):
                (self._path / outcome.split / file).unlink(missing_ok=True)
            state.unlink()
        if cancelled():
            raise Cancelled()
        start = time.perf_counter()
        clips = prepare_asset(
            asset, self._settings, self._path / split, relatives, threads=threads, cancelled=cancelled
        )
        seconds = time.perf_counter() - start
        category = asset.category or UNKNOWN_CATEGORY
        outcome = AssetOutcome(asset.name, asset.family, category, split, seconds, tuple(clips))
        _write_json(state, {"key": key, **_as_json(outcome)})
        return outcome

    def _check_settings(self) -> None:
        path = self._path / "settings.json"
        ours = {"revision": REVISION, **dataclasses.asdict(self._settings)}
        theirs = _read_json(path)
        if theirs is None:
            _write_json(path, ours)
            return
        # A setting that was not there yet when the folder was begun had the effect of its default.
        theirs = {**dataclasses.asdict(PreparationSettings()), **theirs}
        differing = [name for name in ours if theirs.get(name) != ours[name]]
        if differing:
            told = ", ".join(f"{name} {theirs.get(name)} instead of {ours[name]}" for name in differing)
            raise SettingsError(
                f"The clips in {self._path} are prepared with other settings ({told}).",
                "Give the same options again, or choose another folder.",
            )

    def _split_of(self, assets: Sequence[AnimatedAsset]) -> dict[str, Split]:
        path = self._path / "split.json"
        kept = _read_json(path) or {}
        held_out = held_out_families((asset.category, asset.family) for asset in assets)
        split: dict[str, Split] = {
            asset.family: kept.get(asset.family) or ("test" if asset.family in held_out else "train")
            for asset in assets
        }
        _write_json(path, dict(sorted({**kept, **split}.items())))
        return split


def _key(asset: AnimatedAsset, relatives: Sequence[tuple[str, Signature]]) -> str:
    """What the clips of an asset depend on besides the settings."""
    try:
        with asset.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError:
        # Blender will say what is wrong with it.
        digest = hashlib.sha256()
    names = [name for name, _ in relatives]
    digest.update(json.dumps([asset.family, asset.category, names]).encode())
    return digest.hexdigest()


def _files(outcome: AssetOutcome) -> list[str]:
    return [f"{clip.name}.safetensors" for clip in outcome.clips if clip.name]


def _as_json(outcome: AssetOutcome) -> dict[str, Any]:
    clips = [
        {
            **{name: getattr(clip, name) for name in ("clip", "origin", "name", "motion", "pictures")},
            "refused": None if clip.refused is None else dataclasses.asdict(clip.refused),
            "signature": None if clip.signature is None else np.round(clip.signature, 5).tolist(),
        }
        for clip in outcome.clips
    ]
    return {**{f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}, "clips": clips}


def _read_state(path: Path) -> tuple[str, AssetOutcome] | None:
    """Key and outcome of an asset that is done; None if there is none, or nothing readable."""
    stored = _read_json(path)
    try:
        if stored is None:
            return None
        clips = []
        for clip in stored["clips"]:
            refused, own = clip["refused"], clip["signature"]
            if refused is not None:
                refused = Refusal(RefusalKind(refused["kind"]), refused["sentence"])
            own = None if own is None else np.array(own, np.float32)
            clips.append(ClipOutcome(**clip | {"refused": refused, "signature": own}))
        fields = {name: stored[name] for name in ("asset", "family", "category", "split", "seconds")}
        return stored["key"], AssetOutcome(**fields, clips=tuple(clips))
    except (KeyError, TypeError, ValueError):
        return None


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


def _write_json(path: Path, what: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise FileNotWrittenError(f"{path} could not be written ({error}).", "Free some disk space.") from error
