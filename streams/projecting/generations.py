"""Following into the read models that are read: with each new generation a projector begins anew at its floors.

What enters: a follower, and what takes the store of a generation. What leaves: nothing but work that goes on. A batch
that was under way when the generation changed went into the older one, and the position behind it says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from projections.store import ReadStore
from projections.store.generations import Generation, GenerationStore

logger = logging.getLogger(__name__)


async def in_each_generation(
    name: str,
    store: GenerationStore,
    take: Callable[[Generation, ReadStore], None],
    run: Callable[[], Awaitable[None]],
) -> None:
    """`run` once for each generation, after `take` was told of it; until cancelled, or until `run` ends."""
    while True:
        generation = await store.current()
        take(generation, store.fixed(generation))
        running = asyncio.ensure_future(run())
        superseded = asyncio.ensure_future(store.superseded(generation))
        try:
            await asyncio.wait((running, superseded), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
        finally:
            running.cancel()
            superseded.cancel()
            await asyncio.gather(running, superseded, return_exceptions=True)
        logger.warning("%s goes on in other read models: they were built anew", name)
