"""A process with Faust, to be killed: `python -m tests.streams.faust_worker KAFKA MONGO PREFIX COUNTS NODE`.

What it has counted stands in the file COUNTS, five times a second.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from projections import cdr, session, token
from projections.base import View
from projections.store.mongo import MongoReadStore
from streams.faust.app import FaustProjector
from streams.log.kafka.log import KafkaLog
from tests.projections.facts import EVENTS

VIEWS: tuple[View, ...] = (session.HUB_VIEW, session.TENANT_VIEW, cdr.VIEW, token.VIEW)


def tell(path: str, faust: FaustProjector) -> None:
    counts = faust.counts
    part = Path(path + ".part")
    part.write_bytes(msgspec.json.encode([counts.handled, counts.gaps, counts.stale]))
    part.rename(path)


async def main(bootstrap: str, mongo: str, prefix: str, path: str, node: str) -> None:
    log = KafkaLog(bootstrap)
    await log.start()
    store = MongoReadStore(mongo, database_prefix=prefix)
    faust = FaustProjector(bootstrap, log, store, EVENTS, VIEWS, node)
    async with faust.running():
        while True:
            tell(path, faust)
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
