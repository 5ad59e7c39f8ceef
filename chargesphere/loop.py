"""The event loop of a process: uvloop where it is installed, which takes much of the sockets' cost off Python."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`; `NO_UVLOOP=1` in the environment keeps asyncio's own loop."""
    if os.environ.get("NO_UVLOOP") or importlib.util.find_spec("uvloop") is None:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        return runner.run(main)
