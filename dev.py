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
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP_NAME = "installed-for"
CONSTRAINTS = ROOT / "constraints.txt"
WANTED_PYTHON = (3, 11)  # the one Python that the bpy wheels of Blender 4.2 to 5.0 run under
DEFINING_FILES = ("pyproject.toml", "setup.py", "constraints.txt", "blender_manifest.toml")
SITE_PACKAGES = "Lib/site-packages" if os.name == "nt" else "lib/python3.*/site-packages"
EXTRAS = "server,blender,cuda,train,evaluate,dev"
EXTENSION_EXTRAS = "server,dev"
NEEDED_DISK_GB = 4
BLENDERS_FOLDER = ROOT / ".blenders"
BLENDERS = {
    "4.2": ("4.2.23", (3, 11)),
    "4.5": ("4.5.15", (3, 11)),
    "5.0": ("5.0.1", (3, 11)),
    "5.1": ("5.1.2", (3, 13)),
    "5.2": ("5.2.3", (3, 13)),
    "5.3": ("5.3.0", (3, 13)),
}
"""The Blenders that the extension is tested in: the version of the bpy module and the Python that it runs under."""
LATER_NUMPY = "numpy==2.3.5"  # of the bpy modules that run under Python 3.13
EXTENSION_TESTS = "tests/blender tests/e2e/test_extension_zip.py"
PYTEST = "import os, sys, pytest; code = pytest.main(sys.argv[1:]); sys.stdout.flush(); os._exit(code)"
"""Runs pytest and ends at once: the bpy module of Blender 4.2 crashes while Python ends, that of 4.5 may hang."""
MOST_WORKERS = 4
"""Processes that share the tests; each may hold Blender, PyTorch and a server, about 3 GB."""
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"

BPY_LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libXext.so.6": "libxext6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libGL.so.1": "libgl1",
}
"""Shared libraries that the bpy module is linked with on Linux, and the Debian packages that hold them."""


class SetupError(Exception):
    """The message is one sentence for the user that says what is wrong and what to do."""


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


# Commands


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


# The environment


def prepare_environment():
    """Make .venv with everything in it; returns the path of its Python."""
    python = prepare(VENV, WANTED_PYTHON, fingerprint_of(DEFINING_FILES), NEEDED_DISK_GB, install)
    check_libraries()
    return python


def prepare_blender(name):
    """Make an environment that adds another bpy module to the packages of .venv; returns the path of its Python.

    For another Python than .venv's the packages are in one more environment.
    """
    bpy, version = BLENDERS[name]
    if f"bpy=={bpy}" in CONSTRAINTS.read_text().split():
        return python_of(VENV)
    packages = VENV
    if version != WANTED_PYTHON:
        packages = BLENDERS_FOLDER / "python{}.{}".format(*version)
        prepare(packages, version, fingerprint_of(DEFINING_FILES), 3, install_for_tests)
    stamp = f"bpy {bpy} over {packages}"
    return prepare(BLENDERS_FOLDER / name, version, stamp, 2, lambda python: install_bpy(python, bpy, packages))


def prepare(folder, version, stamp, needed_gb, fill):
    """Make an environment, unless that was done for the very same stamp.

    Args:
        folder: Where it shall be.
        version: (major, minor) of its Python.
        stamp: Says what is in it.
        needed_gb: Disk space that it needs.
        fill: Installs into the environment with the Python that it gets.

    Returns:
        The path of its Python.
    """
    python = python_of(folder)
    done = folder / STAMP_NAME
    if not (done.is_file() and done.read_text() == stamp and python.exists()):
        check_disk(folder, needed_gb)
        if not (version_of([str(python)]) == version and has_pip(python)):
            make_venv(folder, find_python(version))
        if done.exists():
            done.unlink()  # an installation that fails halfway matches neither the old files nor the new ones
        fill(python)
        done.write_text(stamp)
    return python


