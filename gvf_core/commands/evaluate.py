"""`gvf evaluate`: how well engines find motion whose truth is known."""

import argparse
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin
from urllib.parse import unquote

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

import gvf_core
from gvf_core.commands.console import CONSOLE, results_console, say
from gvf_core.commands.outputs import alone_in, check_figures, check_results_folder
from gvf_core.commands.seeds import seed
from gvf_core.errors import FileFormatError, SettingsError, WeightsError
from gvf_core.models.record import sha256_of
from gvf_core.settings import AnimateSettings, EngineName, FitPreset

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from gvf_core.evaluation.clip_choice import AnimatedAsset, ClipChoice
    from gvf_core.evaluation.clip_jobs import Outcome
    from gvf_core.evaluation.clip_task import ProtocolOptions

PROTOCOLS = ("existing-asset", "consistent4d")
REPORT, DATA = "report.md", "report.json"
_FOLDERS = ("clips", "inputs", "sheets")
_FIXED = frozenset(
    {"engine", "view", "azimuth", "elevation", "fov", "start_frame", "frame_stride", "max_frames", "matting"}
)
"""Settings that the protocol decides."""


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    evaluate = commands.add_parser("evaluate", help="measure engines on motion whose truth is known")
    add = evaluate.add_argument
    add(
        "--protocol",
        choices=PROTOCOLS,
        default=PROTOCOLS[0],
        help="existing-asset: assets with clips of their own; "
        "consistent4d: pictures of results beside those of the truth",
    )
    add(
        "--assets",
        type=Path,
        required=True,
        help="folder of animated files (glb, fbx, usd, abc, blend), or one file; "
        "with consistent4d the folder of the truth",
    )
    add(
        "--results",
        type=Path,
        metavar="DIR",
        help="with consistent4d: folder of results, OBJECT/ or OBJECT.safetensors",
    )
    add("--clips", type=int, default=12, help="how many, spread over kinds of assets (default 12)")
    add("--clip", action="append", default=[], metavar="ASSET:CLIP", help="just this one; repeatable")
    add("--seed", type=seed, default=0, help="draws the clips; also the engines' seed")
    add(
        "--engine",
        "--engines",
        default="auto",
        help="names, comma-separated: auto, fit, diffusion, diffusion+refine, unmoved (or static), rigid-only, "
        "rest-depth",
    )
    add(
        "--preset",
        default=AnimateSettings.preset,
        help=f"of the engine: {', '.join(get_args(FitPreset))} (default {AnimateSettings.preset})",
    )
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the engines; repeatable")
    add("--out", type=Path, required=True, help=f"folder for {REPORT}, {DATA}, sheets/ and what is kept for next time")
    add("--json", type=Path, metavar="FILE", help="also write the figures there")
    add("--films", type=int, default=1, help="synchronised films, 90 degrees apart (default 1)")
    add("--azimuth", type=float, default=45.0, help="of the film, degrees (default 45)")
    add("--elevation", type=float, default=15.0, help="of the film, degrees (default 15)")
    add("--size", type=int, default=256, help="of the film, pixels (default 256)")
    add("--frames", type=int, default=16, help="of the film (default 16)")
    add("--seconds", type=float, default=1.3, help="of a clip at most (default 1.3)")
    add("--views", type=int, default=24, help="of the asset for its capture (default 24)")
    add("--picture-size", type=int, default=512, help="of compared pictures, pixels; 0 for none (default 512)")
    add("--cycles", action="store_true", help="film in Blender with light and shadow, not from Gaussians")
    add("--again", action="store_true", help="forget the results of earlier runs in this folder")
    add("--jobs", type=int, help="clips at the same time (default: half of the cores)")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    from gvf_core.commands.evaluate_consistent4d import check_results, evaluate_consistent4d

    check_results(parsed.results, parsed.protocol)
    engines = _engines(parsed.engine)
    settings = _settings(parsed)
    options = _options(parsed)
    _check_refined(engines, settings)
    jobs = parsed.jobs if parsed.jobs is not None else max(1, (os.cpu_count() or 2) // 2)
    _check(parsed, jobs)
    with alone_in(parsed.out):
        if parsed.protocol == "consistent4d":
            return evaluate_consistent4d(parsed, jobs)
        return _evaluate_existing_asset(parsed, engines, settings, options, jobs)


def _evaluate_existing_asset(
    parsed: argparse.Namespace,
    engines: Sequence[str],
    settings: AnimateSettings,
    options: "ProtocolOptions",
    jobs: int,
) -> int:
    from gvf_core.evaluation.clip_choice import drawn_clips, find_assets, named_clips
    from gvf_core.evaluation.clip_jobs import run_clips
    from gvf_core.evaluation.clip_task import ClipTask
    from gvf_core.evaluation.judges import judge_key
    from gvf_core.evaluation.report import report_json, report_markdown

    weights, unable = _weights(engines, settings)
    judges = judge_key() if options.picture_size else ""
    assets = find_assets(parsed.assets)
    for folder in _FOLDERS:
        (parsed.out / folder).mkdir(parents=True, exist_ok=True)
    named = named_clips(assets, parsed.clip)
    if parsed.again:
        for pattern in ("names.json", *(f"*.{engine}.json" for engine in weights)):
            for kept in (parsed.out / "clips").glob(pattern):
                kept.unlink()
    choices: Iterator[ClipChoice] = iter(named)
    if not named:
        choices = drawn_clips(assets, _ClipNames(parsed.out / "clips" / "names.json"), parsed.seed)
    tasks = (
        ClipTask(
            choice,
            tuple(weights),
            options,
            settings,
            parsed.out,
            _asset_sha256(choice.asset.path),
            replaceable=not named,
            weights=weights,
            judges=judges,
        )
        for choice in choices
    )
    with _progress_bar() as show:
        outcomes = run_clips(tasks, len(named) or parsed.clips, jobs, show)

    rows: list[dict[str, Any]] = []
    passed_over = [outcome.refused for outcome in outcomes if outcome.refused and outcome.task.replaceable]
    for engine in engines:
        for outcome in outcomes:
            if outcome.refused and outcome.task.replaceable:
                continue
            problem = unable.get(engine) or outcome.refused or outcome.failed or "There is no result."
            row = None if engine in unable else outcome.task.kept(engine)
            rows.append(row or outcome.task.label(engine) | {"failure": problem})
    what = {
        "protocol": parsed.protocol,
        "assets": str(parsed.assets),
        "seed": parsed.seed,
        "options": dataclasses.asdict(options),
        "settings": _engine_settings(settings),
        "version": gvf_core.__version__,
        "engine_weights": weights,
    }
    videos = {engine: _video_distance(outcomes, engine) for engine in weights}
    report = report_json(rows, engines, what, passed_over, videos)
    text = json.dumps(report, indent=2) + "\n"
    for path in (parsed.out / DATA, *([parsed.json] if parsed.json else [])):
        path.write_text(text, encoding="utf-8")
    (parsed.out / REPORT).write_text(report_markdown(report), encoding="utf-8")
    _show(report)
    evaluated = sum("failure" not in row for row in rows)
    if not named and len(rows) < parsed.clips * len(engines):
        say(f"There are only {len(rows) // len(engines)} clips to use.", "Warning: ", "yellow")
    say(f"Wrote {parsed.out / REPORT}, {DATA} and {len(list((parsed.out / 'sheets').glob('*.png')))} sheets.")
    return 0 if evaluated else 1


def _engines(text: str) -> tuple[str, ...]:
    from gvf_core.evaluation.clip_task import BASELINES, REFINED, STATIC, UNMOVED

    known = (*get_args(EngineName), REFINED, *BASELINES)
    given = (name.strip() for name in text.split(",") if name.strip())
    names = tuple(dict.fromkeys(UNMOVED if name == STATIC else name for name in given))
    for name in names:
        if name not in known:
            raise SettingsError(f"There is no engine {name!r}.", f"Choose from {', '.join(known)}.")
    if not names:
        raise SettingsError("No engine is named.", f"Choose from {', '.join(known)}.")
    return names


def _video_distance(outcomes: Sequence["Outcome"], engine: str) -> dict[str, Any] | None:
    """The Fréchet distance of all videos of an engine, if every clip that it was measured on has words of I3D."""
    from gvf_core.evaluation.picture_scores import load_words, video_distance_of_all

    rows = [(outcome.task, outcome.task.kept(engine)) for outcome in outcomes]
    measured = [task for task, row in rows if row is not None and "failure" not in row]
    words = [load_words(task.words_file(engine)) for task in measured]
    there = [one for one in words if one is not None]
    distance = video_distance_of_all(there) if len(there) == len(words) else None
    return None if distance is None else {"fvd": distance, "videos": sum(len(one.found) for one in there)}


def _check_refined(engines: Sequence[str], settings: AnimateSettings) -> None:
    from gvf_core.evaluation.clip_task import REFINED

    if settings.refine_seconds and {"diffusion", REFINED} <= set(engines):
        raise SettingsError(
            f"With refine_seconds={settings.refine_seconds:g}, the engine diffusion is refined, too.",
            f"Name only {REFINED}, or leave out --set refine_seconds.",
        )


def _settings(parsed: argparse.Namespace) -> AnimateSettings:
    """Settings of the engines from --seed, --preset and --set.

    Raises:
        SettingsError: One is unknown, decided by the protocol, or has no such value.
    """
    fields = {field.name: field for field in dataclasses.fields(AnimateSettings)}
    values: dict[str, Any] = {"seed": parsed.seed, "preset": parsed.preset}
    for pair in parsed.set:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in fields or name in _FIXED:
            known = ", ".join(sorted(set(fields) - _FIXED))
            raise SettingsError(f"--set {pair} cannot be used.", f"Write NAME=VALUE with one of {known}.")
        values[name] = _value(name, fields[name].type, text.strip())
    return AnimateSettings.from_dict(values)


def _value(name: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is Literal or kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"The setting {name} is {text!r}.", "Choose true or false.")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise SettingsError(f"The setting {name} is {text!r}, not a number.", "Give a number.") from error


def _options(parsed: argparse.Namespace) -> "ProtocolOptions":
    from gvf_core.evaluation.clip_task import ProtocolOptions

    ranges = {"azimuth": (-360, 360), "elevation": (-89, 89), "size": (32, 2048), "frames": (2, 500), "films": (1, 4)}
    ranges |= {"views": (1, 1000), "seconds": (0, 1000), "clips": (1, 100_000)}
    for name, (low, high) in ranges.items():
        if not low <= getattr(parsed, name) <= high:
            raise SettingsError(f"--{name} is {getattr(parsed, name)}.", f"Choose a number from {low} to {high}.")
    if parsed.picture_size != 0 and not 32 <= parsed.picture_size <= 2048:
        raise SettingsError(f"--picture-size is {parsed.picture_size}.", "Choose 0, or a number from 32 to 2048.")
    if parsed.cycles and parsed.films > 1:
        raise SettingsError("Lit films can be taken from one side only.", "Leave --cycles or --films away.")
    taken = ("azimuth", "elevation", "size", "films", "frames", "seconds", "views", "cycles", "seed", "picture_size")
    return ProtocolOptions(**{name: getattr(parsed, name) for name in taken})


def _weights(engines: Sequence[str], settings: AnimateSettings) -> tuple[dict[str, str], dict[str, str]]:
    """What tells the weights of engines apart, by name; and of those that cannot run, why.

    Raises:
        WeightsError: None of them can run.
    """
    from gvf_core.evaluation.engine_weights import weights_of_engine

    weights: dict[str, str] = {}
    problems: dict[str, WeightsError] = {}
    for engine in engines:
        try:
            weights[engine] = weights_of_engine(engine, settings)
        except WeightsError as error:
            problems[engine] = error
    if not weights:
        raise problems[engines[0]]
    for engine, problem in problems.items():
        say(f"{engine} is not measured. {problem}", "Warning: ", "yellow")
    return weights, {engine: str(problem) for engine, problem in problems.items()}


def _engine_settings(settings: AnimateSettings) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in _FIXED}


