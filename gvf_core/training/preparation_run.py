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

from safetensors import SafetensorError, safe_open

from gvf_core.errors import Cancelled, FileNotWrittenError, SettingsError
from gvf_core.evaluation.clip_choice import AnimatedAsset
from gvf_core.training.clip_motion import Refusal, RefusalKind, signature
from gvf_core.training.clip_preparation import (
    UNKNOWN_CATEGORY,
    ClipOutcome,
    clip_file_name,
    prepare_asset,
)
from gvf_core.training.clip_record import ClipRecord, read_clip
from gvf_core.training.motion_clips import held_out_families
from gvf_core.training.preparation_settings import PreparationSettings

REVISION = 1
"""Of what is made of an asset; another one makes it anew."""
SPLITS = ("train", "test")
_TOLD = ("clip", "origin", "name", "motion", "pictures")
_WAIT_SECONDS = 0.2

Split = Literal["train", "test"]
OnAsset = Callable[["AssetOutcome"], None]
Score = Callable[[ClipRecord], float]


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
    score: Score | None = None,
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
        score: Of how a clip looks, for `settings.aesthetic`; None filters nothing.
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
    prepared = _Folder(folder, settings, assets, score if settings.aesthetic else None)
    families: dict[str, list[AnimatedAsset]] = {}
    for asset in assets[:limit]:
        families.setdefault(asset.family, []).append(asset)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    stop, lock = threading.Event(), threading.Lock()

    def tell(outcome: AssetOutcome) -> None:
        with lock:
            on_asset(outcome)

    def of_family(members: Sequence[AnimatedAsset]) -> list[AssetOutcome]:
        try:
            return prepared.prepare_family(members, threads, tell, stop.is_set)
        except BaseException:
            # Here and not where it is waited for: the next family would have begun by then.
            stop.set()
            raise

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
    """Until all are done, or one failed, whose error is raised; those that it stopped end as cancelled."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                raise error
        if cancelled():
            raise Cancelled()


class _Folder:
    """What is in the folder, and what is to be."""

    def __init__(
        self, path: Path, settings: PreparationSettings, assets: Sequence[AnimatedAsset], score: Score | None
    ) -> None:
        self._path, self._settings, self._score = path, settings, score
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
        for asset in sorted(members, key=lambda one: one.name):
            key = _key(asset, [clip.name for outcome in outcomes for clip in outcome.clips if clip.name])
            outcome = self._kept(asset, key) or self._prepare(asset, key, outcomes, threads, cancelled)
            outcome = self._judged(asset, key, outcome)
            outcomes.append(outcome)
            on_asset(outcome)
        return outcomes

    def _kept(self, asset: AnimatedAsset, key: str) -> AssetOutcome | None:
        """What an earlier call made of an asset; if something about it has changed, all of that is removed."""
        state = self._state(asset)
        kept = _read_state(state)
        if kept is None:
            return None
        stored, outcome = kept
        files = [self._file(outcome, clip) for clip in outcome.clips if clip.name]
        if stored == key and outcome.split == self._split[asset.family] and all(_is_whole(file) for file in files):
            return outcome
        for file in files:
            file.unlink(missing_ok=True)
        state.unlink()
        return None

    def _prepare(
        self,
        asset: AnimatedAsset,
        key: str,
        earlier: Sequence[AssetOutcome],
        threads: int,
        cancelled: Callable[[], bool],
    ) -> AssetOutcome:
        split = self._split[asset.family]
        relatives = [
            (f"{outcome.asset}: {clip.clip}", clip.signature or signature(read_clip(self._file(outcome, clip)).points))
            for outcome in earlier
            for clip in outcome.clips
            if clip.name
        ]
        if cancelled():
            raise Cancelled()
        start = time.perf_counter()
        clips = prepare_asset(
            asset, self._settings, self._path / split, relatives, threads=threads, cancelled=cancelled
        )
        seconds = time.perf_counter() - start
        category = asset.category or UNKNOWN_CATEGORY
        outcome = AssetOutcome(asset.name, asset.family, category, split, seconds, tuple(clips))
        self._keep(asset, key, outcome)
        return outcome

    def _judged(self, asset: AnimatedAsset, key: str, outcome: AssetOutcome) -> AssetOutcome:
        """With scores of the clips that have none yet; those below the least are removed.

        Clips are scored when they are written, so a folder from before the weights were installed needs no Blender.
        """
        if self._score is None or all(clip.aesthetic is not None for clip in outcome.clips if clip.name):
            return outcome
        clips = []
        for clip in outcome.clips:
            if clip.name and clip.aesthetic is None:
                file = self._file(outcome, clip)
                score = self._score(read_clip(file))
                clip = dataclasses.replace(clip, aesthetic=score)
                if score < self._settings.aesthetic:
                    sentence = f"Its score is {score:.2f}; {self._settings.aesthetic:g} is the least."
                    clip = dataclasses.replace(clip, name="", refused=Refusal(RefusalKind.PLAIN, sentence))
                    # Before the state forgets the file's name: a call that is stopped in between makes it again.
                    file.unlink()
            clips.append(clip)
        outcome = dataclasses.replace(outcome, clips=tuple(clips))
        self._keep(asset, key, outcome)
        return outcome

    def _keep(self, asset: AnimatedAsset, key: str, outcome: AssetOutcome) -> None:
        _write_json(self._state(asset), {"key": key, **_as_json(outcome)})

    def _state(self, asset: AnimatedAsset) -> Path:
        return self._path / "assets" / f"{clip_file_name(asset.name, '')}.json"

    def _file(self, outcome: AssetOutcome, clip: ClipOutcome) -> Path:
        return self._path / outcome.split / f"{clip.name}.safetensors"

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


def _key(asset: AnimatedAsset, relatives: Sequence[str]) -> str:
    """What the clips of an asset depend on besides the settings; relatives are the clips of its family before it."""
    try:
        with asset.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError:
        # Blender will say what is wrong with it.
        digest = hashlib.sha256()
    digest.update(json.dumps([asset.family, asset.category, list(relatives)]).encode())
    return digest.hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether the file of a clip is there in its full length."""
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def _as_json(outcome: AssetOutcome) -> dict[str, Any]:
    clips = [
        {
            **{name: getattr(clip, name) for name in (*_TOLD, "aesthetic")},
            "refused": None if clip.refused is None else dataclasses.asdict(clip.refused),
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
            refused = clip["refused"]
            if refused is not None:
                refused = Refusal(RefusalKind(refused["kind"]), refused["sentence"])
            told = {name: clip[name] for name in _TOLD}
            # Files from before there were scores have none.
            clips.append(ClipOutcome(**told, refused=refused, aesthetic=clip.get("aesthetic")))
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