def python_of(folder):
    """The Python of an environment, there or not."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint_of(names):
    """A hash over the contents of files of the repository's root."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def check_disk(folder, needed_gb):
    """Stop before an installation that cannot fit."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < needed_gb and not folder.exists():
        raise SetupError(
            f"Only {free:.1f} GB are free at {ROOT} but the installation needs {needed_gb} GB; free some space."
        )


def find_python(version):
    """A command that starts the Python of a version, (major, minor), as a list."""
    wanted = "{}.{}".format(*version)
    for command in python_candidates(wanted):
        if version_of(command) == version:
            return command
    raise SetupError(
        f"Python {wanted} is needed (this bpy module runs under no other) and was not found; get it from python.org, "
        f"with 'apt install python{wanted} python{wanted}-venv', 'brew install python@{wanted}' or 'uv python install "
        f"{wanted}'."
    )


def python_candidates(wanted):
    """Commands that may start the Python of a version such as "3.11", the likeliest first."""
    # Of a virtual environment take the Python behind it: the environment may be the one about to be replaced.
    yield [getattr(sys, "_base_executable", None) or sys.executable]
    yield [f"python{wanted}"]
    if os.name == "nt":
        yield ["py", f"-{wanted}"]
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    for path in sorted(pyenv.glob(f"versions/{wanted}*/bin/python")):
        yield [str(path)]
    if shutil.which("uv"):
        found = subprocess.run(
            ["uv", "python", "find", wanted], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if found.returncode == 0:
            yield [found.stdout.strip()]


def version_of(command):
    """(major, minor) of the Python that a command starts; None where it starts none."""
    if shutil.which(command[0]) is None:
        return None
    asked = subprocess.run(
        [*command, "-c", "import sys; print(*sys.version_info[:2])"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return tuple(int(part) for part in asked.stdout.split()) if asked.returncode == 0 else None


def has_pip(python):
    """Whether an environment was made to the end."""
    return subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0


def make_venv(folder, command):
    """Make an empty environment."""
    print("Making {} with {}".format(folder, " ".join(command)), flush=True)
    made = subprocess.run(
        [*command, "-m", "venv", "--clear", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout:
        package = "python{}.{}-venv".format(*version_of(command))
        raise SetupError(f"This Python cannot make environments; run 'sudo apt install {package}' and try again.")
    reason = made.stdout.strip().splitlines() or ["no reason was given"]
    raise SetupError(f"{folder} could not be made: {reason[-1]}")


def install(python):
    """Install the project and its extras at the pinned versions."""
    print("Installing about 2 GB of packages into .venv; this takes some minutes, once.", flush=True)
    pip_install(python, "-c", CONSTRAINTS, "-e", f"{ROOT}[{EXTRAS}]", *torch_source())


def install_for_tests(python):
    """Install what the extension's tests need under the Python of later Blenders, which wants another NumPy."""
    print("Installing about 1 GB of packages for one more Python; this takes some minutes, once.", flush=True)
    constraints = BLENDERS_FOLDER / CONSTRAINTS.name
    pins = [pin for pin in CONSTRAINTS.read_text().splitlines() if not pin.startswith(("bpy==", "numpy=="))]
    constraints.write_text("\n".join([*pins, LATER_NUMPY]))
    pip_install(python, "-c", constraints, "-e", f"{ROOT}[{EXTENSION_EXTRAS}]", *torch_source())


def install_bpy(python, bpy, packages):
    """Install one bpy module in front of another environment's packages."""
    print(f"Installing bpy {bpy}, about 400 MB, once.", flush=True)
    folder = next(packages.glob(SITE_PACKAGES))
    next(python.parents[1].glob(SITE_PACKAGES)).joinpath("packages.pth").write_text(
        # Unlike a plain path this reads the .pth files there, too, such as that of the project.
        f"import site; site.addsitedir({str(folder)!r})\n"
    )
    pip_install(python, f"bpy=={bpy}")


def pip_install(python, *arguments):
    """Run pip, show some of what it says, and explain it where it fails."""
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    command += [str(argument) for argument in arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(("Collecting", "Downloading", "  Downloading", "Installing", "ERROR")):
            print("  " + line.strip()[:100], flush=True)
    if process.wait() != 0:
        raise SetupError(explain_pip_failure("".join(said)))


def torch_source():
    """Where a Linux machine without an NVIDIA GPU gets a torch that lacks 3 GB of CUDA packages."""
    if platform.system() != "Linux" or shutil.which("nvidia-smi"):
        return []
    try:
        with urllib.request.urlopen(CPU_WHEELS + "/torch/", timeout=5):
            return ["--extra-index-url", CPU_WHEELS]
    except (OSError, ValueError):  # behind a mirror: take the torch that the mirror has
        return []


def explain_pip_failure(output):
    """One sentence for what pip said while failing."""
    reason = next((line.strip() for line in reversed(output.splitlines()) if line.startswith("ERROR")), "")
    if "No space left on device" in output or "Errno 28" in output:
        return f"The disk is full; free about {NEEDED_DISK_GB} GB at {ROOT} and run dev.py again."
    network = ("Failed to establish a new connection", "name resolution", "ConnectTimeout", "Network is unreachable")
    if any(sign in output for sign in network):
        return "The package index cannot be reached; check the network or pip's index settings and run dev.py again."
    if "No matching distribution" in output or "Could not find a version" in output:
        return f"The package index lacks a needed package for {platform.system()} {platform.machine()}. {reason}"
    return f"pip failed. {reason or output.strip()[-300:]}"


def check_libraries():
    """On Linux, see that bpy finds its shared libraries; install them where this may be done silently."""
    if platform.system() != "Linux":
        return
    packages = [BPY_LIBRARIES[name] for name in missing_libraries(BPY_LIBRARIES)]
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if shutil.which("apt-get") is None:
        raise SetupError("bpy needs shared libraries that are missing here; install {}.".format(", ".join(packages)))
    if os.geteuid() != 0:
        raise SetupError("bpy needs shared libraries that are missing here; run 'sudo {}'.".format(" ".join(command)))
    print("Installing {}".format(" ".join(packages)), flush=True)
    if subprocess.call(["apt-get", "update", "-qq"]) != 0 or subprocess.call(command) != 0:
        raise SetupError(f"The shared libraries that bpy needs could not be installed; run '{' '.join(command)}'.")


def missing_libraries(names):
    """Those of the shared libraries that the dynamic linker cannot load."""
    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
