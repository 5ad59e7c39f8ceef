"""A deterministic event loop: virtual time, several processes in one thread, and a seeded choice of who goes next.

Each simulated process is a `Node`. Its callbacks run in the order in which they were scheduled, as asyncio promises;
which node goes on next is the seed's choice. A node may be killed (nothing of it runs any more, no `finally` either)
or frozen (it goes on later, with everything that came due meanwhile). What belongs to no process (the network, the
servers, the nemeses) belongs to the node `loop.world`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

BURST: Final = 6
"""At most so many callbacks of one node run before the seed chooses again."""
EARLY: Final = 0.0005
"""A timer of a process may fire so many seconds early, as uvloop's do."""


class Node:
    """One life of one process; a restart is a new node."""

    __slots__ = ("alive", "context", "frozen", "name", "queued", "ready", "skew", "tasks", "trap", "watch")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.queued = False
        self.ready: deque[Handle] = deque()
        self.skew = 0.0
        self.watch: Callable[[], None] | None = None
        """Called before each step; it may kill or freeze the process."""
        self.trap: Callable[[str], bool] | None = None
        """Asked when the process writes, reads or sends something, by the place; it may kill or freeze the process,
        and says so."""
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        """In which what arrives from outside runs."""
        self.context.run(current_node.set, self)

    def __repr__(self) -> str:
        return self.name


current_node: contextvars.ContextVar[Node] = contextvars.ContextVar("simulated node")


class Handle(msgspec.Struct, gc=False, eq=False):
    """A callback that waits for its turn or for its time."""

    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: contextvars.Context
    node: Node
    due: float = 0.0
    dead: bool = False

    def cancel(self) -> None:
        self.dead = True
        self.callback, self.args = _nothing, ()

    def cancelled(self) -> bool:
        return self.dead

    def when(self) -> float:
        return self.due


def _nothing() -> None:
    """What a cancelled callback does."""


class _Future(asyncio.Future[T]):
    """A future whose hash does not depend on where it lies in memory."""

    serial = 0

    def __hash__(self) -> int:
        return self.serial


class _Task(asyncio.Task[T]):
    """A task whose hash does not depend on where it lies in memory."""

    serial = 0

    def __hash__(self) -> int:
        return self.serial


class DeadlockError(Exception):
    """Nothing will ever happen again, and the main coroutine still waits."""


class SimLoop(
    asyncio.AbstractEventLoop
):  # the rest of a loop is sockets, signals and threads: there are none
    """Runs one main coroutine, of the world's node, to its end.

    `exceptions` holds what callbacks and forgotten tasks raised, with the node's name; `steps` counts callbacks.
    """

    def __init__(self, chance: Random, start: float = 1_000.0) -> None:
        self.chance = chance
        self.world = Node("world")
        self.now = start
        self.steps = 0
        self.exceptions: list[tuple[str, BaseException | str]] = []
        self._nodes: list[Node] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._serial = 0
        self._running = False
        self._closed = False
        self.world_context = self.world.context

    # -- nodes -------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """A new process."""
        return Node(name)

    def spawn(self, node: Node, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task in this process."""
        context = contextvars.copy_context()
        context.run(current_node.set, node)
        return self.create_task(work, context=context)

    def kill(self, node: Node) -> None:
        """As SIGKILL: it does not run another step."""
        node.alive = False
        node.ready.clear()
        self._unqueue(node)

    def freeze(self, node: Node) -> None:
        """As SIGSTOP."""
        node.frozen = True
        self._unqueue(node)

    def thaw(self, node: Node) -> None:
        """As SIGCONT."""
        node.frozen = False
        if node.alive and node.ready and not node.queued:
            node.queued = True
            self._nodes.append(node)

    def _unqueue(self, node: Node) -> None:
        if node.queued:
            node.queued = False
            self._nodes.remove(node)

    # -- running -----------------------------------------------------------------------------------------------

    def run_until_complete(  # type: ignore[override]
        self, future: Coroutine[Any, Any, T] | asyncio.Future[T]
    ) -> T:
        main = future if isinstance(future, asyncio.Future) else self.spawn(self.world, future)
        events._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
        self._running = True
        try:
            self._run(main.done)
        finally:
            self._running = False
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(None)
        return main.result()

    def run_forever(self) -> None:
        raise NotImplementedError("a world ends with its main coroutine")

    def _run(self, done: Callable[[], bool]) -> None:
        """Turn after turn: one node goes on by some callbacks; where none can, time passes."""
        nodes, random = self._nodes, self.chance.random
        while not done():
            count = len(nodes)
            if count == 1:
                node, burst = nodes[0], BURST
            elif count:
                draw = random() * count
                index = int(draw)
                node, burst = nodes[index], 1 + int((draw - index) * BURST)
            else:
                self._advance()
                continue
            ready = node.ready
            while burst:
                burst -= 1
                if node.watch is not None:
                    node.watch()
                    if not node.queued:
                        break
                handle = ready.popleft()
                if not handle.dead:
                    self.steps += 1
                    try:
                        handle.context.run(handle.callback, *handle.args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        self.exceptions.append((node.name, error))
                if not node.queued:
                    break
                if not ready:
                    node.queued = False
                    nodes.remove(node)
                    break

    def _advance(self) -> None:
        """Let time pass until something is due."""
        timers, pop = self._timers, heapq.heappop
        now = None
        while timers and (now is None or timers[0][0] <= now):
            when, _, handle = pop(timers)
            if handle.dead or not handle.node.alive:
                continue
            if now is None:
                now = self.now = max(self.now, when)
            node = handle.node
            node.ready.append(handle)
            if not node.queued and not node.frozen:
                node.queued = True
                self._nodes.append(node)
        if now is None:
            raise DeadlockError

    # -- what asyncio asks of a loop ---------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        node = context.get(current_node) or self.world
        handle = Handle(callback, args, context, node)
        if node.alive:
            node.ready.append(handle)
            if not node.queued and not node.frozen:
                node.queued = True
                self._nodes.append(node)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        node = context.get(current_node) or self.world
        handle = Handle(callback, args, context, node, when)
        self._serial += 1
        early = node is not self.world and when - self.now > 2 * EARLY
        due = when - EARLY * self.chance.random() if early else when
        heapq.heappush(self._timers, (due, self._serial, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        future: _Future[Any] = _Future(loop=self)
        self._serial += 1
        future.serial = self._serial
        return future

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        self._serial += 1
        task: _Task[T] = _Task(coro, loop=self, name=name or f"task-{self._serial}", context=context)
        task.serial = self._serial
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # a killed process leaves them all
        node = (context.get(current_node) if context is not None else current_node.get(None)) or self.world
        node.tasks.append(task)
        return task

    async def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> T:  # type: ignore[override]
        """There are no threads: the work is done after a moment, in this process."""
        await asyncio.sleep(0.001 + 0.02 * self.chance.random())
        return func(*args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.exceptions.append(
            (current_node.get(self.world).name, context.get("exception") or str(context.get("message")))
        )

    get_debug = staticmethod(bool)  # False, without a frame of Python: each future asks

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._timers.clear()

    def set_debug(self, enabled: bool) -> None:
        """There is no debug mode."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing: what is left ends with the world."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: there are no threads."""
