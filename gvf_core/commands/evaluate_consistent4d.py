"""`gvf evaluate --protocol consistent4d`: results beside ground truth from four sides."""

import argparse
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gvf_core.commands.console import results_console, say
from gvf_core.errors import FileFormatError, SettingsError

if TYPE_CHECKING:
    from gvf_core.evaluation.consistent4d import ObjectTask

LOGGER = logging.getLogger(__name__)

REPORT, DATA = "report.md", "report.json"
_BROKEN = "The process broke down."


def evaluate_consistent4d(parsed: argparse.Namespace, jobs: int) -> int:
    """Compare every object; what is kept of an earlier run is not measured again."""
    from gvf_core.evaluation.consistent4d import find_objects
    from gvf_core.evaluation.consistent4d_report import consistent4d_markdown, consistent4d_report
    from gvf_core.evaluation.judges import judge_key
    from gvf_core.evaluation.picture_scores import load_words, video_distance_of_all

    if parsed.results is None:
        raise SettingsError("The protocol consistent4d compares results.", "Name their folder with --results.")
    if not parsed.results.is_dir():
        raise FileFormatError(f"There is no folder {parsed.results}.", "Name the folder of the results.")
    tasks = find_objects(parsed.assets, parsed.results, parsed.out, judge_key())
    for folder in ("objects", "sheets"):
        (parsed.out / folder).mkdir(parents=True, exist_ok=True)
    missing = [task for task in tasks if parsed.again or not task.is_measured()]
    for task in missing:
        task.forget()
    problems = _compare(missing, jobs)
    rows = [task.kept() or {"object": task.name, "failure": problems.get(task.name, _BROKEN)} for task in tasks]
    words = [load_words(task.words_file) for task, row in zip(tasks, rows, strict=True) if "failure" not in row]
    there = [one for one in words if one is not None]
    distance = video_distance_of_all(there) if len(there) == len(words) else None
    videos = None if distance is None else {"fvd": distance, "videos": sum(len(one.found) for one in there)}
    what = {"protocol": "consistent4d", "truth": str(parsed.assets), "results": str(parsed.results)}
    report = consistent4d_report(rows, what, videos)
    text = json.dumps(report, indent=2) + "\n"
    for path in (parsed.out / DATA, *([parsed.json] if parsed.json else [])):
        path.write_text(text, encoding="utf-8")
    (parsed.out / REPORT).write_text(consistent4d_markdown(report), encoding="utf-8")
    _show(report)
    say(f"Wrote {parsed.out / REPORT}, {DATA} and {report['summary']['objects']} sheets.")
    return 0 if report["summary"]["objects"] else 1


def _compare(tasks: Sequence["ObjectTask"], jobs: int) -> dict[str, str]:
    """Compare objects side by side; returns why some have no figures, by name.

    A process that dies takes the others of its pool with it, so that what is left then has a pool of its own each.
    """
    from gvf_core.evaluation.clip_jobs import shared_cores
    from gvf_core.evaluation.consistent4d import evaluate_object

    problems: dict[str, str] = {}

    def run(some: Sequence["ObjectTask"], count: int) -> None:
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            futures = [(task, pool.submit(evaluate_object, task)) for task in some]
            for task, future in futures:
                try:
                    future.result()
                except Exception as error:
                    LOGGER.exception("the work on %s broke down", task.name)
                    broken = isinstance(error, BrokenProcessPool)
                    problems[task.name] = _BROKEN if broken else f"The work broke down ({error!r})."

    with shared_cores(jobs):
        run(tasks, jobs)
        for task in [task for task in tasks if problems.get(task.name) == _BROKEN and task.kept() is None]:
            run([task], 1)
    return problems


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    columns = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f", "clip": ".3f", "single_video_distance": ".0f"}
    table = Table("object", *(name.replace("_", " ") for name in columns))
    for row in [*report["objects"], {"object": "mean", **report["summary"]}]:
        name = Text(row["object"])
        if "failure" in row:
            table.add_row(name, *["failed"] * len(columns))
            continue
        cells = ["absent" if row[one] is None else format(row[one], form) for one, form in columns.items()]
        table.add_row(name, *cells)
    results_console().print(table)


def check_results(results: Path | None, protocol: str) -> None:
    """Refuse results where the protocol makes its own.

    Raises:
        SettingsError: It does.
    """
    if results is not None and protocol != "consistent4d":
        raise SettingsError(f"The protocol {protocol} takes no --results.", "Use it with --protocol consistent4d.")
