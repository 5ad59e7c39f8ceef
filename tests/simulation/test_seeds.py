"""Worlds of the simulation: nothing is wrong in any of them, and the same seed is the same world."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTIONS = ((0, 500), (500, 1000), (1000, 1500), (1500, 2000))
"""Of seeds, so that they share the workers of a run; `make drills` runs seeds that were never run before."""


FAST = "import time, runpy; real = time.monotonic; time.monotonic = lambda: 1000.0 * real(); "
"""Before a module of ours is imported, the real clock runs a thousand times as fast."""


def simulate(*arguments: str, fast: bool = False) -> subprocess.CompletedProcess[str]:
    """`python -m tests.simulation …` on one process."""
    run = "runpy.run_module('tests.simulation', run_name='__main__', alter_sys=True)"
    return subprocess.run(
        [
            sys.executable,
            *(("-c", FAST + run) if fast else ("-m", "tests.simulation")),
            "--jobs",
            "1",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long(40)
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("first", "last"), PORTIONS)
def test_nothing_is_wrong_in_any_world(first: int, last: int) -> None:
    run = simulate("--seeds", f"{first}:{last}")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.long(40)
@pytest.mark.timeout(200)
def test_the_same_seeds_are_the_same_worlds_in_every_process() -> None:
    """However fast the real clock runs."""
    traces = set()
    for fast in (False, False, True):
        run = simulate("--seeds", "40:60", fast=fast)
        found = re.search(r"traces ([0-9a-f]{16})", run.stdout)
        assert found is not None, run.stdout + run.stderr
        traces.add(found[1])
    assert len(traces) == 1
