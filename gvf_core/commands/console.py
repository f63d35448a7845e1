"""Where commands speak: sentences and progress on the standard error, so that results can be piped."""

from rich.console import Console
from rich.text import Text

CONSOLE = Console(stderr=True)


def say(sentence: str, label: str = "", color: str = "") -> None:
    """One line on the standard error, as it is: names of files may hold what rich would take for markup."""
    CONSOLE.print(Text.assemble((label, color), sentence), highlight=False, soft_wrap=True)
