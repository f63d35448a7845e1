"""What the process that looks into uploads may do to the server: nothing."""

import sys

import pytest

from server import confined
from server.confined import OUT_OF_MEMORY, BeyondBoundsError, Bounds, BrokenError, ask
from server.errors import GivenUpError


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Asks a process that runs a line of Python instead of looking into a file."""
    program, real = tmp_path / "python", sys.executable
    monkeypatch.setattr(confined.sys, "executable", str(program))

    def ask_it(line, seconds=60.0, given_up=lambda: False):
        body = tmp_path / "body.py"
        body.write_text(f"import os, sys, signal, time\n{line}\n", encoding="utf-8")
        program.write_text(f'#!/bin/sh\nexec "{real}" "{body}"\n', encoding="utf-8")
        program.chmod(0o755)
        return ask("video", tmp_path / "v.mp4", "v.mp4", {}, Bounds(seconds, seconds, 1000), given_up)

    return ask_it


def test_an_answer_comes_back(asked):
    assert asked("""print('{"pixels": 3}')""") == {"pixels": 3}


def test_complaints_that_are_no_text_are_no_failure_of_their_own(asked):
    with pytest.raises(BrokenError, match="status 1"):
        asked("sys.stderr.buffer.write(bytes([255, 254])); sys.exit(1)")


@pytest.mark.parametrize("line", [f"sys.exit({OUT_OF_MEMORY})", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_too_much_memory_is_told_by_the_process_or_by_the_system(asked, line):
    with pytest.raises(BeyondBoundsError):
        asked(line)


def test_too_much_time_ends_it(asked):
    with pytest.raises(BeyondBoundsError):
        asked("time.sleep(600)", seconds=0.2)


def test_nobody_waits_for_it_any_more(asked):
    with pytest.raises(GivenUpError):
        asked("time.sleep(600)", given_up=lambda: True)
