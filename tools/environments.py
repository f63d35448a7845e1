"""The environments that dev.py works in: .venv, and one for each other Blender that the extension is tested in.

Needs nothing but a Python >= 3.8, as dev.py does.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
