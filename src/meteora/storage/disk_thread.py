"""One thread that waits for a disk, so that the event loop never does.

Rule: what is handed to one `DiskThread` runs there one at a time, in the order in which it was handed over.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_Job = Callable[[], None]


class DiskThread:
    """A worker thread of its own. There are a few per node, each for work that must not wait behind another's.

    (`concurrent.futures` would do, at twice the cost of a hop: 57 against 32 microseconds on uvloop.)
    """

    def __init__(self, name: str) -> None:
        """Start the thread. Its name is for people who look at a stack dump."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        # A daemon: an exit that never came to `close` must not hang. To the disk it is the same as a kill.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Run `function(*arguments)` on the thread and return, or raise, what it does.

        If the caller is cancelled, the function still runs. Raises `RuntimeError` after `close`.
        """
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                _tell(loop, _set_exception, answer, error)
            else:
                _tell(loop, _set_result, answer, result)

        self._jobs.put(job)
        return await answer

    def begin(self, function: Callable[[], object], done: Callable[[BaseException | None], object]) -> None:
        """Run `function` on the thread; then `done` is called on this loop, with what it raised, or None.

        As `run`, for who has no task to wait in. Raises `RuntimeError` after `close`.
        """
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()

        def job() -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                _tell(loop, done, error)
            else:
                _tell(loop, done, None)

        self._jobs.put(job)

    def call(self, function: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """As `run`, but the calling thread waits: for start and stop, when no loop must be kept going.

        Raises `RuntimeError` after `close`.
        """
        self._refuse_if_closed()
        answer: Future[T] = Future()

        def job() -> None:
            try:
                answer.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                answer.set_exception(error)

        self._jobs.put(job)
        return answer.result()

    def close(self) -> None:
        """Finish what was handed over, then end the thread. Later calls do nothing."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self._thread.name} is closed")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            # The next job may be long in coming; don't keep this one's arguments and result alive until then.
            del job


def _tell(loop: asyncio.AbstractEventLoop, *callback_and_arguments: Any) -> None:
    # A loop that is closed refuses: nobody is left to hear of it.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(*callback_and_arguments)


def _set_result(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _set_exception(answer: "asyncio.Future[T]", error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
