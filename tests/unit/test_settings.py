"""Settings are checked once, at the door."""

import dataclasses
import json
import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gvf_blender.core.errors import SettingsError as ExtensionSettingsError
from gvf_blender.core.motion_settings import CHOICES, RANGES, MotionSettings
from gvf_core.errors import SettingsError
from gvf_core.settings import AnimateSettings

NAMES = [field.name for field in dataclasses.fields(AnimateSettings)]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=5,
)


WHOLE = {field.name for field in dataclasses.fields(AnimateSettings) if field.type is int}


def in_range(name: str) -> st.SearchStrategy:
    low, high = RANGES[name]
    return st.integers(low, high) if name in WHOLE else st.floats(low, high) | st.integers(math.ceil(low), high)


@given(
    st.fixed_dictionaries(
        {},
        # The two that depend on each other are drawn apart from the rest.
        optional={name: in_range(name) for name in RANGES if name not in ("window", "overlap")}
        | {name: st.sampled_from(choices) for name, choices in CHOICES.items()},
    )
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
        value = int(high) + 1
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


@pytest.mark.parametrize("value", ["", "../x", "Two Words", "a" * 60, 3, None])
@pytest.mark.parametrize("settings", [AnimateSettings, MotionSettings])
def test_weights_are_a_plain_name(settings, value):
    with pytest.raises((SettingsError, ExtensionSettingsError), match="weights"):
        settings(weights=value)


@pytest.mark.parametrize("settings", [AnimateSettings, MotionSettings])
def test_windows_are_longer_than_their_overlap(settings):
    with pytest.raises((SettingsError, ExtensionSettingsError), match="overlap of 8 frames"):
        settings(window=8, overlap=8)


@pytest.mark.parametrize("value", [0, 1, "true", None])
@pytest.mark.parametrize("name", ["standardise_positions", "follow_colors"])
@pytest.mark.parametrize("settings", [AnimateSettings, MotionSettings])
def test_a_switch_is_true_or_false(settings, name, value):
    with pytest.raises((SettingsError, ExtensionSettingsError), match=name):
        settings(**{name: value})


def test_the_extension_has_the_same_names_defaults_choices_and_ranges():
    assert dataclasses.asdict(MotionSettings()) == dataclasses.asdict(AnimateSettings())
    literals = {field.name: get_args(field.type) for field in dataclasses.fields(AnimateSettings)}
    assert {name: choices for name, choices in literals.items() if choices} == CHOICES
    together = {"window": {"overlap": 0}, "overlap": {"window": 128}}
    for name, (low, high) in RANGES.items():
        for value in (low, high):
            assert getattr(AnimateSettings(**{name: value}, **together.get(name, {})), name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(SettingsError):
                AnimateSettings(**{name: value})
