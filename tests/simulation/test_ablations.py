"""Each safeguard that is taken away is missed, and the table in docs/guarantees.md says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.ablations import ABLATIONS

ROOT = Path(__file__).parents[2]
PORTIONS = 6
"""Of safeguards, so that they share the workers of a run."""


@pytest.mark.long(45)
@pytest.mark.timeout(400)
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_what_is_lost_without_a_safeguard_is_found(portion: int) -> None:
    """In one of the worlds that are looked at something is wrong without it, and with it nothing."""
    run = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.simulation.ablations"),
            *(ablation.name for ablation in ABLATIONS[portion::PORTIONS]),
        ],
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
        if len(row) == len(("rule", "without", "under", "missed in", "lost"))
    }
    expected = {
        (
            ablation.rule,
            ablation.name,
            ", ".join(ablation.faults) or "calm",
            "none" if ablation.one_in is None else f"1 in {ablation.one_in}",
        )
        for ablation in ABLATIONS
    }
    assert expected <= table, sorted(expected - table)
    assert len(table) == len(expected) + len(("the head", "the line under it"))
