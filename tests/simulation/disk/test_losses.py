"""Nothing that was acknowledged is lost by a power loss: the short form of the drill, and proof that it can see."""

from __future__ import annotations

import pytest

from tests.simulation.disk.losses import lose_power
from tests.simulation.disk.vfs import can_record

pytestmark = pytest.mark.skipif(not can_record(), reason="this Python's SQLite cannot be recorded")
SEED = 20260


def test_no_power_loss_takes_what_was_acknowledged() -> None:
    outcome = lose_power(60, SEED)
    assert outcome.losses == 60
    assert outcome.acknowledged > 1_000
    assert outcome.broken == []


def test_a_disk_that_lies_about_syncs_is_found_out() -> None:
    outcome = lose_power(20, SEED, deaf=lambda path: path.endswith("-wal"))
    assert any("is lost" in line or "acknowledged" in line for line in outcome.broken), outcome.broken
