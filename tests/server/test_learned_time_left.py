"""Time left as a value: what the clock of a job makes of what was learned."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvf_core.settings import AnimateSettings
from server.database import Database
from server.jobs import FurtherUpload, JobRequest
from server.time_left import REMEMBERED_JOBS, JobClock, Stage, StageTimes

LEARNED = [Stage("read", 2.0, 0.1), Stage("find", 10.0, 0.9), Stage("move", 1.0, 1.0)]
REQUEST = JobRequest("capture", "video", "", AnimateSettings())


def test_nothing_is_said_before_anything_was_learned():
    assert JobClock([]).report("read", 0.0, now=0.0) is None


def test_a_job_that_begins_takes_what_earlier_ones_took():
    assert JobClock(LEARNED).report("read", 0.0, now=0.0) == 13.0


def test_stages_that_are_over_count_no_more():
    clock = JobClock(LEARNED)
    clock.report("read", 0.0, now=0.0)
    assert clock.report("find", 0.1, now=2.0) == 11.0


def test_within_a_stage_its_own_speed_counts():
    clock = JobClock(LEARNED)
    clock.report("find", 0.1, now=0.0)
    assert clock.report("find", 0.5, now=20.0) == pytest.approx(20.0 + 1.0)


def test_what_was_measured_is_learned_as_medians_of_the_newest_jobs(tmp_path):
    times = StageTimes(Database(tmp_path / "jobs.sqlite"))
    for number in range(REMEMBERED_JOBS + 5):
        clock = times.clock(REQUEST)
        clock.report("read", 0.0, now=0.0)
        clock.report("find", 0.25, now=1.0 if number < 5 else 3.0)
        times.learn(REQUEST, number, clock.stages(now=7.0))
    assert times.clock(REQUEST).report("read", 0.0, now=0.0) == 7.0


def test_jobs_with_other_settings_are_learned_apart(tmp_path):
    times = StageTimes(Database(tmp_path / "jobs.sqlite"))
    times.learn(REQUEST, 1, LEARNED)
    better = replace(REQUEST, settings=AnimateSettings(preset="best"))
    two_videos = replace(REQUEST, further=(FurtherUpload("side", "", 90.0, 0.0),))
    for other in (better, two_videos):
        assert times.clock(other).report("read", 0.0, now=0.0) is None


@given(st.lists(st.tuples(st.sampled_from(["read", "find", "move", "new"]), st.floats(0, 1), st.floats(0, 1e6))))
def test_time_left_is_never_negative_whatever_is_reported(reports):
    clock = JobClock(LEARNED)
    now = 0.0
    for stage, fraction, seconds in reports:
        now += seconds
        left = clock.report(stage, fraction, now)
        assert left is None or left >= 0
