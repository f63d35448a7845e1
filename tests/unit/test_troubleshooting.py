"""The table of error codes in the documents."""

from pathlib import Path

import gvf_core.errors
import server.errors

PAGE = Path(__file__).parents[2] / "docs" / "extension.md"


def test_every_error_code_is_in_the_troubleshooting():
    text = PAGE.read_text(encoding="utf-8")
    codes = {
        thing.code
        for module in (gvf_core.errors, server.errors)
        for thing in vars(module).values()
        if isinstance(thing, type) and hasattr(thing, "code")
    }
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []
