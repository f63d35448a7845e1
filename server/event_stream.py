"""A job's events as server-sent events: replay first, then live, heartbeats in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from functools import lru_cache

from fastapi.concurrency import run_in_threadpool

from server.announcements import Announcements
from server.job_table import JobTable
from server.jobs import JobStatus

HEARTBEAT_SECONDS = 5.0


async def event_stream(table: JobTable, announcements: Announcements, job_id: str, after: int) -> AsyncIterator[str]:
    """Text of the stream; it ends after the event with which the job ends, or when the server ends.

    Args:
        table: Where the job is.
        announcements: Where its news come from.
        job_id: An existing job.
        after: Sequence number of the last event that the client has already.
    """
    with announcements.listen(job_id) as news:  # before the replay, so that nothing falls between the two
        replayed = await run_in_threadpool(table.events, job_id, after)
        for status in replayed:
            after = status.seq
            yield _text(status)
        newest = replayed[-1] if replayed else await run_in_threadpool(table.status, job_id)
        if newest.state.is_terminal:
            return
        while True:
            try:
                announced = await asyncio.wait_for(news.get(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield ": heartbeat\n\n"
                continue
            if announced is None:
                return
            if announced.seq > after:
                after = announced.seq
                yield _text(announced)
            if announced.state.is_terminal:
                return


@lru_cache(maxsize=256)
def _text(status: JobStatus) -> str:
    """The same for every stream of the job, so that hundreds of streams encode it once."""
    return f"id: {status.seq}\nevent: job\ndata: {json.dumps(asdict(status))}\n\n"
