"""Time left in the words of the extension."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvf_blender.core.time_left import time_left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "about 5 s left"),
        (0, "about 5 s left"),
        (31, "about 35 s left"),
        (90, "about 2 min left"),
        (181, "about 4 min left"),
        (5400, "about 2 h left"),
    ],
)
def test_time_left_is_rounded_up_to_what_a_person_would_say(seconds, words):
    assert time_left(seconds) == words


@given(st.floats(0, 1e6))
def test_time_left_is_never_less_than_expected(seconds):
    number, unit = time_left(seconds).split()[1:3]
    assert int(number) * {"s": 1, "min": 60, "h": 3600}[unit] >= seconds
