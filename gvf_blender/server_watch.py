"""What is known of the server, kept fresh while somebody looks at it.

Everything that waits for the network happens in short-lived threads. Drawing reads what is known and says that somebody
looks; a timer starts the threads and takes what they bring. Nobody looking, nothing runs.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import bpy

from .core.errors import DefectError, GvfBlenderError, ServerError
from .core.server_facts import ServerFacts, ServerReport, ServerState
from .core.tick_budget import Clock, TickBudget
from .core.weights_facts import WeightsFacts
from .job_list import redraw_panels
from .server_choice import ServerChoice

LOGGER = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""Between two questions to the server."""
LOOKING_SECONDS = 5.0
"""So long after a panel was drawn for the last time, somebody counts as looking."""
TICK_SECONDS = 0.25

_Outcome = Callable[[], None]


class ServerWatch:
    """Knows one server at a time. For the main thread; no method waits."""

    def __init__(self) -> None:
        self.report = ServerReport(ServerState.CHECKING)
        self.notice = ""
        self._choice: ServerChoice | None = None
        self._looked = self._asked = self._ticked = float("-inf")
        self._asking = False
        self._acting = 0
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()

    def look(self, choice: ServerChoice) -> ServerReport:
        """What is known of the server; keeps it fresh for a while. Fit for drawing."""
        self._looked = time.monotonic()
        if choice != self._choice:
            self._choice, self._asked = choice, float("-inf")
            self.report, self.notice = _known_at_once(choice), ""
        return self.report

    def act(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something that waits, in a thread; what goes wrong becomes `notice`.

        Args:
            work: Called in the thread; must not touch Blender.
            then: Called on the main thread with what `work` returned.
        """
        self.notice = ""
        self._acting += 1

        def finish(outcome: _Outcome) -> None:
            self._acting -= 1
            self._asked = float("-inf")
            outcome()

        def run() -> None:
            try:
                result = work()
            except GvfBlenderError as error:
                text = error.text
                self._outcomes.put(lambda: finish(lambda: self._note(text)))
            except Exception as error:
                LOGGER.exception("Something failed while it spoke to the server")
                text = DefectError("The add-on failed while it spoke to the server", error).text
                self._outcomes.put(lambda: finish(lambda: self._note(text)))
            else:
                self._outcomes.put(lambda: finish(lambda: then(result)))

        threading.Thread(target=run, name="gvf-server-action", daemon=True).start()

    def tick(self, clock: Clock = time.perf_counter) -> bool:
        """Take what threads brought and ask the server again if it is time; whether somebody still looks or waits.

        Args:
            clock: Tells seconds, for the budget of a tick.
        """
        budget = TickBudget(clock)
        while not budget.is_spent:
            try:
                outcome = self._outcomes.get_nowait()
            except queue.Empty:
                break
            outcome()
            redraw_panels()
        if self._acting:
            redraw_panels()
        now = time.monotonic()
        # Drawing a heavy scene once can take longer than that, and no tick comes meanwhile.
        is_looking = now - self._looked < LOOKING_SECONDS or self._looked > self._ticked
        self._ticked = now
        if is_looking and not self._asking and now - self._asked >= REFRESH_SECONDS and self._choice is not None:
            self._ask(self._choice)
        return is_looking or self._asking or self._acting > 0

    def _ask(self, choice: ServerChoice) -> None:
        report = _known_at_once(choice)
        if report.state is not ServerState.CHECKING:
            self._know(choice, report)
            return
        self._asking = True

        def run() -> None:
            try:
                answer = _asked(choice, report.place)
            except Exception as error:
                LOGGER.exception("The server could not be asked")
                text = DefectError("The add-on failed while it asked the server", error).text
                answer = ServerReport(ServerState.UNREACHABLE, report.place, text)
            self._outcomes.put(lambda: self._know(choice, answer))

        threading.Thread(target=run, name="gvf-server-watch", daemon=True).start()

    def _know(self, choice: ServerChoice, report: ServerReport) -> None:
        self._asking, self._asked = False, time.monotonic()
        if choice == self._choice:
            self.report = report

    def _note(self, text: str) -> None:
        self.notice = text


def _known_at_once(choice: ServerChoice) -> ServerReport:
    """What files and preferences tell without the network: where to ask, or why there is nobody to ask."""
    try:
        return ServerReport(ServerState.CHECKING, choice.locate())
    except ServerError as error:
        return ServerReport(ServerState.STOPPED, "", error.text, code=error.code)
    except GvfBlenderError as error:
        return ServerReport(ServerState.UNREACHABLE, "", error.text)


def _asked(choice: ServerChoice, place: str) -> ServerReport:
    """Ask the server; waits for the network."""
    try:
        client = choice.reach()
        facts = ServerFacts.from_json(client.capabilities())
        weights = WeightsFacts.from_json(client.models())
    except ServerError as error:
        process = choice.process
        if process is None or error.code != "unreachable":
            return ServerReport(ServerState.UNREACHABLE, place, error.text, code=error.code)
        if process.is_running:
            return ServerReport(ServerState.STARTING, place)
        return ServerReport(ServerState.STOPPED, place, process.exit_reason, code="start")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"The server describes itself in another way than this add-on expects ({error!r}). "
        return ServerReport(ServerState.UNREACHABLE, place, reason + "Install both from the same release.")
    return ServerReport(facts.state, client.address, "", facts, weights)


_watch = ServerWatch()


def watch() -> ServerWatch:
    """The watch of this Blender session."""
    return _watch


def look(choice: ServerChoice) -> ServerReport:
    """What is known of the server. Fit for drawing; a timer keeps it fresh while Blender has windows."""
    _keep_ticking()
    return _watch.look(choice)


def act(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Do something that waits without holding up the window; in background mode, wait.

    Args:
        work: Must not touch Blender.
        then: Called on the main thread with what `work` returned.

    Raises:
        GvfBlenderError: In background mode, whatever went wrong.
    """
    if bpy.app.background:
        then(work())
        return
    _watch.act(work, then)
    _keep_ticking()


def unregister() -> None:
    """Stop the timer and forget everything."""
    global _watch
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    _watch = ServerWatch()


def _keep_ticking() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def _tick() -> float | None:
    return TICK_SECONDS if _watch.tick() else None
