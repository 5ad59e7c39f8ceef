"""The SQLite log keeps the contract of every log, and its own promises."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streams.log import (
    Log,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    Position,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
)
from streams.log.sqlite.log import SqliteLog
from tests.streams.log_contract import LogContract, Told, read, read_place

ROOT = Path(__file__).parents[4]

WRITER = """
import asyncio, sys
from pathlib import Path
from streams.log import Record, TopicSpec
from streams.log.sqlite.log import SqliteLog

async def main():
    log = SqliteLog(Path(sys.argv[1]))
    await log.start()
    await log.ensure([TopicSpec("t", 4)])
    async def one(task):
        number = 0
        while True:
            [offset] = await log.append("t", task % 4, [Record(b"k", b"%d/%d" % (task, number))])
            print(f"{task % 4} {offset} {task}/{number}", flush=True)
            number += 1
    await asyncio.gather(*(one(task) for task in range(20)))

asyncio.run(main())
"""


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[Log]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    yield log
    await log.close()


class TestSqliteLog(LogContract):
    pass


async def test_everything_is_there_after_a_new_start(tmp_path: Path) -> None:
    path, place = tmp_path / "data" / "log.db", TopicPartition("t", 0)
    log = SqliteLog(path)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    await log.append("t", 0, [Record(b"k", b"one", (("h", b"1"),))])
    member = log.member("g", ["t"], "n1", Told())
    await member.start()
    await read(member, 1)
    await member.commit({place: Position(1, "note")})
    await log.close()

    log = SqliteLog(path)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    assert await log.append("t", 0, [Record(b"k", b"two")]) == range(1, 2)
    found = await read_place(log, place, 2)
    assert [(r.offset, r.value, r.headers) for r in found] == [
        (0, b"one", (("h", b"1"),)),
        (1, b"two", ()),
    ]
    assert await log.committed("g", [place]) == {place: Position(1, "note")}
    await log.close()


async def test_a_compacted_topic_keeps_the_newest_record_of_each_key(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure([TopicSpec("state", 2, compacted=True)])
    place = TopicPartition("state", 0)
    await log.append("state", 0, [Record(b"a", b"a1"), Record(b"b", b"b1"), Record(b"a", b"a2")])
    await log.append("state", 1, [Record(b"a", b"other partition")])
    await log.append("state", 0, [Record(b"b", b"b2"), Record(b"c", b"c1"), Record(b"c", None)])
    await log.close()

    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    found = await read_place(log, place, 2)
    assert [(r.offset, r.key, r.value) for r in found] == [(2, b"a", b"a2"), (3, b"b", b"b2")]
    assert await log.beginnings([place]) == {place: 2}
    assert await log.ends([place]) == {place: 6}
    assert [r.value for r in await read_place(log, TopicPartition("state", 1), 1)] == [b"other partition"]
    with pytest.raises(LogError, match="state needs a key"):
        await log.append("state", 0, [Record(None, b"v")])
    await log.close()


async def test_offsets_go_on_when_the_last_record_was_a_deletion(tmp_path: Path) -> None:
    for expected in ([0, 1], [2, 3]):
        log = SqliteLog(tmp_path / "log.db")
        await log.start()
        await log.ensure([TopicSpec("state", 1, compacted=True)])
        assert list(await log.append("state", 0, [Record(b"a", b"v"), Record(b"a", None)])) == expected
        await log.close()


async def test_a_reader_behind_the_memory_reads_from_the_file_and_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.log.sqlite.log.TAIL_BYTES", 4096)
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure([TopicSpec("t", 2)])
    places = [TopicPartition("t", 0), TopicPartition("t", 1)]
    reader = log.reader()
    await reader.assign(dict.fromkeys(places, 0))
    for n in range(300):
        await log.append("t", n % 2, [Record(b"k", b"%d" % n)])
    found = await read(reader, 300)
    for partition, place in enumerate(places):
        values = [r.value for r in found if r.place == place]
        assert values == [b"%d" % n for n in range(partition, 300, 2)]
    await log.append("t", 0, [Record(b"k", b"live")])
    assert [r.value for r in await read(reader, 1)] == [b"live"]
    await log.close()


class AppendsWhileReading(SqliteLog):
    """Somebody appends just when a reader has its records from the file."""

    async def read_file(self, place: TopicPartition, offset: int, end: int, limit: int) -> list[Stored]:
        records = await super().read_file(place, offset, end, limit)
        await self.append(place.topic, place.partition, [Record(b"k", b"during")])
        return records


async def test_an_append_during_a_catch_up_read_loses_nothing(tmp_path: Path) -> None:
    """A follower that starts reads what is in the file while deciders append their claims."""
    path, place = tmp_path / "log.db", TopicPartition("t", 0)
    before = SqliteLog(path)
    await before.start()
    await before.ensure([TopicSpec("t", 1)])
    await before.append("t", 0, [Record(b"k", b"%d" % n) for n in range(50)])
    await before.close()

    log = AppendsWhileReading(path)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    reader = log.reader()
    await reader.assign({place: 0})
    found = await read(reader, 51)
    assert [stored.offset for stored in found] == list(range(51))
    await reader.close()
    await log.close()


async def test_a_second_process_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom streams.log.sqlite.log import SqliteLog\n"
        "asyncio.run(SqliteLog(Path(sys.argv[1])).start())"
    )
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, str(tmp_path / "log.db")],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert second.stderr.strip().splitlines()[-1] == (
        f"streams.log.port.LogError: the log {tmp_path / 'log.db'} is in use by another process; "
        "stop it or choose another directory"
    )
    await log.close()


async def test_a_file_that_cannot_be_opened_is_unavailable_and_named(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(LogUnavailableError, match=r"log\.db cannot be opened"):
        await SqliteLog(tmp_path / "log.db").start()


async def test_a_file_locked_by_somebody_else_is_unavailable_in_bounded_time_and_recovers(
    tmp_path: Path,
) -> None:
    log = SqliteLog(tmp_path / "log.db", timeout=0.3)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = asyncio.get_running_loop().time()
    with pytest.raises(LogUnavailableError, match=r"log\.db cannot be written"):
        await log.append("t", 0, [Record(b"k", b"lost")])
    assert 0.25 < asyncio.get_running_loop().time() - started < 5
    other.execute("ROLLBACK")
    other.close()
    assert list(await log.append("t", 0, [Record(b"k", b"kept")])) == [0]
    assert [r.value for r in await read_place(log, TopicPartition("t", 0), 1)] == [b"kept"]
    await log.close()


async def test_a_record_has_the_time_at_which_the_log_took_it_not_that_of_its_append(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", timeout=30.0)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    appending = asyncio.create_task(log.append("t", 0, [Record(b"k", b"v")]))
    await asyncio.wait([appending], timeout=0.05)
    free = time.time_ns() // 1_000_000
    other.execute("ROLLBACK")
    other.close()
    await appending
    [record] = await read_place(log, TopicPartition("t", 0), 1)
    assert record.timestamp >= free
    await log.close()


async def test_records_past_their_retention_are_swept_and_events_stay(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", sweep_seconds=0.01)
    await log.start()
    await log.ensure([TopicSpec("frames", 1, retention_ms=1), TopicSpec("events", 1)])
    frames, events = TopicPartition("frames", 0), TopicPartition("events", 0)
    for _ in range(3):
        await log.append("frames", 0, [Record(b"k", b"v")])
        await log.append("events", 0, [Record(b"k", b"v")])
    async with asyncio.timeout(10):
        while (await log.beginnings([frames]))[frames] < 3:
            pass
    assert await log.ends([frames]) == {frames: 3}
    assert await log.beginnings([events]) == {events: 0}
    await log.close()


def damage(path: Path, statement: str, *values: object) -> None:
    """Change the closed file behind the log's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


