"""`gvf doctor`: what this machine has, and what keeps animating from working."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from gvf_core.commands.console import results_console

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COLORS = {"good": "green", "note": "yellow", "problem": "red"}


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    doctor = commands.add_parser("doctor", help="check Python, torch, device, memory, disk and weights")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)


def _doctor(parsed: argparse.Namespace) -> int:
    """Show everything; the exit status is 1 if something keeps animating from working."""
    from gvf_core.doctor import examine

    checks = list(examine())
    if parsed.json:
        sys.stdout.write(json.dumps([asdict(check) for check in checks], indent=2) + "\n")
    else:
        table = Table(box=SIMPLE, pad_edge=False)
        for title in ("", "found", "what to do"):
            table.add_column(title)
        for check in checks:
            table.add_row(Text(check.name, _COLORS[check.verdict]), Text(check.found), Text(check.remedy))
        results_console().print(table)
    return 1 if any(check.verdict == "problem" for check in checks) else 0
