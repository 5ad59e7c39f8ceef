"""Work beside a connection that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

_TASKS: set[asyncio.Task[None]] = set()


def later(work: Coroutine[object, object, None]) -> None:
    """Run it as a task of its own, kept alive until it ends."""
    task = asyncio.create_task(work)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)
