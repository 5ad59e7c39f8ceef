"""One flipped byte somewhere in the files of an installation: each answer is then right, or an error names it."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from application.vault import StoreKeys, Vault
from projections.store import Query, Sort, StoreError
from projections.store.sqlite import SqliteReadStore
from streams.log import LogError, TopicPartition
from streams.log.sqlite.log import SqliteLog
from tests.simulation.disk.losses import record
from tests.simulation.disk.promises import read_all
from tests.simulation.disk.recording import Recording
from tests.simulation.disk.vfs import Unheard, under_sqlite
from tests.simulation.disk.workload import DATABASES, GROUP, MASTER, PLACES, PROJECTOR, live

Answers = dict[str, Any]

NAMED = "named: "


@dataclass(slots=True)
class Outcome:
    flips: int = 0
    noticed: Counter[str] = field(default_factory=Counter)
    """By file: flips that at least one answer named."""
    harmless: Counter[str] = field(default_factory=Counter)
    """By file: flips of bytes that nothing is read from."""
    wrong: list[str] = field(default_factory=list)


async def answers(data: Path) -> Answers:
    """All that can be asked, by its name; an error that names the damage stands as its own answer."""
    found: Answers = {}

    async def ask(name: str, question: Callable[[], Awaitable[Any]]) -> None:
        try:
            found[name] = await question()
        except (LogError, StoreError) as error:
            found[name] = f"{NAMED}{error}"

    log = SqliteLog(data / "log.db")
    store = SqliteReadStore(data / "read")
    vault = Vault(MASTER, StoreKeys(store))
    await ask("log", log.start)
    if found["log"] is None:
        await _of_log(log, ask)
        for stored in (
            found[f"records {PLACES[0]}"] if isinstance(found[f"records {PLACES[0]}"], list) else ()
        ):
            if stored.key == b"sealed":
                text = stored.value.decode()
                await ask(f"sealed {text[:24]}", partial(vault.open, text))
        await log.close()
    await _of_store(store, ask)
    await store.close()
    return found


async def _of_log(log: SqliteLog, ask: Callable[..., Awaitable[None]]) -> None:
    await ask("ends", lambda: log.ends(PLACES))
    await ask("beginnings", lambda: log.beginnings(PLACES))
    await ask("committed", lambda: log.committed(GROUP, PLACES))
    for place in PLACES:

        async def rest(place: TopicPartition = place) -> list[Any]:
            """From the middle on, some at a time, as one reads that has been away."""
            end = (await log.ends([place]))[place]
            return await log.read_file(place, end // 2, end, 3)

        await ask(f"records {place}", lambda place=place: read_all(log, place))
        await ask(f"rest {place}", rest)


async def _of_store(store: SqliteReadStore, ask: Callable[..., Awaitable[None]]) -> None:
    await ask("positions", lambda: store.positions(PROJECTOR))
    await ask("databases", store.databases)
    ids = [f"d{number}" for number in range(30)]
    for db in DATABASES:
        for sort in ("number", "_id"):
            query = Query(db, "sessions", sort=(Sort(sort),), limit=500)
            await ask(f"{db} by {sort}", lambda query=query: store.find(query))
        await ask(f"{db} count", lambda db=db: store.count(Query(db, "sessions")))
        await ask(f"{db} ids", lambda db=db: store.get_many(db, "sessions", ids))
        await ask(f"{db} versions", lambda db=db: store.versions(db, "sessions", ids))
    await ask("near", lambda: store.near(DATABASES[0], "sessions", lon=0.0, lat=0.5, radius_m=150_000.0))


def _closed(seed: int, folder: Path) -> Path:
    """The files after a clean end."""
    record(seed, folder)
    return folder / "data"


def _open(seed: int, folder: Path) -> Path:
    """The files as they are while it runs: much of what was committed is in write-ahead logs only."""
    folder.mkdir(parents=True)

    def copy() -> None:
        shutil.copytree(folder / "data", folder / "copy", ignore=shutil.ignore_patterns("*-shm"))

    with under_sqlite(Unheard()):
        asyncio.run(live(folder / "data", Recording(folder), seed, rounds=1, before_the_end=copy))
    return folder / "copy"


def flip_bytes(flips: int, seed: int) -> Outcome:
    """So many flips, one at a time, half of them in an installation that was ended and half in one that was not."""
    outcome, chance = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="flips-") as name, under_sqlite(Unheard()):
        for number, make in enumerate((_closed, _open)):
            whole = make(seed, Path(name) / f"whole{number}")
            right = asyncio.run(_answers_of_copy(whole, Path(name)))
            assert not any(str(answer).startswith(NAMED) for answer in right.values()), right
            files = [path for path in sorted(whole.rglob("*")) if path.is_file() and path.stat().st_size]
            sizes = [path.stat().st_size for path in files]
            for _ in range(flips // 2):
                [path] = chance.choices([file.relative_to(whole) for file in files], sizes)
                _flip(whole, path, chance, right, Path(name), outcome)
    return outcome


async def _answers_of_copy(whole: Path, folder: Path) -> Answers:
    copy = folder / "copy"
    await asyncio.to_thread(shutil.copytree, whole, copy)
    try:
        return await answers(copy)
    finally:
        await asyncio.to_thread(shutil.rmtree, copy)


def _flip(
    whole: Path, path: Path, chance: random.Random, right: Answers, folder: Path, outcome: Outcome
) -> None:
    data = (whole / path).read_bytes()
    # Every other one where pages begin: the bytes that hold a b-tree together are few.
    head = chance.randrange(0, len(data), 4096) + chance.randrange(64)
    at = min(chance.choice((chance.randrange(len(data)), head)), len(data) - 1)
    bits = chance.choice((1 << chance.randrange(8), chance.randrange(1, 256)))
    (whole / path).write_bytes(data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :])
    outcome.flips += 1
    where = f"{path} at byte {at} xor {bits}"
    try:
        found = asyncio.run(_answers_of_copy(whole, folder))
    except Exception as error:
        outcome.wrong.append(f"{where}: {type(error).__name__}: {error}")
        return
    finally:
        (whole / path).write_bytes(data)
    named = [answer for answer in found.values() if isinstance(answer, str) and answer.startswith(NAMED)]
    (outcome.noticed if named else outcome.harmless)[str(path)] += 1
    for question, answer in found.items():
        if answer not in named and answer != right.get(question):
            outcome.wrong.append(
                f"{where}: {question} is answered {answer!r:.100}, not {right.get(question)!r:.100}"
            )
    for line in named:
        if "\n" in line or ".db" not in line:
            outcome.wrong.append(f"{where}: {line!r} is not one line that names the file")
