"""What a node does beside its passes: its tasks and its waits, until it stops or fails.

Whatever goes wrong in one of them ends the node (`failed`): it must not go on with a state that it can't trust.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from meteora.errors import NotApplied, OutcomeUnknown

T = TypeVar("T")


class Life:
    """Of one node. All times are the loop's, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[str], None]) -> None:
        """`give_up` is told why, once the node has failed: it answers what waits, and ends what is to be ended."""
        self._loop = loop
        self._give_up = give_up
        self.is_over = False
        """Whether nothing is to be begun any more."""
        self.failed: asyncio.Future[None] = loop.create_future()
        """Gets the exception that the node can't go on after."""
        self.tasks: set[asyncio.Task[Any]] = set()
        """What is under way."""
        self._tick_watchers: dict[asyncio.Future[None], None] = {}
        """In the order in which they came, so that a simulation is the same each time."""

    def ensure_goes_on(self, *, may_be_applied: bool = False) -> None:
        """Raises `NotApplied` once nothing is begun any more; `OutcomeUnknown` for what may have been sent before."""
        if self.is_over:
            raise (OutcomeUnknown if may_be_applied else NotApplied)("the node is stopping: try another one")

    def own(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` in a task of this node: if it fails, the node has failed."""
        task = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    @contextmanager
    def stops_on_error(self) -> Iterator[None]:
        """If what is done within goes wrong, the node has failed, and goes no further."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001  whatever it is, the state can't be trusted after it
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """The node can't go on after this."""
        # Native code that panics raises what is no `Exception`, which a future does not take.
        cause = error if isinstance(error, Exception) else RuntimeError(repr(error))
        if not self.failed.done():
            self.failed.set_exception(cause)
        self._give_up(why_failed(cause))

    async def next_tick(self) -> None:
        """Returns at the next tick; at once if there is none any more, because the node is stopping or has failed."""
        if self.is_over:
            return
        watcher: asyncio.Future[None] = self._loop.create_future()
        self._tick_watchers[watcher] = None
        try:
            await watcher
        finally:
            del self._tick_watchers[watcher]

    def tell_tick_watchers(self) -> None:
        """There is a tick, or there will be none any more."""
        for watcher in self._tick_watchers:
            if not watcher.done():
                watcher.set_result(None)


def why_failed(error: Exception) -> str:
    """For a sentence that goes on."""
    return f"the node has failed: {str(error).removesuffix('.')}"
