"""An asyncio event loop on virtual time, for many simulated processes in one thread.

Rules:

- Nothing waits. When there is nothing left to run now, the clock jumps to the next timer. The same calls in the same
  order give the same run, byte for byte.
- Every callback belongs to the process in whose context it was made, and so do the tasks and timers that come of it.
  A paused process keeps its callbacks until it is resumed; a killed one loses them.
- Each process has a clock of its own, with its own origin and rate; `time()` is that of the process that asks.

A loop that has nothing to run and nothing to wait for is deadlocked, and one whose clock stands still for too many
steps is in a livelock: both are failures of what is simulated.
"""

import asyncio
import gc
import heapq
import sys
import traceback
import warnings
from asyncio import AbstractEventLoop, Future, Handle, Task, TimerHandle
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar, TypeVarTuple

MAX_STEPS_AT_ONE_INSTANT = 100_000
"""Callbacks that may run without the clock moving: far above what any honest burst needs."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Deadlock(Exception):
    """Nothing can ever run again, or nothing but the same instant ever will."""


class Process:
    """A simulated process: what can be paused, resumed and killed, and has a clock."""

    __slots__ = (
        "_held",
        "_local_base",
        "_loop",
        "_true_base",
        "after_step",
        "clock_rate",
        "context",
        "is_dead",
        "is_paused",
        "name",
    )

    def __init__(self, loop: "SimulatedLoop", name: str, clock_base: float, clock_rate: float) -> None:
        """Use `SimulatedLoop.new_process`."""
        self._loop = loop
        self.name = name
        self.after_step: Callable[[], None] | None = None
        """Called after each callback of this process."""
        self.is_paused = False
        self.is_dead = False
        self.clock_rate = clock_rate
        """Seconds of its own for each true one."""
        self._local_base, self._true_base = clock_base, loop.now
        self._held: list[Handle] = []
        self.context = copy_context()
        self.context.run(_current.set, self)

    def __repr__(self) -> str:
        return self.name

    def local_time(self) -> float:
        """What its clock shows, in seconds."""
        return self._local_base + (self._loop.now - self._true_base) * self.clock_rate

    def true_time(self, local_time: float) -> float:
        """When its clock will show `local_time`, at its present rate."""
        return self._true_base + (local_time - self._local_base) / self.clock_rate

    def set_clock_rate(self, rate: float) -> None:
        """From now on the clock runs at this rate; it doesn't jump. Timers that are set already keep their instant."""
        self._local_base, self._true_base = self.local_time(), self._loop.now
        self.clock_rate = rate

    def pause(self) -> None:
        """As SIGSTOP: nothing of it runs until `resume`."""
        self.is_paused = True

    def resume(self) -> None:
        """As SIGCONT: what came up meanwhile runs now, in order."""
        self.is_paused = False
        held, self._held = self._held, []
        for handle in held:
            self._loop.run_soon(self, handle)

    def kill(self) -> None:
        """As SIGKILL: nothing of it ever runs again."""
        self.is_dead = True

    def hold(self, handle: Handle) -> None:
        """Keep a callback: of a paused process until it goes on, of a dead one so that no destructor runs in it."""
        self._held.append(handle)


_current: ContextVar[Process] = ContextVar("process")


