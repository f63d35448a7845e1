"""Settings are checked once, at the door."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvf_blender.core.motion_settings import ENGINES, RANGES, MotionSettings
from gvf_core.errors import SettingsError
from gvf_core.settings import AnimateSettings

NAMES = [field.name for field in dataclasses.fields(AnimateSettings)]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=5,
)


def in_range(name: str) -> st.SearchStrategy:
    low, high = RANGES[name]
    numbers = st.integers(low, high)
    return numbers | st.floats(low, high) if name in ("azimuth", "elevation", "fov") else numbers


@given(
    st.fixed_dictionaries({}, optional={name: in_range(name) for name in RANGES} | {"engine": st.sampled_from(ENGINES)})
)
def test_values_in_range_are_accepted_and_survive_json(values):
    settings = AnimateSettings.from_dict(values)
    assert {name: getattr(settings, name) for name in values} == values
    assert AnimateSettings.from_dict(json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), json_values, max_size=4) | json_values)
def test_any_json_is_either_valid_settings_or_a_settings_error(values):
    try:
        settings = AnimateSettings.from_dict(values)
    except SettingsError as error:
        assert error.message and error.hint
    else:
        for name, (low, high) in RANGES.items():
            assert low <= getattr(settings, name) <= high


@given(st.sampled_from(sorted(RANGES)), st.floats() | st.integers())
def test_a_value_outside_its_range_names_the_setting(name, value):
    low, high = RANGES[name]
    if isinstance(value, int | float) and low <= value <= high:
        value = high + 1
    with pytest.raises(SettingsError, match=name):
        AnimateSettings.from_dict({name: value})


@pytest.mark.parametrize("value", [True, None, "3", [3], math.nan, math.inf, 3.5])
def test_a_whole_number_is_neither_text_nor_truth_nor_a_fraction(value):
    with pytest.raises(SettingsError, match="seed"):
        AnimateSettings(seed=value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"Unknown setting 'gausians'.*gaussians"):
        AnimateSettings.from_dict({"gausians": 3})


def test_an_unknown_engine_lists_the_known_ones():
    with pytest.raises(SettingsError, match=r"no engine 'magic'.*auto, fit"):
        AnimateSettings(engine="magic")


def test_the_extension_has_the_same_names_defaults_and_ranges():
    assert dataclasses.asdict(MotionSettings()) == dataclasses.asdict(AnimateSettings())
    for name, (low, high) in RANGES.items():
        for value in (low, high):
            assert getattr(AnimateSettings(**{name: value}), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(SettingsError):
                AnimateSettings(**{name: value})
