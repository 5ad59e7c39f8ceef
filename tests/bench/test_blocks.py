"""1,000 MeterValues and their frames become few documents."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.blocks import run


async def test_a_thousand_readings_and_frames_are_a_tenth_of_as_many_documents(tmp_path: Path) -> None:
    """1,000 charge points of one tenant, 24 partitions: a block of each at each write, and those that were full."""
    options = argparse.Namespace(mongo=None, charge_points=1000, rate=500, messages=1000)

    found = await run(options, tmp_path)

    assert found["documents written: charge_points"] == 1000
    assert found["documents written: samples"] <= 200
    assert found["documents written: frames"] <= 200
