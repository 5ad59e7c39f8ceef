"""`python -m tests.simulation.disk --losses 1000 --seed N`: exits with 0 only where nothing acknowledged was lost."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from tests.simulation.disk.losses import lose_power


def main() -> int:
    say = Console(soft_wrap=True, highlight=False, markup=False).print
    options = argparse.ArgumentParser(prog="python -m tests.simulation.disk", description=__doc__)
    options.add_argument("--losses", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    began = time.monotonic()
    outcome = lose_power(given.losses, given.seed)
    for line in outcome.broken[:50]:
        say(line)
    say(
        f"{outcome.losses:,} power losses on the embedded log, read store and vault (seed {given.seed}): "
        f"{outcome.acknowledged:,} times something was acknowledged before, {len(outcome.broken)} promises broken, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if outcome.broken else 0


sys.exit(main())
