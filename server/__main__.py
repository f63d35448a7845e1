"""`python -m server`, `gvf-server`: starts the server in the foreground."""

import argparse
import sys
from pathlib import Path

from server.handshake import default_home

MAX_UPLOAD_MB = 2048
LARGEST_LIMIT_MB = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is asked to stop.

    Returns:
        Exit status: 0 after a clean end, 1 if it could not start.
    """
    parser = argparse.ArgumentParser(prog="gvf-server", description="Computes animations for the Blender extension.")
    home = default_home()
    parser.add_argument(
        "--handshake",
        type=Path,
        default=home / "server.json",
        help="file that tells clients address and token (%(default)s)",
    )
    parser.add_argument(
        "--data", type=Path, default=home / "server", help="folder of uploads and results (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 lets the system choose (%(default)s)")
    parser.add_argument("--parent-pid", type=int, help="stop when the process with this id has ended")
    parser.add_argument(
        "--max-upload-mb", type=_megabytes, default=MAX_UPLOAD_MB, help="largest accepted upload (%(default)s)"
    )
    parser.add_argument("--job-function", default="server.animation_job:animate_job", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    # here and not above: the worker process imports this module again and needs none of the HTTP packages
    from server.errors import StartError
    from server.log import configure_logging
    from server.running import ServerOptions, run_server

    configure_logging()
    try:
        return run_server(
            ServerOptions(
                handshake=options.handshake.absolute(),
                data=options.data.absolute(),
                port=options.port,
                parent_pid=options.parent_pid,
                max_blob_bytes=int(options.max_upload_mb * 1e6),
                job_function=options.job_function,
            )
        )
    except StartError as error:
        sys.stderr.write(f"gvf-server: {error}\n")
        return 1


def _megabytes(text: str) -> float:
    number = float(text)
    if not 0 < number <= LARGEST_LIMIT_MB:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and {LARGEST_LIMIT_MB}")
    return number


if __name__ == "__main__":
    sys.exit(main())
