"""`gvf doctor` on this machine and on worse ones."""

import json
import shutil
import sys
from collections import namedtuple

import psutil
import pytest

from gvf_core import doctor
from gvf_core.cli import main


def checks(capsys, status: int = 0) -> dict[str, dict]:
    assert main(["doctor", "--json"]) == status
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_everything_that_animating_needs_is_looked_at(capsys):
    found = checks(capsys)
    assert {"Python", "torch", "fastapi", "memory", "disk", "weights released"} <= set(found)
    assert any(name == "device" or name.startswith("GPU") for name in found)


def test_a_missing_package_is_a_problem_with_its_remedy(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SERVER_PACKAGES", ("no-such-package",))
    check = checks(capsys, status=1)["no-such-package"]
    remedy = f'Install it: "{sys.executable}" -m pip install "gvf-blender[server]"'
    assert (check["verdict"], check["remedy"]) == ("problem", remedy)


@pytest.mark.parametrize("what", ["memory", "disk"])
def test_little_room_is_a_note_with_its_remedy(capsys, monkeypatch, what):
    usage = namedtuple("usage", "total free available")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**8, 0))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: usage(10**12, 0, 10**8))
    check = checks(capsys)[what]
    assert (check["verdict"], bool(check["remedy"])) == ("note", True)


def test_missing_weights_are_named_with_the_command_that_fetches_them(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("GVF_MODELS_DIR", str(tmp_path))
    check = checks(capsys)["weights released"]
    assert check["verdict"] == "note"
    assert "gvf models download" in check["remedy"]


def test_people_get_a_table(capsys):
    assert main(["doctor"]) == 0
    assert "Python" in capsys.readouterr().out