async def three_records(path: Path) -> None:
    """Three records in each of two partitions, and an end."""
    log = SqliteLog(path)
    await log.start()
    await log.ensure([TopicSpec("t", 2)])
    for partition in (0, 1):
        await log.append("t", partition, [Record(b"k", b"value %d" % n) for n in range(3)])
    await log.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE log SET value = x'00' WHERE partition = 0 AND offset = 1", "the record at offset 1"),
        (
            "UPDATE log SET timestamp = timestamp + 1 WHERE partition = 0 AND offset = 1",
            "the record at offset 1",
        ),
        ("UPDATE log SET key = NULL WHERE partition = 0 AND offset = 1", "the record at offset 1"),
        ("DELETE FROM log WHERE partition = 0 AND offset = 1", "offset 1 is missing"),
        ("DELETE FROM log WHERE partition = 0 AND offset = 2", "offset 2 is missing"),
        ("DELETE FROM log WHERE partition = 0", "offset 0 is missing"),
    ],
)
async def test_a_damaged_or_missing_record_halts_its_reader_by_name_and_the_other_partitions_go_on(
    tmp_path: Path, statement: str, said: str
) -> None:
    path, places = tmp_path / "log.db", [TopicPartition("t", 0), TopicPartition("t", 1)]
    await three_records(path)
    damage(path, statement)
    log = SqliteLog(path)
    await log.start()
    reader = log.reader()
    await reader.assign(dict.fromkeys(places, 0))
    found: list[Stored] = []
    errors: list[LogDamagedError] = []
    for _ in range(4):
        try:
            found += [stored for batch in (await reader.poll(0.05)).values() for stored in batch]
        except LogDamagedError as error:
            errors.append(error)
    assert [(stored.partition, stored.offset) for stored in found] == [(1, 0), (1, 1), (1, 2)]
    assert [error.place for error in errors] == [places[0]]
    assert str(errors[0]) == (
        f"{path} is damaged at t[0]: {said}; nothing is read beyond it: restore the file from a backup"
    )
    await log.close()