class SimulatedLoop(AbstractEventLoop):
    """The part of an event loop that needs no operating system: callbacks, timers, futures and tasks."""

    def __init__(self) -> None:
        self.now = 0.0
        """The true time, in seconds since the start."""
        self.steps = 0
        self._last_step_of_instant = MAX_STEPS_AT_ONE_INSTANT
        self._ready: deque[tuple[Process, Handle]] = deque()
        self._timers: list[tuple[float, int, Process, TimerHandle]] = []
        self._timer_count = 0
        self.outside = Process(self, "outside", 0.0, 1.0)
        """For what is no process of its own: the network, the faults, the observers."""

    def new_process(self, name: str, clock_base: float = 0.0, clock_rate: float = 1.0) -> Process:
        """A process whose clock shows `clock_base` now."""
        return Process(self, name, clock_base, clock_rate)

    # Running

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until the future is done; its result. Raises `Deadlock`, and what an observer or a callback raises."""
        asyncio._set_running_loop(self)  # noqa: SLF001  how every event loop says that it runs
        try:
            goal: Future[T] = self.outside.context.run(asyncio.ensure_future, future, loop=self)  # type: ignore[arg-type]
            self._run_until(goal)
            return goal.result()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001  as above

    def _run_until(self, goal: Future[T]) -> None:
        ready = self._ready
        while not goal.done():
            if not ready:
                self._advance()
                continue
            process, handle = ready.popleft()
            if process.is_paused or process.is_dead:
                process.hold(handle)
            elif not handle.cancelled():
                # What every event loop does with its handles, but that an error in a callback ends the run.
                self._step(process, handle._context, handle._callback, handle._args)  # type: ignore[attr-defined]  # noqa: SLF001

    def _step(
        self,
        process: Process,
        context: Context,
        callback: Callable[..., object],
        arguments: Sequence[Any],
    ) -> None:
        self.steps += 1
        context.run(callback, *arguments)
        if process.after_step is not None:
            process.after_step()
        if self.steps > self._last_step_of_instant:
            raise Deadlock(f"the clock has stood at {self.now:.6f} for {MAX_STEPS_AT_ONE_INSTANT} steps")

    def _advance(self) -> None:
        if not self._timers:
            raise Deadlock(f"at {self.now:.6f} nothing is left to run or to wait for")
        self.now = max(self.now, self._timers[0][0])
        self._last_step_of_instant = self.steps + MAX_STEPS_AT_ONE_INSTANT
        while self._timers and self._timers[0][0] <= self.now:
            _, _, process, handle = heapq.heappop(self._timers)
            self._ready.append((process, handle))

    # What asyncio asks of a loop

    def time(self) -> float:
        """The clock of the process that asks."""
        return _current.get(self.outside).local_time()

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> Handle:
        """As asyncio's, in the process of `context`, or of the caller."""
        if context is None:
            context = copy_context()
        handle = Handle(callback, args, self, context)
        self._ready.append((context.get(_current, self.outside), handle))
        return handle

    def run_soon(self, process: Process, handle: Handle) -> None:
        """Put back a callback that was held."""
        self._ready.append((process, handle))

    def call_later(
        self, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> TimerHandle:
        """As asyncio's; the delay is measured by the clock of the process."""
        context = copy_context() if context is None else context
        process = context.get(_current, self.outside)
        return self.call_at(process.local_time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> TimerHandle:
        """As asyncio's; `when` is by the clock of the process."""
        context = copy_context() if context is None else context
        process = context.get(_current, self.outside)
        handle = TimerHandle(when, callback, args, self, context)
        self._set_timer(process.true_time(when), process, handle)
        return handle

    def call_in(
        self, process: Process, delay: float, callback: Callable[[*Arguments], object], *args: *Arguments
    ) -> None:
        """Run a callback in another process, after `delay` true seconds."""
        if delay:
            self._set_timer(self.now + delay, process, TimerHandle(0.0, callback, args, self, process.context))
        else:
            self._ready.append((process, Handle(callback, args, self, process.context)))

    def run_in(self, process: Process, callback: Callable[[*Arguments], object], *args: *Arguments) -> None:
        """Run a callback in another process now, as a step of its own; once it goes on, if it is paused."""
        if process.is_paused or process.is_dead:
            self.call_in(process, 0.0, callback, *args)
            return
        self._step(process, process.context, callback, args)

    def _set_timer(self, true_when: float, process: Process, handle: TimerHandle) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (true_when, self._timer_count, process, handle))

    def create_future(self) -> Future[Any]:
        """As asyncio's."""
        return Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> Task[Any]:
        """As asyncio's."""
        return Task(coro, loop=self, name=name, context=context, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio says of tasks and futures that nobody asked is no error."""

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """It is passed over when its time comes."""

    def get_debug(self) -> bool:
        """False."""
        return False

    def is_running(self) -> bool:
        """Whether this thread runs this loop."""
        return asyncio._get_running_loop() is self  # noqa: SLF001  as above

    def is_closed(self) -> bool:
        """False: it holds nothing that would need closing."""
        return False

    def forget(self, failure: BaseException | None = None) -> None:
        """Drop what has not run yet: the run is over. What is left of its coroutines is closed, and nobody minds.

        The traceback of `failure`, which ended the run, no longer holds on to them.
        """
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with warnings.catch_warnings():
                # Of coroutines that were about to begin.
                warnings.simplefilter("ignore", RuntimeWarning)
                self._ready.clear()
                self._timers.clear()
                while failure is not None:
                    traceback.clear_frames(failure.__traceback__)
                    failure = failure.__cause__ or failure.__context__
                gc.collect()
        finally:
            sys.unraisablehook = hook
