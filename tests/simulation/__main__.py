"""`python -m tests.simulation --seeds 0:1000 [--jobs 2]` runs worlds; `--seed 42` runs one in detail and shrinks it.

Exits with 0 only where nothing was found wrong. Python's own hash seed is fixed, so that sets of texts have one order
in every process: this module starts itself anew with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from bench.bound import bind
from tests.simulation.children import FORKED, PORTION

if TYPE_CHECKING:
    from tests.simulation.world import Outcome, Shape

say = Console(soft_wrap=True, highlight=False, markup=False).print


class Portion(NamedTuple):
    """What some seeds came to: a hash of all their traces, and what was wrong by seed."""

    seconds: float
    trace: str
    wrong: list[tuple[int, tuple[str, ...], str]]


def run_portion(first: int, last: int, faults: tuple[str, ...] | None) -> Portion:
    """Run the seeds from `first` to before `last` in this process."""
    from tests.simulation.world import World

    began = time.process_time()
    traces = hashlib.blake2b(digest_size=8)
    wrong: list[tuple[int, tuple[str, ...], str]] = []
    for seed in range(first, last):
        outcome = World(seed, faults=faults).run()
        traces.update(outcome.trace.encode())
        if outcome.violations:
            wrong.append((seed, outcome.shape.faults, outcome.violations[0]))
    return Portion(time.process_time() - began, traces.hexdigest(), wrong)


def run_portions(
    spans: Sequence[tuple[int, int]], jobs: int, faults: tuple[str, ...] | None
) -> Iterator[Portion]:
    """Each portion by a child of its own, `jobs` at a time, in the order of `spans`.

    A child begins with the genesis of this process and ends without collecting what its worlds have left behind.
    """
    from tests.simulation.world import prepare

    prepare()

    parent = os.getpid()

    def work(sender: Connection, first: int, last: int) -> None:
        bind(parent)
        sender.send(run_portion(first, last, faults))

    waiting = deque(enumerate(spans))
    running: dict[Any, tuple[int, Any]] = {}
    done: dict[int, Portion] = {}
    told = 0
    while waiting or running:
        while waiting and len(running) < jobs:
            number, span = waiting.popleft()
            receiver, sender = FORKED.Pipe(duplex=False)
            child = FORKED.Process(target=work, args=(sender, *span))
            child.start()
            sender.close()
            running[receiver] = number, child
        ended: list[Any] = wait(list(running))
        for receiver in ended:
            number, child = running.pop(receiver)
            try:
                done[number] = receiver.recv()
            except EOFError:
                child.join()
                sys.exit(f"the seeds {spans[number]} ended with exit status {child.exitcode}")
            child.join()
        while told in done:
            yield done.pop(told)
            told += 1


def run_seeds(first: int, last: int, jobs: int, faults: tuple[str, ...] | None) -> bool:
    """All of them on `jobs` processes; whether nothing was wrong."""
    began = time.perf_counter()
    spans = [(start, min(start + PORTION, last)) for start in range(first, last, PORTION)]
    portions: list[Portion] = []
    for portion in run_portions(spans, jobs, faults):
        portions.append(portion)
        for seed, met, violation in portion.wrong:
            say(f"seed {seed} at {commit()} under {', '.join(met) or 'no nemesis'}: {violation[:400]}")
    wrong = [one for portion in portions for one in portion.wrong]
    kinds = Counter(violation.partition(":")[0] for _, _, violation in wrong)
    traces = hashlib.blake2b("".join(portion.trace for portion in portions).encode(), digest_size=8)
    seconds, cpu = time.perf_counter() - began, sum(portion.seconds for portion in portions)
    count = last - first
    say(
        f"{count:,} worlds from seed {first} at {commit()}: {len(wrong)} with violations {dict(kinds) or ''}"
        f" in {seconds:.0f} s on {jobs} processes, {count / seconds:.1f} a second, "
        f"{cpu / count * 1000:.0f} ms of CPU each; traces {traces.hexdigest()}"
    )
    return not wrong


def run_one(seed: int, faults: tuple[str, ...] | None) -> bool:
    """One seed, in detail; where it finds something, the smallest world near it that does too."""
    from tests.simulation.world import World, prepare

    prepare()
    outcome = World(seed, faults=faults).run()
    say(str(outcome.shape))
    for line in (*outcome.events, *outcome.notes, *(outcome.violations or ["nothing is wrong"])):
        say(line)
    say(f"trace {outcome.trace}, {outcome.steps} steps, at {commit()}")
    if not outcome.violations:
        return True
    small = shrink(outcome)
    say("\nthe smallest world near it that shows something:")
    say(str(small.shape))
    for line in (*small.events, *small.violations):
        say(line)
    return False


def shrink(outcome: Outcome) -> Outcome:
    """Leave out nemeses and parts one after another, as long as something is still found."""
    from tests.simulation.world import World

    best = outcome
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(best.shape):
            found = World(best.seed, shape=smaller).run()
            if found.violations:
                best, progress = found, True
                break
    return best


def _smaller(shape: Shape) -> list[Shape]:
    """Worlds with one thing less."""
    less: dict[str, Any]
    worlds = [
        replace(shape, faults=tuple(one for one in shape.faults if one != left)) for left in shape.faults
    ]
    for name in ("faust", "mqtt", "public", "live", "frames", "operators", "wishes"):
        if getattr(shape, name):
            less = {name: False}
            worlds.append(replace(shape, **less))
    for name in ("gateways", "deciders", "projectors", "effects", "charge_points", "charges"):
        if getattr(shape, name) > 1:
            less = {name: getattr(shape, name) - 1}
            worlds.append(replace(shape, **less))
    if shape.storm > 4:
        worlds.append(replace(shape, storm=shape.storm * 0.7))
    return worlds


def commit() -> str:
    """The commit that is checked out, for whoever wants to see the same."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return git.stdout.strip() or "no commit"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", default="0:200", metavar="FIRST:LAST", help="the last is not included")
    parser.add_argument("--seed", type=int, help="one seed, in detail")
    parser.add_argument("--faults", help="only these nemeses, with commas; empty for none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        return subprocess.run(
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            check=False,
        ).returncode
    faults = None if options.faults is None else tuple(filter(None, options.faults.split(",")))
    if options.seed is not None:
        return 0 if run_one(options.seed, faults) else 1
    first, _, last = options.seeds.partition(":")
    return 0 if run_seeds(int(first), int(last), options.jobs, faults) else 1


if __name__ == "__main__":
    sys.exit(main())
