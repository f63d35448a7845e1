"""How long a job may still take."""

import pytest

from gvf_blender.core.time_left import TimeLeft, in_words


def test_a_steady_job_tells_the_rest():
    left = TimeLeft()
    for second in range(11):
        left.note("running", 0.2 + 0.04 * second, now=100.0 + second)
    assert left.seconds == pytest.approx(10)


def test_nothing_is_told_too_early_or_without_progress():
    left = TimeLeft()
    left.note("running", 0.2, 0.0)
    assert left.seconds is None
    left.note("running", 0.5, 1.0)
    assert left.seconds is None
    left.note("queued", 0.5, 50.0)
    left.note("queued", 0.5, 90.0)
    assert left.seconds is None


def test_a_new_phase_starts_from_nothing():
    left = TimeLeft()
    left.note("capturing", 0.0, 0.0)
    left.note("running", 0.1, 100.0)
    left.note("running", 0.2, 110.0)
    assert left.seconds == pytest.approx(80)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "5 s"), (42, "40 s"), (58, "1 min"), (185, "3 min"), (4800, "1 h 20 min")]
)
def test_durations_are_rough_words(seconds, words):
    assert in_words(seconds) == words
