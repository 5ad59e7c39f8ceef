"""The measurement of a decider's start, with few tokens: it starts from what it should, and knows every token."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench.recovery import run


@pytest.mark.long(11)
def test_a_decider_is_measured_starting_from_events_and_then_from_states(tmp_path: Path) -> None:
    options = argparse.Namespace(tokens=300, kafka=False, data=tmp_path)

    result = run(options)

    starts = result["starts"]
    assert isinstance(starts, dict)
    assert list(starts) == ["events", "states"]
    assert starts["events"]["checkpoint_seconds"] is not None
    assert starts["states"]["checkpoint_seconds"] is None
    assert all(start["rss_ready"] > start["rss_before"] > 0 for start in starts.values())
    assert not list(tmp_path.iterdir())
