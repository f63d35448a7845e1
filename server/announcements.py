"""Tells the event streams what happens to jobs, without their asking the database."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from server.jobs import JobStatus

News = asyncio.Queue[JobStatus | None]
"""Statuses as they come; None when the server ends."""

_Listener = tuple[asyncio.AbstractEventLoop, News]


class Announcements:
    """Passes statuses from the threads that cause them to the event loop's streams. Every thread may publish."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[_Listener]] = defaultdict(list)
        self._closed = False

    @contextmanager
    def listen(self, job_id: str) -> Iterator[News]:
        """Everything that is published about a job while the context lasts; call it on the event loop."""
        listener = (asyncio.get_running_loop(), News())
        with self._lock:
            self._listeners[job_id].append(listener)
            if self._closed:
                listener[1].put_nowait(None)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners[job_id].remove(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    def publish(self, status: JobStatus) -> None:
        """Tell everybody who listens to the job."""
        with self._lock:
            for loop, news in self._listeners.get(status.id, ()):
                loop.call_soon_threadsafe(news.put_nowait, status)

    def close(self) -> None:
        """End every stream, present and future."""
        with self._lock:
            self._closed = True
            for listeners in self._listeners.values():
                for loop, news in listeners:
                    loop.call_soon_threadsafe(news.put_nowait, None)
