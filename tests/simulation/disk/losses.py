"""Power losses at many points of a recorded run, each one opened and held against the promises."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projections.store import sqlite_databases
from streams.log.sqlite import log as sqlite_log
from tests.simulation.disk.images import Disk
from tests.simulation.disk.promises import Story, broken
from tests.simulation.disk.recording import Fact, Recording, Step
from tests.simulation.disk.vfs import Unheard, under_sqlite
from tests.simulation.disk.workload import live

SECOND = 3
"""Losses of a second life, which began on what a loss had left."""
PER_RUN = 50
"""Losses from one recording; then another run is recorded."""


@dataclass(slots=True)
class Outcome:
    losses: int = 0
    acknowledged: int = 0
    """Records, positions and documents that were acknowledged before a loss, over all losses."""
    broken: list[str] = field(default_factory=list)


@contextmanager
def _small_checkpoints() -> Iterator[None]:
    """So that checkpoints happen within a short run."""
    modules: tuple[Any, ...] = (sqlite_log, sqlite_databases)
    before = [module.CHECKPOINT_PAGES for module in modules]
    for module in modules:
        module.CHECKPOINT_PAGES = 24
    try:
        yield
    finally:
        for module, pages in zip(modules, before, strict=True):
            module.CHECKPOINT_PAGES = pages


def record(seed: int, folder: Path, *, first: int = 0) -> list[Step]:
    """One run of the product below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    recording = Recording(folder)
    with _small_checkpoints(), recording.running():
        asyncio.run(live(folder / "data", recording, seed, first=first, rounds=1 if first else 2))
    return recording.steps


def lose_power(
    losses: int, seed: int, *, deaf: Callable[[str], bool] = lambda _: False, every: int = PER_RUN
) -> Outcome:
    """So many losses; each line of `broken` names the seed and the step with which it comes back."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="losses-") as name:
        folder = Path(name)
        while outcome.losses < losses:
            run_seed = seed + outcome.losses
            run = folder / f"run{run_seed}"
            steps = record(run_seed, run)
            shutil.rmtree(run)
            _from_one_run(steps, run_seed, min(every, losses - outcome.losses), deaf, folder, outcome)
    return outcome


def _from_one_run(
    steps: list[Step], seed: int, losses: int, deaf: Callable[[str], bool], folder: Path, outcome: Outcome
) -> None:
    chance = random.Random(seed)
    disk, done = Disk(deaf), 0
    points = sorted(chance.choices(range(len(steps) + 1), k=losses))
    while points:
        at = points.pop(0)
        disk.run(steps[done:at])
        done = at
        image = folder / "image"
        disk.leave(image, chance)
        facts = [step for step in steps[:at] if isinstance(step, Fact)]
        where = f"seed {seed}, step {at} of {len(steps)}"
        if len(points) >= SECOND and chance.random() < 0.1:
            del points[:SECOND]
            _second_life(image, facts, where, chance, folder, outcome)
        _hold(image, facts, where, outcome)


def _second_life(
    image: Path, facts: list[Fact], where: str, chance: random.Random, folder: Path, outcome: Outcome
) -> None:
    """Start on what a power loss left, and lose power again."""
    life = folder / "life"
    shutil.copytree(image, life)
    disk, done = Disk.of(life), 0
    try:
        steps = record(chance.randrange(10**6), life, first=1000)
    except Exception as error:
        outcome.broken.append(f"{where}, started again: {type(error).__name__}: {error}")
        return
    finally:
        shutil.rmtree(life)
    for at in sorted(chance.choices(range(len(steps) + 1), k=SECOND)):
        disk.run(steps[done:at])
        done = at
        disk.leave(life, chance)
        later = [step for step in steps[:at] if isinstance(step, Fact)]
        _hold(life, facts + later, f"{where}, then {at} of {len(steps)}", outcome)


def _hold(image: Path, facts: list[Fact], where: str, outcome: Outcome) -> None:
    """Open the files and hold them against the facts."""
    story = Story(facts)
    outcome.losses += 1
    outcome.acknowledged += story.acknowledged
    try:
        with under_sqlite(Unheard()):
            found = asyncio.run(broken(image / "data", story))
    except Exception as error:
        found = [f"{type(error).__name__}: {error}"]
    outcome.broken.extend(f"{where}: {line}" for line in found)
    shutil.rmtree(image)
