"""`gvf train`: prepare data and train the networks that this package ships."""

import argparse
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gvf_core.commands import train_networks
from gvf_core.commands.console import CONSOLE, results_console, say
from gvf_core.commands.outputs import alone_in, check_files
from gvf_core.commands.prepare import add_prepare
from gvf_core.commands.seeds import seed
from gvf_core.errors import FileFormatError, GvfError, SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gvf_core.models.motion_prior import MotionPrior
    from gvf_core.training.motion_clips import AssetMotion

LOGGER = logging.getLogger(__name__)

WINDOW_FRAMES, WINDOW_SECONDS, MAX_WINDOWS = 24, 1.3, 3
"""Of a clip: so many frames in so many seconds, so often one after the other."""


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and what it trains."""
    train = commands.add_parser("train", help="train the networks that this package ships")
    actions = train.add_subparsers(required=True, metavar="ACTION")

    add_prepare(actions)

    prepare = actions.add_parser("prepare-prior", help="read animated assets for the motion prior (needs Blender)")
    prepare.add_argument("assets", type=Path, metavar="ASSETS_DIR", help="folder of animated .glb files")
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="DATA", help="folder to write into")
    prepare.add_argument(
        "--table", type=Path, metavar="CSV", help="name, category and family of the assets (default ASSETS_DIR.csv)"
    )
    prepare.set_defaults(run=_prepare_prior)

    prior = actions.add_parser("prior", help="train the motion prior on prepared assets")
    prior.add_argument("data", type=Path, metavar="DATA", help="folder that prepare-prior wrote")
    prior.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors file to write")
    prior.add_argument("--minutes", type=float, default=60, help="how long to train (default 60)")
    prior.add_argument(
        "--steps", type=int, help="stop after so many steps; the same result whatever the machine's speed"
    )
    prior.add_argument("--seed", type=seed, default=0, help="of everything that is random (default 0)")
    prior.add_argument("--resume", action="store_true", help="go on with an unfinished training of FILE")
    prior.add_argument(
        "--start", metavar="FILE", help="weights to start from: a file, or `shipped` (default: new ones)"
    )
    prior.add_argument("--blocks", type=int, help="deepen the network that --start names to so many blocks")
    prior.add_argument("--learning-rate", type=float, help="highest one (default 0.002; with --resume as before)")
    prior.set_defaults(run=_train_prior)

    evaluate = actions.add_parser("evaluate-prior", help="errors of the motion prior on held-out families")
    evaluate.add_argument("data", type=Path, metavar="DATA", help="folder that prepare-prior wrote")
    evaluate.add_argument("weights", type=Path, nargs="?", metavar="FILE", help="default: the shipped weights")
    evaluate.add_argument("--points", type=int, default=512, help="of a clip (default 512)")
    evaluate.set_defaults(run=_evaluate_prior)
    train_networks.add_parsers(actions)


def _prepare_prior(parsed: argparse.Namespace) -> int:
    from gvf_core.training.motion_clips import write_asset_motion

    assets = sorted(parsed.assets.glob("*.glb"))
    if not assets:
        raise SettingsError(f"There are no .glb files in {parsed.assets}.", "Choose another folder.")
    folder = parsed.assets.resolve()
    table = _asset_table(parsed.table or folder.with_name(folder.name + ".csv"))
    with alone_in(parsed.output), _progress() as progress:
        task = progress.add_task("reading", total=len(assets))
        for asset in assets:
            progress.update(task, description=asset.stem)
            if not (parsed.output / f"{asset.stem}.safetensors").exists():
                row = table.get(asset.stem, {})
                category, family = row.get("category") or "unknown", row.get("family") or asset.stem
                try:
                    write_asset_motion(parsed.output, _read_asset(asset, family, category))
                except GvfError as error:
                    # One asset that Blender cannot read is no reason to lose the others.
                    say(f"{asset.name} is left out. {error}", "Note: ", "yellow")
            progress.advance(task)
    return 0


def _train_prior(parsed: argparse.Namespace) -> int:
    from gvf_core.training.motion_clips import read_asset_motions, split_by_family
    from gvf_core.training.motion_prior_data import clip_pool
    from gvf_core.training.motion_prior_training import TrainingSettings, train_motion_prior

    if parsed.output.suffix != ".safetensors":
        raise SettingsError(f"{parsed.output.name} does not end in .safetensors.", "Choose a name that does.")
    if not parsed.minutes > 0 or (parsed.steps is not None and parsed.steps < 1):
        raise SettingsError("Training needs at least one step and some time.", "Choose larger --minutes or --steps.")
    if parsed.learning_rate is not None and not 0 < parsed.learning_rate <= 1:
        raise SettingsError(f"--learning-rate is {parsed.learning_rate:g}.", "Choose one above 0, about 0.002.")
    check_files(parsed.output)
    if parsed.output.exists() and not parsed.resume:
        raise SettingsError(f"There is a {parsed.output} already.", "Go on with --resume, or choose another name.")
    train, held_out = split_by_family(read_asset_motions(parsed.data))
    if not train or not held_out:
        raise FileFormatError(
            f"{parsed.data} has {len(train)} assets to train on and {len(held_out)} to test on.",
            "Prepare at least two families of one category.",
        )
    say(f"Held out: {', '.join(sorted({asset.family for asset in held_out}))}.")
    settings = TrainingSettings(minutes=parsed.minutes, seed=parsed.seed, learning_rate=parsed.learning_rate)
    if parsed.steps is not None:
        settings = replace(settings, minutes=math.inf, steps=parsed.steps)
    start = _start_of_prior(parsed)
    # A name of its own: other trainings may have their files in this folder.
    lock = f".{parsed.output.name}.lock"
    with alone_in(parsed.output.parent, lock), _progress() as progress:
        task = progress.add_task("training", total=1.0)

        def report(fraction: float, line: str) -> None:
            progress.update(task, completed=fraction)
            say(line)

        pools = clip_pool(train), clip_pool(held_out, starts_only=True)
        train_motion_prior(*pools, parsed.output, settings, start, resume=parsed.resume, on_report=report)
    return 0


def _start_of_prior(parsed: argparse.Namespace) -> "MotionPrior | None":
    """The network that training begins with; None for a new one, or that of the state that it goes on from."""
    from gvf_core.models.motion_prior import load_motion_prior
    from gvf_core.training.motion_prior_training import deepen

    if parsed.resume or parsed.start is None:
        if parsed.blocks is not None:
            raise SettingsError("--blocks is for the network that --start names.", "Give --start, too.")
        return None
    network = load_motion_prior(None if parsed.start == "shipped" else Path(parsed.start))
    try:
        return network if parsed.blocks is None else deepen(network, parsed.blocks)
    except ValueError as error:
        raise SettingsError(str(error), f"Choose a multiple of {network.params.blocks} for --blocks.") from error


def _evaluate_prior(parsed: argparse.Namespace) -> int:
    from gvf_core.models.motion_prior import load_motion_prior
    from gvf_core.training.motion_clips import read_asset_motions, split_by_family
    from gvf_core.training.motion_prior_data import clip_pool
    from gvf_core.training.motion_prior_training import evaluate_motion_prior

    if parsed.points < 1:
        raise SettingsError(f"--points is {parsed.points}.", "Choose 1 or more.")
    network = load_motion_prior(parsed.weights)
    _, held_out = split_by_family(read_asset_motions(parsed.data))
    if not held_out:
        raise FileFormatError(f"{parsed.data} has no held-out families.", "Prepare two families of one category.")
    pool = clip_pool(held_out, starts_only=True)
    console = results_console()
    exact = evaluate_motion_prior(network, pool, parsed.points)
    for name, error, copied in sorted(zip(exact.names, exact.all.tolist(), exact.copied.tolist(), strict=True)):
        console.print(f"{name}: {error:.2f} (copied motion {copied:.2f})", highlight=False, markup=False)
    console.print(f"exact tracks: {exact.summary()}", highlight=False)
    for noise in (1.0, 2.0):
        score = evaluate_motion_prior(network, pool, parsed.points, noise)
        console.print(f"tracks with faults of {noise:g} pixels: {score.summary()}", highlight=False)
    return 0


def _read_asset(asset: Path, family: str, category: str) -> "AssetMotion":
    """Windows of all clips of an asset, through Blender."""
    from gvf_core.blender.assets import list_clips, read_clips
    from gvf_core.evaluation.clip_file import load_clip
    from gvf_core.training.motion_clips import AssetMotion, sample_motion

    clips = list_clips(asset)
    names, motions, triangles = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        for index in range(MAX_WINDOWS):
            offset = index * WINDOW_SECONDS
            # A clip shorter than a window is read once, as a whole.
            long_enough = [clip.name for clip in clips if index == 0 or clip.seconds >= offset + WINDOW_SECONDS]
            paths = {name: Path(folder) / f"{index}-{n}.safetensors" for n, name in enumerate(long_enough)}
            if not paths:
                break
            refused = read_clips(asset, paths, frames=WINDOW_FRAMES, seconds=WINDOW_SECONDS, offset=offset)
            for name, reason in refused.items():
                LOGGER.warning("%s of %s: %s", name, asset.name, reason)
            for name in long_enough:
                if name in refused:
                    continue
                clip = load_clip(paths[name])
                triangles = clip.triangles if triangles is None else triangles
                if clip.triangles.shape != triangles.shape:
                    LOGGER.warning("%s of %s has other triangles.", name, asset.name)
                    continue
                names.append(f"{name}@{offset:.2f}")
                motions.append(clip.vertices)
    if triangles is None:
        raise FileFormatError(f"Nothing moves in {asset.name}.")
    positions, normals = sample_motion(motions, triangles)
    return AssetMotion(asset.stem, family, category, tuple(names), positions, normals)


def _asset_table(path: Path) -> dict[str, dict[str, str]]:
    from gvf_core.evaluation.clip_choice import read_asset_table

    if path.is_file():
        return read_asset_table(path)
    say(f"There is no {path}: every asset counts as a family of its own.", "Note: ", "yellow")
    return {}


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as progress:
        yield progress
