"""A job's events as server-sent events: replay first, then live, heartbeats in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict

from server.job_table import JobTable

HEARTBEAT_SECONDS = 5.0


async def event_stream(table: JobTable, job_id: str, after: int) -> AsyncIterator[str]:
    """Text of the stream; it ends after the event with which the job ends.

    Args:
        table: Where the job is.
        job_id: An existing job.
        after: Sequence number of the last event that the client has already.
    """
    with table.watch(job_id) as changed:
        while True:
            changed.clear()
            for status in table.events(job_id, after):
                after = status.seq
                yield f"id: {status.seq}\nevent: job\ndata: {json.dumps(asdict(status))}\n\n"
            newest = table.status(job_id)
            if newest.state.is_terminal and newest.seq <= after:
                return
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": heartbeat\n\n"
