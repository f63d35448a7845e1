"""Writes docs/openapi.json: `python -m tools.write_openapi`."""

import json
import sys
import tempfile
from pathlib import Path

from server.access import Entrance
from server.app import create_app
from server.limits import Limits
from server.service import open_service


def main() -> int:
    """Write the description of a server with the usual limits."""
    with tempfile.TemporaryDirectory() as folder:
        service = open_service(Path(folder), Limits(), "none:none", True, [None], True, lambda: None, lambda: None)
        described = create_app(service, Entrance("token", "127.0.0.1:1")).openapi()
        service.database.close()
    described["info"]["version"] = "1"  # of the protocol: it does not change with every release
    path = Path(__file__).parents[1] / "docs" / "openapi.json"
    path.write_text(json.dumps(described, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
