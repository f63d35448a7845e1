"""Numbers that a server sends are ones that can be calculated with and drawn."""

import json

import pytest

from gvf_blender.core.json_number import number, whole_number
from gvf_blender.core.server_facts import ServerFacts
from gvf_blender.core.weights_facts import WeightsFacts

UNUSABLE = ("NaN", "1e999", "-Infinity", "1e300", "9" * 400)
FACTS = {"version": "1", "worker": "ready", "devices": [], "engines": [], "weights": {}}


@pytest.mark.parametrize("text", UNUSABLE)
def test_what_is_not_finite_or_too_large_is_refused(text):
    for read in (number, whole_number):
        with pytest.raises(ValueError, match="not finite, or too large"):
            read(json.loads(text))


def test_ordinary_numbers_are_read():
    assert (number(-0.5), number(7), whole_number(2**53), whole_number(1.9)) == (-0.5, 7.0, 2**53, 1)


@pytest.mark.parametrize("value", [None, [], {}])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError):
        number(value)


@pytest.mark.parametrize("text", UNUSABLE)
def test_facts_with_unusable_numbers_are_refused(text):
    with pytest.raises(ValueError, match="not finite, or too large"):
        ServerFacts.from_json(FACTS | {"memory_available_mb": json.loads(text)})
    download = {"state": "running", "stage": "", "progress": json.loads(text), "error": None}
    with pytest.raises(ValueError, match="not finite, or too large"):
        WeightsFacts.from_json({"models": [], "download": download})
