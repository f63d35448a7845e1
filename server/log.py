"""One log format for the server and its worker, on standard error."""

import logging


def configure_logging() -> None:
    """Log from INFO upwards with time, process and module."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(processName)s %(levelname)s %(name)s: %(message)s", force=True
    )
