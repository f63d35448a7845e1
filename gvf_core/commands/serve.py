"""`gvf serve`: the inference server, which is a program of its own that the core knows by name only."""

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

SERVER_MODULE = "server"
_LEASH = ["--parent-pid", str(os.getpid())] if sys.platform == "win32" else []
"""Windows cannot become another program: the server that this process waits for must not outlive it."""


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command; its options are the server's."""
    # with another prefix, flags are arguments like others and the server's own parser gets them all
    serve = commands.add_parser(
        "serve", help="run the server for the Blender extension", add_help=False, prefix_chars="+"
    )
    serve.add_argument("options", nargs=argparse.REMAINDER)
    serve.set_defaults(run=lambda parsed: run_module(SERVER_MODULE, [*_LEASH, *parsed.options]))


def run_module(module: str, arguments: list[str]) -> int:
    """Become `python -m MODULE`, so that signals and the exit status are that program's; on Windows, wait for it."""
    command = [sys.executable, "-m", module, *arguments]
    if sys.platform != "win32":
        os.execv(sys.executable, command)
    return subprocess.call(command)
