"""A flipped byte is noticed and named, or nothing is read from it: the short form of `--flips`."""

from __future__ import annotations

import pytest

from tests.simulation.disk.flips import flip_bytes
from tests.simulation.disk.vfs import can_record

pytestmark = pytest.mark.skipif(not can_record(), reason="this Python's SQLite cannot be recorded")
SEED = 20261


def test_with_any_byte_flipped_each_answer_is_right_or_an_error_that_names_the_file() -> None:
    outcome = flip_bytes(60, SEED)
    assert outcome.flips == 60
    assert outcome.noticed.total() > 20
    assert outcome.wrong == []
