"""Engines that end are started again, soon where they had run well."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chargesphere.backbone import LONGEST_WAIT, RAN_WELL, SHORTEST_WAIT, open_backbone, restart_wait
from chargesphere.settings import read_settings


def test_who_fails_at_once_waits_longer_each_time() -> None:
    waits = [0.0]
    for _ in range(7):
        waits.append(restart_wait(waits[-1], ran=0.0))
    assert waits[1:] == [0.5, 1.0, 2.0, 4.0, 8.0, LONGEST_WAIT, LONGEST_WAIT]


def test_who_had_run_well_is_started_again_soon_however_long_it_waited_before() -> None:
    assert restart_wait(LONGEST_WAIT, ran=RAN_WELL) == SHORTEST_WAIT
    assert restart_wait(restart_wait(LONGEST_WAIT, ran=86_400.0), ran=0.0) == 2 * SHORTEST_WAIT


async def test_an_engine_that_ends_is_started_again(tmp_path: Path) -> None:
    backbone = await open_backbone(read_settings({}), "one", tmp_path)
    runs = 0
    again = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError
        again.set()

    backbone.start("engine", run)
    async with asyncio.timeout(10):
        await again.wait()
    await backbone.close()
