"""`gvf train prepare`: clips to train on from animated files, through Blender."""

import argparse
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gvf_core.commands.console import CONSOLE, say
from gvf_core.commands.outputs import alone_in
from gvf_core.errors import SettingsError
from gvf_core.training.preparation_settings import ConditionCamera, PreparationSettings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gvf_core.evaluation.clip_choice import AnimatedAsset
    from gvf_core.training.preparation_run import AssetOutcome, Score

STILL_SUFFIXES = (".obj", ".ply", ".stl")
"""Files that cannot move by themselves."""


def add_prepare(actions: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the action to those of `gvf train`."""
    prepare = actions.add_parser("prepare", help="make clips to train on from animated files (needs Blender)")
    prepare.add_argument("assets", type=Path, nargs="+", metavar="ASSETS", help="folders of 3D files, or files")
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DATA", help="folder to write into")
    numbers = (
        ("frames", "of a clip"),
        ("stride", "scene frames from one frame to the next"),
        ("shortest", "scene frames that a clip must last"),
        ("views", "pictures of frame 0 from all around"),
        ("targets", "pictures of each frame from random sides"),
        ("size", "width and height of the pictures in pixels"),
        ("fov", "field of view of all but frame 0's views, degrees"),
        ("samples", "of a pixel"),
        ("clips", "at most so many of an asset; 0: all"),
        ("procedural", "clips of made-up motion for each asset"),
        ("aesthetic", "least aesthetic score of a clip, 5.5 in the paper; 0: not scored"),
        ("seed", "of everything that is random"),
    )
    for name, text in numbers:
        default = getattr(PreparationSettings, name)
        prepare.add_argument(
            f"--{name}", type=type(default), default=default, metavar="N", help=f"{text} (default {default:g})"
        )
    prepare.add_argument(
        "--condition",
        choices=get_args(ConditionCamera),
        default=PreparationSettings.condition,
        help="camera of the driving video: from the front, or another one for each clip (default front)",
    )
    prepare.add_argument(
        "--keep-vertices", action="store_true", help="keep the vertices of all frames, not of frame 0 alone"
    )
    prepare.add_argument(
        "--limit", type=int, metavar="N", help="prepare only so many assets, of all categories in turn"
    )
    prepare.add_argument("--jobs", type=int, default=1, metavar="N", help="Blender processes at once (default 1)")
    prepare.set_defaults(run=_prepare)


def _prepare(parsed: argparse.Namespace) -> int:
    from gvf_core.evaluation.clip_choice import drawn_clips
    from gvf_core.training.preparation_report import write_report
    from gvf_core.training.preparation_run import prepare_clips

    if parsed.jobs < 1 or (parsed.limit is not None and parsed.limit < 1):
        raise SettingsError("--jobs and --limit are at least 1.", "Choose larger numbers.")
    settings = PreparationSettings(
        **{field.name: getattr(parsed, field.name) for field in dataclasses.fields(PreparationSettings)}
    )
    found = _assets(parsed.assets, still=settings.procedural > 0)
    score = _score() if settings.aesthetic else None
    # Kinds of things take turns, so that the first few are of all kinds.
    assets = [choice.asset for choice in drawn_clips(found, lambda asset: [""], settings.seed)]
    name = TextColumn("{task.description:<30.30}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal)
    with alone_in(parsed.output), bar as progress:
        task = progress.add_task("opening", total=len(assets[: parsed.limit]))

        def report(outcome: "AssetOutcome") -> None:
            progress.update(task, description=outcome.asset, advance=1)
            for clip in outcome.clips:
                if clip.refused is not None and not clip.clip:
                    # Single clips that are left out are in the report.
                    say(f"{outcome.asset} is left out. {clip.refused.sentence}", "Note: ", "yellow")

        outcomes = prepare_clips(
            assets,
            settings,
            parsed.output,
            score=score,
            limit=parsed.limit,
            jobs=parsed.jobs,
            on_asset=report,
        )
    figures = write_report(parsed.output, outcomes, settings)
    say(
        f"{figures['clips']} clips of {figures['assets']} assets, {figures['train_clips']} to train on and "
        f"{figures['test_clips']} to test on, are in {parsed.output}; report.md and sheets/ show them."
    )
    if not figures["clips"]:
        raise SettingsError("No clip could be prepared.", f"{parsed.output / 'report.md'} says why.")
    return 0


def _score() -> "Score | None":
    """The aesthetic score, as far as its weights are there."""
    from gvf_core.models.store import default_store
    from gvf_core.training.aesthetic import NETWORKS, installed_predictor

    store = default_store()
    if missing := [name for name in NETWORKS if store.find(name) is None]:
        command = f"gvf models download {' '.join(missing)}"
        say(f"No clip has an aesthetic score: its weights are not installed ({command}).", "Note: ", "yellow")
        return None
    return installed_predictor(store).score


def _assets(sources: Sequence[Path], still: bool) -> list["AnimatedAsset"]:
    """Of all sources; two of one name would overwrite each other's clips."""
    from gvf_core.evaluation.clip_choice import SUFFIXES, find_assets

    suffixes = (*SUFFIXES, *STILL_SUFFIXES) if still else SUFFIXES
    assets = list(itertools.chain.from_iterable(find_assets(source, suffixes) for source in sources))
    seen: dict[str, Path] = {}
    for asset in assets:
        if asset.name in seen:
            raise SettingsError(
                f"{asset.path} and {seen[asset.name]} are both called {asset.name}.", "Rename one, or leave one out."
            )
        seen[asset.name] = asset.path
    return assets
