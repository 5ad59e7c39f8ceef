"""`chargesphere projections rebuild`: every read model a second time beside the first, then taken in its place.

What enters: the log. What leaves: a generation of read models that holds everything which the log holds, and is read
from one moment on. Until then nobody sees it, and the one before is read and written as ever; what a rebuild that was
killed had built, a later one takes away. It sends nothing to anybody.
"""

from __future__ import annotations

import asyncio
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargesphere import registry
from chargesphere.backbone import Backbone, readings_days
from projections.store import IndexSpec, ReadStore
from projections.store.generations import KEPT
from streams.projecting.frames import FrameWriter
from streams.projecting.projector import Projector
from streams.projecting.rebuild import build_anew


async def rebuild(backbone: Backbone) -> int:
    """Build, switch, take the older ones away; the exit status."""
    started = time.monotonic()
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rebuild", total=None)
        built = await build_anew(
            backbone.store,
            backbone.log,
            _projectors,
            _Indexes().prepare,
            lambda done, all: bar.update(task, completed=done, total=all),
        )
    if built is None:
        print(
            "chargesphere: a rebuild that began later is read already; this one is taken away",
            file=sys.stderr,
        )
        return 1
    seconds = time.monotonic() - started
    rate = built.decisions / seconds if seconds else 0.0
    frames = built.frames.counts["projected"] if built.frames else 0
    print(
        f"{built.decisions} decisions in {seconds:.1f} s, {rate:.0f}/s; {built.projector.applied} writes, "
        f"{frames} frames"
    )
    if backbone.settings.mongo_url:
        print(f"they are read now; the ones before are taken away in {KEPT:.0f} s", flush=True)
        await asyncio.sleep(KEPT)
    await backbone.store.take_away_older()
    parked = len(built.projector.parked)
    if parked:
        print(f"{parked} documents are parked: see `chargesphere dead-letters`", file=sys.stderr)
    return 1 if parked else 0


def _projectors(target: ReadStore) -> tuple[Projector, FrameWriter]:
    projector = Projector(
        target, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS, stories=registry.told
    )
    return projector, FrameWriter(target)


class _Indexes:
    """The hub's before anything is written, a tenant's before what belongs to it."""

    def __init__(self) -> None:
        self._days: dict[str, int] = {}

    async def prepare(self, target: ReadStore) -> None:
        specs: list[IndexSpec] = []
        if not self._days:
            specs.extend(spec for make in registry.HUB_INDEXES for spec in make())
        async for db, days in readings_days(target):
            if db not in self._days:
                specs.extend(spec for make in registry.TENANT_INDEXES for spec in make(db))
            if self._days.get(db) != days:
                specs.append(registry.READINGS_EXPIRY(db, days))
                self._days[db] = days
        await target.ensure(specs)
