"""Runs worlds: `python -m tests.simulation --seeds 0:1000`, or one in detail: `--seed 42`.

The hash seed of Python must be fixed, so that sets of texts have one order; this module starts itself anew with it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", default="", help="FIRST:LAST, the last not included")
    parser.add_argument("--seed", type=int, help="one seed, in detail")
    parser.add_argument("--faults", help="only these nemeses, with commas")
    parser.add_argument("--most", type=int, default=10, help="stop after so many worlds with violations")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], env={**os.environ, "PYTHONHASHSEED": "0"}
        ).returncode
    from tests.simulation.world import World, prepare

    faults = options.faults.split(",") if options.faults else None
    prepare()
    if options.seed is not None:
        outcome = World(options.seed, faults=faults).run()
        print(outcome.shape)
        print("\n".join(outcome.events))
        print("\n".join(outcome.notes))
        print("\n".join(outcome.violations) or "nothing wrong")
        print(f"trace {outcome.trace}, {outcome.steps} steps")
        return bool(outcome.violations)
    first, _, last = options.seeds.partition(":")
    began = time.perf_counter()
    bad: list[int] = []
    kinds: Counter[str] = Counter()
    count = 0
    for seed in range(int(first), int(last)):
        outcome = World(seed, faults=faults).run()
        count += 1
        if outcome.violations:
            bad.append(seed)
            kinds[outcome.violations[0].partition(":")[0]] += 1
            print(f"seed {seed} {outcome.shape.faults}: {outcome.violations[0][:300]}", flush=True)
            if len(bad) >= options.most:
                break
    seconds = time.perf_counter() - began
    print(f"{count} worlds in {seconds:.1f} s, {count / seconds:.1f} a second; {len(bad)} with violations {dict(kinds)}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
