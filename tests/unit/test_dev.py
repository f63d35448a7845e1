"""dev.py installs once, passes on exit codes and says in one sentence what is wrong."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
posix_only = pytest.mark.skipif(os.name == "nt", reason="fakes a Python with a shell script")


@pytest.fixture
def dev():
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """A copy of what dev.py looks at, whose environment holds a Python that only notes how it was called."""
    names = ("dev.py", "pyproject.toml", "setup.py", "constraints.txt", "blender_manifest.toml")
    for name in names:
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\ncase "$1 $2" in "-c import pip") exit 0;; "-c "*) echo 3 11; exit 0;; esac\n'
        f'echo "$@" >> {tmp_path}/calls\n'
        f"[ -e {tmp_path}/pip-fails ] && cat {tmp_path}/pip-fails && exit 1\nexit 0\n"
    )
    python.chmod(0o755)
    return tmp_path


def run_dev(folder, *arguments):
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "dev.py", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def calls(folder):
    return (folder / "calls").read_text().splitlines()


@posix_only
def test_the_first_call_installs_the_pinned_versions_and_later_ones_do_not(checkout):
    assert run_dev(checkout, "test", "-k", "capture").returncode == 0
    install, tests = calls(checkout)
    assert "pip install" in install
    assert f"-c {checkout}/constraints.txt" in install
    assert tests == "-m pytest -k capture"

    assert run_dev(checkout, "test").returncode == 0
    assert calls(checkout)[2:] == ["-m pytest"]


@posix_only
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "blender_manifest.toml", "setup.py"])
def test_a_change_of_what_is_installed_installs_again(checkout, name):
    run_dev(checkout, "setup")
    with (checkout / name).open("a") as file:
        file.write("\n# changed\n")
    run_dev(checkout, "setup")
    assert len([call for call in calls(checkout) if "pip install" in call]) == 2


@posix_only
def test_an_installation_that_failed_is_tried_again(checkout):
    (checkout / "pip-fails").write_text(
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left\n"
    )
    failed = run_dev(checkout, "setup")
    assert failed.returncode == 1
    assert "disk is full" in failed.stderr
    assert "Traceback" not in failed.stderr
    (checkout / "pip-fails").unlink()
    assert run_dev(checkout, "setup").returncode == 0
    assert len(calls(checkout)) == 2


@posix_only
def test_the_exit_code_is_that_of_the_command(checkout):
    run_dev(checkout, "setup")
    (checkout / "pip-fails").write_text("1 failed\n")
    assert run_dev(checkout, "test").returncode == 1


@pytest.mark.parametrize("arguments", [[], ["tset"]])
def test_without_a_known_command_the_usage_is_shown(checkout, arguments):
    result = run_dev(checkout, *arguments)
    assert result.returncode == 2
    assert "dev.py demo" in result.stderr


@posix_only
def test_without_python_3_11_one_sentence_says_how_to_get_it(dev, tmp_path, monkeypatch):
    other = tmp_path / "python3.11"
    other.write_text("#!/bin/sh\necho 3 9\n")
    other.chmod(0o755)
    monkeypatch.setattr(dev, "python_candidates", lambda: [[str(other)], [str(tmp_path / "absent")]])
    with pytest.raises(dev.SetupError, match=r"Python 3\.11 is needed.*install") as caught:
        dev.find_python()
    assert "\n" not in str(caught.value)


def test_the_python_behind_these_tests_is_found(dev):
    if sys.version_info[:2] == (3, 11):
        assert dev.version_of(dev.find_python()) == (3, 11)
    else:
        assert dev.version_of([sys.executable]) == sys.version_info[:2]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("WARNING: Retrying ...: Failed to establish a new connection: [Errno 111]", "package index cannot be reached"),
        ("Temporary failure in name resolution\nERROR: No matching distribution found for torch", "cannot be reached"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for bpy==5.0.1", r"bpy==5\.0\.1"),
        ("ERROR: Failed building wheel for thing", "Failed building wheel"),
        ("", "pip failed"),
    ],
)
def test_a_failure_of_pip_is_told_in_one_sentence(dev, output, sentence):
    explanation = dev.explain_pip_failure(output)
    assert re.search(sentence, explanation)
    assert "\n" not in explanation


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux libraries")
def test_a_library_that_cannot_be_loaded_is_missing(dev):
    assert dev.missing_libraries(["libc.so.6", "libnothing-of-the-kind.so.7"]) == ["libnothing-of-the-kind.so.7"]


def test_every_direct_dependency_is_pinned_exactly():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(name for extra in ("server", "cuda", "blender", "dev") for name in optional[extra]),
    ]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {line.split("==")[0].lower() for line in lines}
    assert all("==" in line for line in lines)
    assert {re.match(r"[\w-]+", name)[0].lower() for name in wanted} <= pinned
    assert {"torch==2.13.0", "numpy==1.26.4", "bpy==5.0.1"} <= set(lines)
