"""What is over for a month is in no memory and in no state topic: neither follows the number of charges."""

from __future__ import annotations

import os
from pathlib import Path

from bench.endings import months

CHARGES = int(os.environ.get("MONTHS_CHARGES", "480"))
"""In 120 days; the drills have more of them."""


async def test_after_a_month_states_and_memory_no_longer_follow_the_number_of_charges(tmp_path: Path) -> None:
    rows = [row async for row in months(tmp_path / "log.db", CHARGES)]

    assert [(row.charges, row.days) for row in rows] == [
        (CHARGES // 4, 30),
        (CHARGES // 2, 60),
        (CHARGES, 120),
    ]
    of_a_day = 3 * CHARGES // 120  # of each are left remote command, session and the delivery of its CDR
    assert all(abs(row.in_memory - 30 * of_a_day) <= of_a_day for row in rows)
    # Marks of the last day are not deleted yet.
    assert all(row.stored - row.in_memory <= 2 * of_a_day for row in rows)
