"""`python -m tests.simulation.disk [--losses 1000] [--flips 3000] [--seed N]`.

Exits with 0 only where no power loss took what was acknowledged, and no answer came from a damaged byte.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from tests.simulation.disk.flips import flip_bytes
from tests.simulation.disk.losses import lose_power

say = Console(soft_wrap=True, highlight=False, markup=False).print


def _losses(count: int, seed: int) -> bool:
    began = time.monotonic()
    outcome = lose_power(count, seed)
    for line in outcome.broken[:50]:
        say(line)
    say(
        f"{outcome.losses:,} power losses on the embedded log, read store and vault (seed {seed}): "
        f"{len(outcome.broken)} acknowledged things lost, of {outcome.acknowledged:,} looked for, "
        f"{time.monotonic() - began:.0f} s"
    )
    return not outcome.broken


def _flips(count: int, seed: int) -> bool:
    began = time.monotonic()
    outcome = flip_bytes(count, seed)
    for line in outcome.wrong[:50]:
        say(line)
    say(
        f"{outcome.flips:,} flipped bytes (seed {seed}): {outcome.noticed.total():,} named, "
        f"{outcome.harmless.total():,} where nothing is read from, {len(outcome.wrong)} answered from, "
        f"{time.monotonic() - began:.0f} s"
    )
    return not outcome.wrong


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.simulation.disk", description=__doc__)
    options.add_argument("--losses", type=int, default=0)
    options.add_argument("--flips", type=int, default=0)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    losses, flips = given.losses or (0 if given.flips else 1000), given.flips
    good = [_losses(losses, given.seed)] if losses else []
    good += [_flips(flips, given.seed)] if flips else []
    return 0 if all(good) else 1


sys.exit(main())
