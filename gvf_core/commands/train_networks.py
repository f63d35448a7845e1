"""`gvf train static | motion | encode | diffusion | evaluate | install`: the networks of the paper, stage by stage."""

import argparse
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gvf_core.commands.console import CONSOLE, results_console, say
from gvf_core.commands.outputs import alone_in, check_figures
from gvf_core.errors import SettingsError
from gvf_core.settings import RELEASED, check_set_name

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    import torch
    from accelerate import Accelerator

    from gvf_core.training.run import Run
    from gvf_core.training.run_folder import Split, StageName
    from gvf_core.training.settings import TrainingSettings
    from gvf_core.training.training_log import Report

_STAGES: dict[str, str] = {
    "static": "train E_GS and D_GS on clips at rest",
    "motion": "train the variation VAE on moving clips",
    "diffusion": "train the diffusion transformer on encoded clips",
}


def add_parsers(actions: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the stages of a run and what comes between and after them."""
    for name, purpose in _STAGES.items():
        stage = actions.add_parser(name, help=purpose)
        _add_run(stage)
        stage.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, to go on later")
        stage.add_argument("--resume", action="store_true", help="go on from the saved state")
        stage.set_defaults(run=_train, stage=name)

    encode = actions.add_parser("encode", help="encode all clips for the diffusion, and take statistics")
    _add_run(encode)
    encode.set_defaults(run=_encode)

    evaluate = actions.add_parser("evaluate", help="errors of a run on clips, relative to the unmoved asset")
    _add_run(evaluate)
    evaluate.add_argument("--split", choices=("train", "test"), default="test", help="default test")
    evaluate.add_argument("--clips", type=int, default=0, metavar="N", help="at most so many, spread over the split")
    evaluate.add_argument("--samples", type=int, default=1, help="motions drawn for a clip (default 1)")
    evaluate.add_argument("--output", type=Path, metavar="JSON", help="also write the errors of every clip")
    evaluate.set_defaults(run=_evaluate)

    install = actions.add_parser("install", help="install the weights of a run as a set, for the engine diffusion")
    install.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    install.add_argument("--set", required=True, metavar="SET", help="name of the set")
    install.set_defaults(run=_install)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help="folder that `gvf train prepare` wrote")
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of the run, the same for all stages")
    parser.add_argument("--config", default="paper", help="paper, nano or a TOML file (default paper)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="e.g. motion.loop.steps=500"
    )


def _train(parsed: argparse.Namespace) -> int:
    from gvf_core.training.exported import VARIATION_VAE
    from gvf_core.training.settings import settings_by_name
    from gvf_core.training.trainer import Trainer, has_state, make_accelerator

    if not parsed.minutes > 0:
        raise SettingsError(f"--minutes is {parsed.minutes:g}.", "Choose a number above 0.")
    settings = _settings(parsed)
    name: StageName = parsed.stage
    if name != "diffusion":  # which learns from what `encode` wrote, wherever the clips are by then
        _check_clips(parsed.data)
    accelerator = make_accelerator(getattr(settings, name).loop)
    run = _run(parsed, settings, accelerator.device)
    folder, motion = run.folder.stage(name), run.folder.stage("motion")
    # Before anything is loaded: two stages of a run write the same weights.
    with _alone(run, accelerator):
        if not parsed.resume and has_state(folder):
            raise SettingsError(
                f"{folder} holds a training already.", f"Go on with --resume, remove {folder}, or choose another RUN."
            )
        variation_vae = run.folder.weights / VARIATION_VAE
        if name == "static" and (has_state(motion) or variation_vae.exists()):
            raise SettingsError(
                f"The motion in {run.folder.root} has begun, and goes on from the static VAE as it is.",
                f"Go on with gvf train motion --resume, remove {motion} and {variation_vae}, or choose another RUN.",
            )
        stage, examples, loop = run.stage(name, goes_on=parsed.resume)
        told = settings_by_name(settings, name) | run.facts(name, stage)
        trainer = Trainer(stage, examples, loop, folder, run.folder.weights, accelerator, told)
        if parsed.resume:
            trainer.restore()
        with _progress(accelerator.is_main_process) as bar:
            task = bar.add_task(name, total=loop.steps, completed=trainer.step)

            def report(news: "Report") -> None:
                bar.update(task, completed=news.step)
                say(news.line())

            trainer.run(parsed.minutes, report)
    if accelerator.is_main_process:
        say(f"Weights after {trainer.step} of {loop.steps} steps are in {run.folder.weights}.")
    accelerator.end_training()
    return 0


def _encode(parsed: argparse.Namespace) -> int:
    from gvf_core.training.encoded_clip import encoded_paths, remove_others
    from gvf_core.training.exported import remove_statistics, save_statistics
    from gvf_core.training.latent_encoding import encode_clips, latent_statistics
    from gvf_core.training.run_folder import clip_paths
    from gvf_core.training.trainer import make_accelerator

    settings = _settings(parsed)
    _check_clips(parsed.data)
    accelerator = make_accelerator(settings.motion.loop)
    run = _run(parsed, settings, accelerator.device)
    with _alone(run, accelerator), _progress(accelerator.is_main_process) as bar:
        encoder = run.clip_encoder()
        if accelerator.is_main_process:
            # Without them no diffusion begins: stopped half-way, old and new latents lie side by side.
            remove_statistics(run.folder.weights)
        for split in run.splits():
            if accelerator.is_main_process:
                remove_others(run.folder.latents(split), clip_paths(run.data, split))
            task = bar.add_task(f"encoding {split}", total=1.0)
            own = clip_paths(run.data, split)[accelerator.process_index :: accelerator.num_processes]
            encode_clips(encoder, own, run.folder.latents(split), partial(_show, bar, task))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            save_statistics(latent_statistics(encoded_paths(run.folder.latents("train"))), run.folder.weights)
            say(f"Latents are in {run.folder.latents('train').parent}, their statistics in {run.folder.weights}.")
    return 0


def _evaluate(parsed: argparse.Namespace) -> int:
    import torch

    from gvf_core.training.clip_record import read_clip
    from gvf_core.training.motion_scores import ClipScore, score_clips, summary
    from gvf_core.training.run_folder import clip_paths

    if parsed.clips < 0 or parsed.samples < 1:
        raise SettingsError("--clips is at least 0 and --samples at least 1.", "Choose larger numbers.")
    check_figures(parsed.output, [field.name for field in fields(ClipScore)])
    settings = _settings(parsed)
    _check_clips(parsed.data, parsed.split)
    run = _run(parsed, settings, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    paths = clip_paths(run.data, parsed.split)
    if parsed.clips:
        paths = paths[:: -(-len(paths) // parsed.clips)]
    encoder, sampler = run.clip_encoder(), run.sampler()
    if sampler is None:
        say("The diffusion is not trained yet: only reconstructions are scored.", "Note: ", "cyan")
    with _progress(True) as bar:
        task = bar.add_task("evaluating", total=len(paths))

        def count(number: int, score: object) -> None:
            bar.advance(task)

        readers = [partial(read_clip, path) for path in paths]
        scores = score_clips(encoder, readers, sampler, parsed.samples, count)
    console = results_console()
    for line in summary(scores):
        console.print(line, highlight=False, markup=False)
    if parsed.output:
        parsed.output.write_text(json.dumps([asdict(score) for score in scores], indent=2), encoding="utf-8")
    return 0


def _install(parsed: argparse.Namespace) -> int:
    from gvf_core.models.store import default_store
    from gvf_core.training.exported import install_run
    from gvf_core.training.run_folder import RunFolder

    if check_set_name(parsed.set) == RELEASED:
        raise SettingsError(f"The set {RELEASED} is for the released weights.", "Choose another name for yours.")
    store = default_store().of_set(parsed.set)
    for name in install_run(RunFolder(parsed.folder).weights, store):
        say(f"Installed {name} in {store.root}.")
    say(f"Use them with: gvf animate --engine diffusion --weights {parsed.set}")
    return 0


def _settings(parsed: argparse.Namespace) -> "TrainingSettings":
    from gvf_core.training.settings import load_training_settings

    return load_training_settings(parsed.config, parsed.overrides)


def _run(parsed: argparse.Namespace, settings: "TrainingSettings", device: "torch.device") -> "Run":
    from gvf_core.training.run import Run
    from gvf_core.training.run_folder import RunFolder

    return Run(settings, parsed.data, RunFolder(parsed.folder), device)


def _check_clips(data: Path, split: "Split" = "train") -> None:
    """Before any weights are asked for: these clips are the first thing that a run needs."""
    from gvf_core.training.run_folder import clip_paths

    clip_paths(data, split)


def _alone(run: "Run", accelerator: "Accelerator") -> AbstractContextManager[None]:
    """Of several processes, one holds the folder of the run for all."""
    return alone_in(run.folder.root) if accelerator.is_main_process else nullcontext()


def _show(bar: Progress, task: TaskID, finished: float) -> None:
    bar.update(task, completed=finished)


@contextmanager
def _progress(shown: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not (shown and CONSOLE.is_terminal)) as progress:
        yield progress
