"""The event loop of a process, and what the process asks of its machine.

uvloop, where it is installed, takes much of the sockets' cost off Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

COLLECT_AFTER = (20_000, 20, 50)
"""New objects between two collections: messages come and go without cycles, and a collection stops the loop."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; `NO_UVLOOP=1` in the environment keeps asyncio's own loop."""
    if os.environ.get("NO_UVLOOP") or importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        return runner.run(main)


YIELDS = 5
"""What a process that only follows is nicer by, so that a burst is answered first and projected after."""


def settle(*, follows: bool) -> None:
    """Before a process serves: seldom collections that leave out what was imported; all the files allowed.

    `follows`: nobody waits for its answers, and on a full machine it leaves the processor to those who answer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    if follows and hasattr(os, "nice"):
        os.nice(YIELDS)
    with contextlib.suppress(ImportError, OSError, ValueError):
        resource = importlib.import_module("resource")
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