async def test_records_that_changed_places_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await three_records(path)
    damage(
        path,
        "UPDATE log SET offset = CASE offset WHEN 0 THEN -1 ELSE 0 END WHERE partition = 0 AND offset < 2",
    )
    damage(path, "UPDATE log SET offset = 1 WHERE offset = -1")
    log = SqliteLog(path)
    await log.start()
    with pytest.raises(LogDamagedError, match=r"t\[0\]: the record at offset 0"):
        await log.read_file(TopicPartition("t", 0), 0, 3, 10)
    await log.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ends SET next = next - 1",
        "DELETE FROM ends WHERE partition = 1",
        "UPDATE positions SET offset = 0",
        "UPDATE topics SET partitions = 3",
        "UPDATE tally SET commits = commits + 1",
        "DROP INDEX log_place",
    ],
)
async def test_a_log_with_damaged_books_does_not_start(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "log.db"
    await three_records(path)
    log = SqliteLog(path)
    await log.start()
    await log.commit("g", {TopicPartition("t", 0): Position(2)})
    await log.close()
    damage(path, statement)
    with pytest.raises(LogDamagedError, match=r"log\.db is damaged"):
        await SqliteLog(path).start()


async def copied_while_open(path: Path, copy: Path) -> None:
    """The files of a log that was not ended: its newest commits are in the write-ahead log only."""
    log = SqliteLog(path)
    await log.start()
    await log.ensure([TopicSpec("t", 1)])
    for n in range(10):
        await log.append("t", 0, [Record(b"k", b"%d" % n)])
    await asyncio.to_thread(shutil.copytree, path.parent, copy)
    await log.close()


async def test_commits_that_sqlite_drops_from_a_damaged_write_ahead_log_are_missed(tmp_path: Path) -> None:
    """SQLite reads a write-ahead log up to the first frame that is wrong, and says nothing of the rest."""
    await copied_while_open(tmp_path / "data" / "log.db", tmp_path / "copy")
    wal = tmp_path / "copy" / "log.db-wal"
    whole = wal.read_bytes()
    wal.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:])
    (tmp_path / "copy" / "log.db-shm").unlink()
    path = tmp_path / "copy" / "log.db"
    for _ in range(2):
        with pytest.raises(LogDamagedError) as caught:
            await SqliteLog(path).start()
        assert str(caught.value) == (
            f"{path} lacks the newest of its commits (1), which were acknowledged: its -wal is damaged or gone; "
            f"restore the log from a backup, or remove {path}.commits to go on without them"
        )
    assert len((tmp_path / "copy" / "log.db-wal.damaged").read_bytes()) == len(whole)

    (tmp_path / "copy" / "log.db.commits").unlink()
    log = SqliteLog(path)
    await log.start()
    assert await log.ends([TopicPartition("t", 0)]) == {TopicPartition("t", 0): 9}
    await log.close()


async def test_a_missing_write_ahead_log_is_missed(tmp_path: Path) -> None:
    await copied_while_open(tmp_path / "data" / "log.db", tmp_path / "copy")
    (tmp_path / "copy" / "log.db-wal").unlink()
    (tmp_path / "copy" / "log.db-shm").unlink()
    with pytest.raises(LogDamagedError, match=r"log\.db lacks the newest of its commits"):
        await SqliteLog(tmp_path / "copy" / "log.db").start()


async def test_a_damaged_time_sweeps_nothing_away(tmp_path: Path) -> None:
    path, frames = tmp_path / "log.db", TopicPartition("frames", 0)
    log = SqliteLog(path)
    await log.start()
    await log.ensure([TopicSpec("frames", 1, retention_ms=3_600_000)])
    await log.append("frames", 0, [Record(None, b"1"), Record(None, b"2")])
    await log.close()
    damage(path, "UPDATE log SET timestamp = 0 WHERE offset = 1")
    log = SqliteLog(path, sweep_seconds=0.001)
    await log.start()
    for n in range(20):
        await log.append("frames", 0, [Record(None, b"%d" % n)])
    assert await log.beginnings([frames]) == {frames: 0}
    await log.close()


async def test_two_living_members_of_one_node_name_are_refused(log: Log) -> None:
    await log.ensure([TopicSpec("t", 1)])
    one, two = (log.member("g", ["t"], "n1", Told()) for _ in range(2))
    await one.start()
    with pytest.raises(LogError, match="group g has a living member named n1"):
        await two.start()
    await one.close()
    await two.start()
    await two.close()


@pytest.mark.kill
async def test_every_record_acknowledged_before_a_sigkill_is_there_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acked: dict[tuple[int, int], str] = {}
    for wanted in (50, 120, 200):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(path), cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(wanted):
            partition, offset, value = (await writer.stdout.readline()).decode().split()
            acked[int(partition), int(offset)] = value
        os.kill(writer.pid, signal.SIGKILL)
        rest = (await writer.stdout.read()).decode().splitlines(keepends=True)
        await writer.wait()
        for line in rest:
            if line.endswith("\n"):
                partition, offset, value = line.split()
                acked[int(partition), int(offset)] = value

    log = SqliteLog(path)
    await log.start()
    places = [TopicPartition("t", partition) for partition in range(4)]
    reader = log.reader()
    await reader.assign(dict.fromkeys(places, 0))
    found = await read(reader, sum((await log.ends(places)).values()))
    stored = {(r.partition, r.offset): (r.value or b"").decode() for r in found}
    assert len(acked) >= 370
    assert {at: stored.get(at) for at in acked} == acked
    await log.close()
