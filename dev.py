#!/usr/bin/env python3
"""One command for every chore: makes .venv, installs the project into it, and runs what was asked for.

    python3 dev.py demo    animate the example asset with its driving video, into out/demo
    python3 dev.py test    run the tests; further arguments go to pytest
    python3 dev.py lint    ruff, mypy and import-linter; --fix repairs what ruff can
    python3 dev.py build   the Blender extension as dist/gvf_blender-VERSION.zip
    python3 dev.py serve   the server that computes motion; further arguments go to it
    python3 dev.py setup   only install

Needs nothing but a Python >= 3.8 to start; everything else runs under a Python 3.11 that it finds by itself.
"""

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
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "installed-for"
CONSTRAINTS = ROOT / "constraints.txt"
WANTED_PYTHON = (3, 11)  # the one Python that the bpy wheels of Blender 4.2 to 5.0 run under
DEFINING_FILES = ("pyproject.toml", "setup.py", "constraints.txt", "blender_manifest.toml")
EXTRAS = "server,blender,cuda,train,evaluate,dev"
NEEDED_DISK_GB = 4
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
    """Run the tests."""
    return run([python, "-m", "pytest", *arguments])


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
    site_packages = "Lib/site-packages" if os.name == "nt" else "lib/python3.11/site-packages"
    packer = next(VENV.glob(site_packages + "/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"), None)
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
    """Make .venv and install into it, unless that was done for the present state of the defining files.

    Returns:
        The path of its Python.
    """
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    fingerprint = fingerprint_of([ROOT / name for name in DEFINING_FILES])
    if not (STAMP.is_file() and STAMP.read_text() == fingerprint and python.exists()):
        check_disk()
        if not (version_of([str(python)]) == WANTED_PYTHON and has_pip(python)):
            make_venv(find_python())
        if STAMP.exists():
            STAMP.unlink()  # an installation that fails halfway matches neither the old files nor the new ones
        install(python)
        STAMP.write_text(fingerprint)
    check_libraries()
    return python


def fingerprint_of(files):
    """A hash over the contents of files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def check_disk():
    """Stop before an installation that cannot fit."""
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < NEEDED_DISK_GB and not VENV.exists():
        raise SetupError(
            f"Only {free:.1f} GB are free at {ROOT} but the installation needs {NEEDED_DISK_GB} GB; free some space."
        )


def find_python():
    """A command that starts Python 3.11, as a list."""
    for command in python_candidates():
        if version_of(command) == WANTED_PYTHON:
            return command
    raise SetupError(
        "Python 3.11 is needed (the bpy module runs under no other) and was not found; get it from python.org, with "
        "'apt install python3.11 python3.11-venv', 'brew install python@3.11' or 'uv python install 3.11'."
    )


def python_candidates():
    """Commands that may start Python 3.11, the likeliest first."""
    # Of a virtual environment take the Python behind it: the environment may be the one about to be replaced.
    yield [getattr(sys, "_base_executable", None) or sys.executable]
    yield ["python3.11"]
    if os.name == "nt":
        yield ["py", "-3.11"]
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    for path in sorted(pyenv.glob("versions/3.11*/bin/python")):
        yield [str(path)]
    if shutil.which("uv"):
        found = subprocess.run(
            ["uv", "python", "find", "3.11"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
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


def make_venv(command):
    """Make an empty .venv."""
    print("Making {} with {}".format(VENV, " ".join(command)), flush=True)
    made = subprocess.run(
        [*command, "-m", "venv", "--clear", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if made.returncode == 0:
        return
    if "ensurepip" in made.stdout:
        raise SetupError("This Python cannot make environments; run 'sudo apt install python3.11-venv' and try again.")
    reason = made.stdout.strip().splitlines() or ["no reason was given"]
    raise SetupError(f"{VENV} could not be made: {reason[-1]}")


def install(python):
    """Install the project and its extras at the pinned versions."""
    print("Installing about 2 GB of packages into .venv; this takes some minutes, once.", flush=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]", *torch_source()]
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
