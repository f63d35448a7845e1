"""Where commands speak: sentences and progress on the standard error, so that results can be piped."""

from rich.console import Console
from rich.text import Text

CONSOLE = Console(stderr=True)
_PIPE_WIDTH = 140


def results_console() -> Console:
    """The standard output; into a file or pipe with long lines, so that whoever searches them finds whole names."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def say(sentence: str, label: str = "", color: str = "") -> None:
    """One line on the standard error, as it is: names of files may hold what rich would take for markup."""
    CONSOLE.print(Text.assemble((label, color), sentence), highlight=False, soft_wrap=True)