def _check(parsed: argparse.Namespace, jobs: int) -> None:
    if jobs < 1:
        raise SettingsError(f"--jobs is {jobs}.", "Choose 1 or more.")
    if not parsed.assets.exists():
        raise FileFormatError(
            f"There is nothing at {parsed.assets}.",
            "Name a folder of animated files, or of the true pictures for consistent4d.",
        )
    check_figures(parsed.json, ("protocol", "summary", "metric_weights"))
    check_results_folder(parsed.out)


class _ClipNames:
    """The clips of assets by their files' hashes; asking Blender takes seconds, so answers are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        self._known: dict[str, list[str]] = known if isinstance(known, dict) else {}

    def __call__(self, asset: "AnimatedAsset") -> Sequence[str]:
        from gvf_core.blender.assets import list_clips

        key = _sha256(asset.path)
        if key not in self._known:
            self._known[key] = [clip.name for clip in list_clips(asset.path)]
            self._path.write_text(json.dumps(self._known), encoding="utf-8")
        return self._known[key]


def _asset_sha256(path: Path) -> str:
    """Of the file and, of a .gltf, of the buffers and pictures beside it; what other kinds refer to is not seen."""
    if path.suffix.lower() != ".gltf":
        return _sha256(path)
    try:
        scene = json.loads(path.read_bytes())
        parts = [*scene.get("buffers", ()), *scene.get("images", ())]
        named = {
            path.parent / unquote(part["uri"]) for part in parts if not part.get("uri", "data:").startswith("data:")
        }
    except (OSError, ValueError, AttributeError, TypeError):  # Blender will say what is wrong with it
        named = set()
    sums = [_sha256(path), *(_sha256(file) for file in sorted(named) if file.is_file())]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """Hash of a file.

    Raises:
        FileFormatError: It cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read ({error}).", "Look at its permissions.") from error


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from gvf_core.evaluation.clip_task import BASELINES
    from gvf_core.evaluation.report_tables import figure_text

    table = Table("engine", "asset", "clip")
    columns = {
        "ratio_all": ".2f",
        "ratio_visible": ".2f",
        "ratio_in_plane": ".2f",
        "psnr_gain": "+.1f",
        "seconds": ".0f",
    }
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for row in report["clips"]:
        name = BASELINES.get(row["engine"], row["engine"])
        cells = ["failed" if "failure" in row else figure_text(row[column], form) for column, form in columns.items()]
        table.add_row(name, Text(row["asset"]), Text(row["clip"]), *cells)
    for engine, summary in report["summaries"].items():
        medians = [
            format(summary[column]["median"], form) if summary[column] else "" for column, form in columns.items()
        ]
        table.add_row(BASELINES.get(engine, engine), f"median of {summary['clips']}", "", *medians, style="bold")
    results_console().print(table)


@contextmanager
def _progress_bar() -> Iterator[Callable[[float, str], None]]:
    clips = TextColumn("{task.description:<40.40}", markup=False)
    columns = (clips, BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task("", total=1)
        yield lambda done, clips: bar.update(task, description=clips, completed=done)
