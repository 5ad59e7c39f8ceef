"""Each safeguard that is taken away is missed, and the table in docs/guarantees.md says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.ablations import ABLATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_what_is_lost_without_a_safeguard_is_found() -> None:
    """Every one at the seed at which it was found first; without it something is wrong there, and with it nothing."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.simulation.ablations", "known"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_table_of_the_guarantees_names_every_safeguard() -> None:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    ]
    table = {
        (row[0], row[1], row[2], row[3])
        for row in rows
        if len(row) == len(("rule", "without", "under", "seed", "lost"))
    }
    expected = {
        (a.rule, a.name, ", ".join(a.faults) or "calm", "not found" if a.seed is None else str(a.seed))
        for a in ABLATIONS
    }
    assert expected <= table, sorted(expected - table)
    assert len(table) == len(expected) + len(("the head", "the line under it"))
