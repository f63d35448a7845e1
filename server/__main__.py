"""`python -m server`, `gvf serve`, `gvf-server`: starts the server in the foreground."""

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is asked to stop.

    Returns:
        Exit status: 0 after a clean end, 1 if it could not start.
    """
    # here and not above: the worker process imports this module again and needs none of the HTTP packages
    from server.configuration import read_options
    from server.errors import StartError
    from server.running import run_server

    try:
        return run_server(read_options(arguments, os.environ))
    except StartError as error:
        sys.stderr.write(f"gvf-server: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
