"""Requests made up from the OpenAPI description: whatever comes, the answer is no defect of the server."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from server_under_test import Server, started

DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.json"
EXAMPLES = 20

description = schemathesis.openapi.from_path(DESCRIPTION).exclude(path="/v1/shutdown")


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> Server:
    with started(tmp_path_factory.mktemp("fuzzed"), "--max-upload-mb", "1", "--max-disk-gb", "0.01") as server:
        yield server


@pytest.fixture(scope="module")
def finished(target) -> str:
    """A job for the requests that need one that exists."""
    return target.run("progress half 0.5").id


@description.parametrize()
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_no_request_makes_the_server_fail(target, finished, case):
    headers = {"Authorization": f"Bearer {target.token}"}
    case.call_and_validate(base_url=target.client.address, headers=headers, checks=[not_a_server_error], timeout=30)
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = finished
        case.call_and_validate(base_url=target.client.address, headers=headers, checks=[not_a_server_error], timeout=30)
