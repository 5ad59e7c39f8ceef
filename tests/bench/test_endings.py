"""What is over for a month is in no memory and in no state topic: neither follows the number of charges."""

from __future__ import annotations

from pathlib import Path

from bench.endings import months
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import topics


async def test_after_a_month_states_and_memory_no_longer_follow_the_number_of_charges(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    try:
        await log.ensure(topics(Layout()))
        rows = [row async for row in months(log, 480)]  # four a day, of which four states are left each
    finally:
        await log.close()

    assert [(row.charges, row.days) for row in rows] == [(120, 30), (240, 60), (480, 120)]
    assert all(abs(row.in_memory - 4 * 4 * 30) <= 4 * 4 for row in rows)
    assert all(
        row.stored - row.in_memory <= 2 * 4 * 4 for row in rows
    )  # marks of the last day, not deleted yet
