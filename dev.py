#!/usr/bin/env python3
"""One command for every chore: makes .venv, installs the project into it, and runs what was asked for.

    python3 dev.py demo    animate the example asset with its driving video, into out/demo
    python3 dev.py test    run the tests; further arguments go to pytest. --blenders 4.5,5.2 or --blenders all runs
                           those of the extension in these Blenders
    python3 dev.py lint    ruff, mypy and import-linter; --fix repairs what ruff can
    python3 dev.py build   the Blender extension as dist/gvf_blender-VERSION.zip
    python3 dev.py serve   the server that computes motion; further arguments go to it
    python3 dev.py setup   only install

Needs nothing but a Python >= 3.8 to start; everything else runs under a Python 3.11 that it finds by itself; Blender
5.1 and later need a Python 3.13.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

from tools.environments import (
    BLENDERS,
    BLENDERS_FOLDER,
    CONSTRAINTS,
    ROOT,
    SITE_PACKAGES,
    VENV,
    SetupError,
    prepare_blender,
    prepare_environment,
)

EXTENSION_TESTS = "tests/blender tests/e2e/test_extension_zip.py"
PYTEST = "import os, sys, pytest; code = pytest.main(sys.argv[1:]); sys.stdout.flush(); os._exit(code)"
"""Runs pytest and ends at once: the bpy module of Blender 4.2 crashes while Python ends, that of 4.5 may hang."""
MOST_WORKERS = 4
"""Processes that share the tests; each may hold Blender, PyTorch and a server, 3 to 4 GB."""


def main(arguments):
    """Run one command; returns the exit code."""
    commands = {"demo": demo, "test": test, "lint": lint, "build": build, "serve": serve, "setup": setup}
    if not arguments or arguments[0] not in commands:
        asked_for_help = bool(arguments) and arguments[0] in ("-h", "--help", "help")
        print(__doc__, file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    try:
        python = prepare_environment()
        return commands[arguments[0]](python, arguments[1:])
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"dev.py: {error}; is the disk full or the folder read-only?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def setup(python, arguments):
    """Everything was done on the way here."""
    print(f"Ready: {python}")
    return 0


def demo(python, arguments):
    """Run the main job on the example."""
    return run([python, "-m", "tools.demo", *arguments])


def test(python, arguments):
    """Run the tests, all in .venv or those of the extension in several Blenders."""
    parser = argparse.ArgumentParser(prog="dev.py test", add_help=False, allow_abbrev=False)
    parser.add_argument("--blenders", metavar="4.5,5.2|all")
    ours, arguments = parser.parse_known_args(arguments)
    if ours.blenders is None and not arguments:
        # The files are shared out among processes that compute with one thread each; what is asked for by name is
        # told in the order that it runs.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        arguments = ["-n", str(min(os.cpu_count() or 1, MOST_WORKERS)), "--dist", "loadfile"]
        # With another worker in its place, one that crashed near the end left the others waiting for ever.
        arguments.append("--max-worker-restart=0")
    if ours.blenders is None:
        return run([python, "-m", "pytest", *arguments])
    names = list(BLENDERS) if ours.blenders == "all" else ours.blenders.split(",")
    unknown = [name for name in names if name not in BLENDERS]
    if unknown:
        raise SetupError("Blender {} is not one of {}, all.".format(", ".join(unknown), ", ".join(BLENDERS)))
    outcomes = {name: test_in_blender(name, arguments) for name in names}
    print("\n".join(f"Blender {name}: {said}" for name, (_, said) in outcomes.items()))
    return int(any(code for code, _ in outcomes.values()))


def test_in_blender(name, arguments):
    """Run the extension's tests in one Blender.

    Returns:
        The exit code and one line that says how it went. What hinders one Blender hinders no other.
    """
    try:
        python = prepare_blender(name)
    except SetupError as error:
        return 1, f"not tested. {error}"
    print(f"== Blender {name}, bpy {BLENDERS[name][0]}", flush=True)
    report = BLENDERS_FOLDER / f"{name}.xml"
    report.parent.mkdir(exist_ok=True)
    if report.exists():
        report.unlink()
    code = run([python, "-c", PYTEST, "-o", f"testpaths={EXTENSION_TESTS}", f"--junitxml={report}", *arguments])
    if not report.exists():
        return code or 1, f"broke down with exit code {code}"
    return code, summary_of(report)


def summary_of(report):
    """How many tests passed, from pytest's report."""
    counts = xml.etree.ElementTree.parse(str(report)).find("testsuite").attrib
    bad, skipped = int(counts["failures"]) + int(counts["errors"]), int(counts["skipped"])
    passed = int(counts["tests"]) - bad - skipped
    return "{} passed, {} failed, {} skipped in {:.0f} s".format(passed, bad, skipped, float(counts["time"]))


def serve(python, arguments):
    """Run the server in the foreground."""
    return run([python, "-m", "server", *arguments])


def lint(python, arguments):
    """Run every check, also after one that failed, so that one run shows everything."""
    if arguments not in ([], ["--fix"]):
        raise SetupError("lint knows only the argument --fix, not {}.".format(" ".join(arguments)))
    checks = (
        [python, "-m", "ruff", "check", *arguments],
        [python, "-m", "ruff", "format", *([] if arguments else ["--check"])],
        [python, "-m", "mypy"],
        [python.parent / "lint-imports"],
    )
    failed = 0
    for check in checks:
        failed |= run(check) != 0
    return int(failed)


def build(python, arguments):
    """Pack the extension with Blender's own tool, which refuses what Blender would refuse."""
    if arguments:
        raise SetupError("build takes no arguments, but got {}.".format(" ".join(arguments)))
    packer = next(VENV.glob(SITE_PACKAGES + "/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"), None)
    if packer is None:
        raise SetupError("The bpy module in .venv has no extension packer; delete .venv and run dev.py again.")
    output = ROOT / "dist"
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "gvf_blender"
        shutil.copytree(str(ROOT / "gvf_blender"), str(source), ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("blender_manifest.toml", "LICENSE"):
            shutil.copy(str(ROOT / name), str(source / name))
        # The server of the very same version, for the extension to install; a data file, so the zip fits every Python.
        wheel = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        if run([*wheel, "--wheel-dir", source / "wheel", copy_of_project(Path(folder) / "project")]) != 0:
            raise SetupError("The wheel of core and server could not be made; see pip's message above.")
        shutil.copy(str(CONSTRAINTS), str(source / "wheel" / CONSTRAINTS.name))
        return run([python, str(packer), "build", "--source-dir", str(source), "--output-dir", str(output)])


def copy_of_project(folder):
    """What the wheel is made from; in place, files that were removed since the last build would get into it."""
    folder.mkdir()
    for name in ("gvf_core", "server", "gvf_blender"):
        shutil.copytree(str(ROOT / name), str(folder / name), ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "blender_manifest.toml", "README.md", "LICENSE"):
        shutil.copy(str(ROOT / name), str(folder / name))
    return folder


def run(command):
    """Run a command in the repository's root and return its exit code."""
    return subprocess.call([str(part) for part in command], cwd=str(ROOT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
