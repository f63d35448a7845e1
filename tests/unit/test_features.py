"""The table of features names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "features.md"


def test_every_feature_names_tests_that_exist():
    rows = re.findall(r"^\| (\d+) \|(.+)\|(.+)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 49))
    for number, feature, tests in rows:
        named = re.findall(r"`(\w+/test_\w+\.py)`: (test_\w+)", tests)
        assert named, f"{number} {feature} names no test"
        files = re.findall(r"`\w+/test_\w+\.py`", tests)
        assert len(named) == len(files), f"{number} {feature} names a file without its test"
        for file, name in named:
            assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8"), f"{number}: {file} has no {name}"
