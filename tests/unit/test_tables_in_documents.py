"""The tables in the documents that have to be complete: error codes and licences."""

import ast
import re
from pathlib import Path

import gvf_core.errors
import server.errors

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extension.md"


def codes_of_failed_jobs():
    """The first value of every JobError in the server's source."""
    for source in (ROOT / "server").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "JobError" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield first.value


def test_every_error_code_is_in_the_troubleshooting():
    text = PAGE.read_text(encoding="utf-8")
    codes = {
        thing.code
        for module in (gvf_core.errors, server.errors)
        for thing in vars(module).values()
        if isinstance(thing, type) and hasattr(thing, "code")
    }
    failures = set(codes_of_failed_jobs())
    assert {"oom", "worker_died"} <= failures
    codes |= failures
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_every_package_that_is_installed_is_among_the_licences():
    page = re.sub(r"[_-]", "-", (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").lower())
    named = set(re.findall(r"[a-z0-9-]+", page))
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(pinned) > 50
    assert [name for name in pinned if re.sub(r"[_-]", "-", name.lower()) not in named] == []
