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

from tools import environments

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
    (tmp_path / "tools").mkdir()
    for name in (*names, "tools/environments.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    add_python(tmp_path, ".venv", "3.11")
    return tmp_path


def add_python(checkout, environment, version):
    """An environment whose Python notes how it was called; told to, it fails, or pytest leaves the report "report"."""
    python = checkout / environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    (checkout / environment / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    answer = version.replace(".", " ")
    python.write_text(
        '#!/bin/sh\ncase "$1 $2" in "-c import pip") exit 0;; '
        f'"-c import sys"*) echo {answer}; exit 0;; esac\n'
        f'echo "$@" >> {checkout}/calls\n'
        f"[ -e {checkout}/pip-fails ] && cat {checkout}/pip-fails && exit 1\n"
        "for argument; do case $argument in --junitxml=*) report=${argument#*=};; esac; done\n"
        f'[ "$report" ] && [ -e {checkout}/report ] && /bin/cp {checkout}/report "$report"\nexit 0\n'
    )
    python.chmod(0o755)


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
    assert calls(checkout)[2:] == [f"-m pytest -n {min(os.cpu_count(), 4)} --dist loadfile --max-worker-restart=0"]


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


REPORT = '<testsuites><testsuite tests="7" failures="2" errors="1" skipped="1" time="12.4" /></testsuites>'


@posix_only
def test_every_blender_gets_an_environment_once_in_front_of_the_packages_of_venv(checkout):
    (checkout / "report").write_text(REPORT)
    for name in ("4.2", "4.5"):
        add_python(checkout, f".blenders/{name}", "3.11")
    run_dev(checkout, "setup")
    told = run_dev(checkout, "test", "--blenders", "4.5,4.2", "-k", "capture")
    assert told.returncode == 0
    assert told.stdout.splitlines()[-2:] == [
        "Blender 4.5: 3 passed, 3 failed, 1 skipped in 12 s",
        "Blender 4.2: 3 passed, 3 failed, 1 skipped in 12 s",
    ]
    install, tests = calls(checkout)[1:3]
    assert "pip install" in install and install.endswith("bpy==4.5.15")
    assert "testpaths=tests/blender tests/e2e/test_extension_zip.py" in tests and tests.endswith("-k capture")
    packages = checkout / ".blenders" / "4.5" / "lib" / "python3.11" / "site-packages" / "packages.pth"
    assert str(checkout / ".venv" / "lib" / "python3.11" / "site-packages") in packages.read_text()
    run_dev(checkout, "test", "--blenders", "4.5")
    assert len([call for call in calls(checkout) if call.endswith("bpy==4.5.15")]) == 1


@posix_only
def test_the_blender_of_venv_needs_no_environment(checkout):
    (checkout / "report").write_text(REPORT)
    assert run_dev(checkout, "test", "--blenders", "5.0").returncode == 0
    assert not list((checkout / ".blenders").glob("*/bin"))


@posix_only
def test_a_blender_whose_python_is_missing_fails_and_keeps_none_of_the_others_from_its_tests(checkout, monkeypatch):
    (checkout / "report").write_text(REPORT)
    add_python(checkout, ".blenders/4.5", "3.11")
    monkeypatch.setenv("PYENV_ROOT", str(checkout))
    monkeypatch.setenv("PATH", str(checkout))
    told = run_dev(checkout, "test", "--blenders", "5.2,4.5")
    assert told.returncode == 1
    later, earlier = told.stdout.splitlines()[-2:]
    assert later.startswith("Blender 5.2: not tested. Python 3.13 is needed") and "install" in later
    assert earlier.startswith("Blender 4.5: 3 passed")


@posix_only
def test_later_blenders_share_the_packages_of_one_more_python_with_another_numpy(checkout):
    (checkout / "report").write_text(REPORT)
    for name in ("python3.13", "5.2", "5.3"):
        add_python(checkout, f".blenders/{name}", "3.13")
    assert run_dev(checkout, "test", "--blenders", "5.2,5.3").returncode == 0
    installed = [call.split()[-1] for call in calls(checkout) if "pip install" in call]
    assert installed[2:] == ["bpy==5.2.3", "bpy==5.3.0"] and len(installed) == 4
    pins = (checkout / ".blenders" / "constraints.txt").read_text().split()
    assert "numpy==1.26.4" not in pins and "bpy==5.0.1" not in pins and "torch==2.13.0" in pins


@posix_only
def test_a_blender_that_breaks_down_before_pytest_reports_has_failed(checkout):
    add_python(checkout, ".blenders/4.5", "3.11")
    told = run_dev(checkout, "test", "--blenders", "4.5")
    assert told.returncode == 1
    assert told.stdout.endswith("Blender 4.5: broke down with exit code 0\n")


@posix_only
def test_a_blender_that_nobody_knows_is_told_with_those_that_are_known(checkout):
    told = run_dev(checkout, "test", "--blenders", "4.5,2.79")
    assert told.returncode == 1
    assert "Blender 2.79 is not one of 4.2, 4.5, " in told.stderr
    assert not (checkout / ".blenders").exists()


def test_the_report_of_pytest_is_summed_up(dev, tmp_path):
    (tmp_path / "test_all.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\ndef test_broken(absent): pass\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
    )
    report = tmp_path / "report.xml"
    subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    assert re.fullmatch(r"1 passed, 2 failed, 1 skipped in \d+ s", dev.summary_of(report))


@pytest.mark.parametrize("arguments", [[], ["tset"]])
def test_without_a_known_command_the_usage_is_shown(checkout, arguments):
    result = run_dev(checkout, *arguments)
    assert result.returncode == 2
    assert "dev.py demo" in result.stderr


@posix_only
def test_without_python_3_11_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    other = tmp_path / "python3.11"
    other.write_text("#!/bin/sh\necho 3 9\n")
    other.chmod(0o755)
    monkeypatch.setattr(environments, "python_candidates", lambda wanted: [[str(other)], [str(tmp_path / "absent")]])
    with pytest.raises(environments.SetupError, match=r"Python 3\.11 is needed.*install") as caught:
        environments.find_python((3, 11))
    assert "\n" not in str(caught.value)


def test_the_python_behind_these_tests_is_found():
    if sys.version_info[:2] == (3, 11):
        assert environments.version_of(environments.find_python((3, 11))) == (3, 11)
    else:
        assert environments.version_of([sys.executable]) == sys.version_info[:2]


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
def test_a_failure_of_pip_is_told_in_one_sentence(output, sentence):
    explanation = environments.explain_pip_failure(output)
    assert re.search(sentence, explanation)
    assert "\n" not in explanation


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux libraries")
def test_a_library_that_cannot_be_loaded_is_missing():
    absent = "libnothing-of-the-kind.so.7"
    assert environments.missing_libraries(["libc.so.6", absent]) == [absent]


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
