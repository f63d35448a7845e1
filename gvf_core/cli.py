"""The command `gvf`: parses and calls, nothing else."""

import argparse
import io
import logging
import signal
import sys
import threading

import gvf_core
from gvf_core.commands import animate, bench, doctor, evaluate, models, serve, train
from gvf_core.commands.console import say
from gvf_core.errors import GvfError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a pipe on Windows cannot take every character
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if parsed.verbose else logging.WARNING, format="%(levelname)s %(message)s")
    if threading.current_thread() is threading.main_thread():
        # So that temporary files and child processes are cleaned up on this way out, too.
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows knows no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        return parsed.run(parsed)
    except (GvfError, OSError) as error:
        say(str(error), "Error: ", "red")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gvf", description="Make a captured 3D asset move like a video.")
    parser.add_argument("--version", action="version", version=f"gvf {gvf_core.__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (animate, bench, doctor, evaluate, models, serve, train):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
