"""The log in one SQLite file, for one process that needs no other server.

What enters: records and positions of every task of this process. What leaves: offsets once they are on the disk, and
the records in order. What it never does: block the event loop, wait for a timer, or share its file with a second
process.

One thread writes. All that waits when it turns to its queue becomes one transaction (WAL, `synchronous=FULL`: every
commit is synced), so that a lone append costs one fsync and a thousand concurrent ones cost one together. Readers
that keep up are served from memory, the others from the file, on threads of their own.

It is one module because writer and memory share one rule: what a caller or a reader sees is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from projections.store.files import own_database, own_folder
from projections.store.sqlite_file import (
    DamagedFileError,
    MissingCommitsError,
    Tally,
    connect,
    copy_file,
    inspect,
    is_damage,
    make_durable,
)
from streams.log import (
    Listener,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    Member,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
    TopicSpec,
    TopologyMismatchError,
    append_size,
)
from streams.log.departures import Departures
from streams.log.sqlite.reading import Cursor, Group, SqliteMember, SqliteReader, Tail, TailedLog
from streams.log.sqlite.rows import Held, Rows, Span, Written, make_tables

TAIL_BYTES = 32 * 1024 * 1024
BATCH_RECORDS = 4096
BATCH_BYTES = 16 * 1024 * 1024
SWEEP_SECONDS = 600.0
CHECKPOINT_PAGES = 4000

T = TypeVar("T")


@dataclass(slots=True)
class _Append:
    topic: Held
    partition: int
    records: Sequence[Record]
    done: asyncio.Future[Sequence[int]]
    timestamp: int = -1
    first: int = -1


@dataclass(slots=True)
class _Job:
    """Something else that joins the writer's transaction; `after` runs on the event loop once it is durable."""

    work: Callable[[sqlite3.Connection], None]
    after: Callable[[], None]
    done: asyncio.Future[None]


class SqliteLog(TailedLog):
    """The log in the file `path`, made with its directory when missing.

    `timeout`: seconds that an append may wait for a file that somebody else keeps locked, before LogUnavailableError.
    """

    def __init__(self, path: Path, *, timeout: float = 5.0, sweep_seconds: float = SWEEP_SECONDS) -> None:
        self._path = path
        self._timeout = timeout
        self._sweep_seconds = sweep_seconds
        self._work: queue.SimpleQueue[_Append | _Job | None] = queue.SimpleQueue()
        self._patient: list[_Append] = []
        self._departures = Departures(self._depart, haste=0.0)
        self._rows = Rows(path)
        self._tally = Tally(path)
        self._topics: dict[str, Held] = {}
        self._tails: dict[TopicPartition, Tail] = {}
        self._order: deque[tuple[Tail, int]] = deque()
        self._tail_bytes = 0
        self._committed: dict[tuple[str, TopicPartition], Position] = {}
        self._watchers: defaultdict[TopicPartition, set[Cursor]] = defaultdict(set)
        self._groups: defaultdict[str, Group] = defaultdict(lambda: Group(self))
        self._spans: dict[tuple[int, int], Span] = {}
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._ensuring = asyncio.Lock()
        self._open = False
        self._lock_file: int | None = None

    # --- life

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        writer = await asyncio.to_thread(self._prepare)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="log-reader")
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._write, args=(writer,), name="log-writer", daemon=True)
        self._open = True
        self._thread.start()

    async def close(self) -> None:
        """Write what was asked for, then let go of the file. Members and readers raise LogUnavailableError from now
        on."""
        if not self._open:
            return
        self._open = False
        self._depart()
        self._work.put(None)
        await self._stopped.wait()
        self._thread.join()
        for group in self._groups.values():
            for member in list(group.members.values()):
                await member.close()
        for cursors in self._watchers.values():
            for cursor in cursors:
                cursor.woken.set()
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()
        self._tally.close()
        assert self._lock_file is not None
        os.close(self._lock_file)

    def _prepare(self) -> sqlite3.Connection:
        try:
            own_folder(self._path.parent)
            own_database(self._path)
            lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LogUnavailableError(f"the log {self._path} cannot be opened: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise LogError(
                f"the log {self._path} is in use by another process; stop it or choose another directory"
            ) from error
        try:
            connection = self._connect()
            make_durable(connection, CHECKPOINT_PAGES)
            self._tally.open(connection, make_tables)
            self._load(connection)
        except (sqlite3.Error, OSError, UnicodeDecodeError, DamagedFileError, LogDamagedError) as error:
            for opened in self._connections:
                opened.close()
            self._connections.clear()
            self._tally.close()
            os.close(lock)
            raise self._translated("opened", error) from error
        self._lock_file = lock
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self._path, self._timeout)
        self._connections.append(connection)
        return connection

    def _translated(self, what: str, error: Exception) -> LogError:
        if isinstance(error, LogError):
            return error
        if isinstance(error, DamagedFileError):
            way_out = "restore the log from a backup"
            if isinstance(error, MissingCommitsError):
                way_out += f", or remove {error.beside} to go on without them"
            return LogDamagedError(f"{error}; {way_out}")
        if is_damage(error) and what == "read":
            return LogDamagedError(f"the log {self._path} is damaged: {error}; restore it from a backup")
        return LogUnavailableError(f"the log {self._path} cannot be {what}: {error}")

    def _load(self, connection: sqlite3.Connection) -> None:
        topics, self._spans, self._committed = self._rows.load(connection)
        for topic in topics:
            self._know(topic)

    def _know(self, topic: Held) -> None:
        self._topics[topic.spec.name] = topic
        for partition in range(topic.spec.partitions):
            end = self._spans.setdefault((topic.id, partition), Span(0, 0)).next
            self._tails.setdefault(TopicPartition(topic.spec.name, partition), Tail(end))

    # --- what the port asks

    async def ensure(self, topics: Sequence[TopicSpec]) -> None:
        async with self._ensuring:
            await self._ensure(topics)

    async def _ensure(self, topics: Sequence[TopicSpec]) -> None:
        fresh: list[Held] = []
        highest = max((topic.id for topic in self._topics.values()), default=0)
        for spec in topics:
            known = self._topics.get(spec.name)
            if known is None:
                highest += 1
                fresh.append(Held(highest, spec))
                continue
            if known.spec.partitions != spec.partitions:
                raise TopologyMismatchError(
                    f"topic {spec.name} has {known.spec.partitions} partitions in {self._path}, "
                    f"this release needs {spec.partitions}"
                )
            if known.spec.compacted != spec.compacted:
                raise TopologyMismatchError(f"topic {spec.name} in {self._path} differs in being compacted")
            if known.spec.retention_ms != spec.retention_ms:
                fresh.append(Held(known.id, spec))
        if not fresh:
            return

        def write(connection: sqlite3.Connection) -> None:
            self._rows.put_topics(connection, fresh)

        def know() -> None:
            for topic in fresh:
                self._know(topic)

        await self._do(write, know)

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        item = self._item(topic, partition, records)
        if item is None:
            return ()
        if self._patient:
            self._departures.now()
        self._work.put(item)
        return await item.done

    async def append_patiently(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        item = self._item(topic, partition, records)
        if item is None:
            return ()
        self._patient.append(item)
        self._departures.patiently()
        return await item.done

    def _depart(self) -> None:
        for item in self._patient:
            self._work.put(item)
        self._patient.clear()

    def _item(self, topic: str, partition: int, records: Sequence[Record]) -> _Append | None:
        """What is to be written; None where it is nothing."""
        known = self._topics.get(topic)
        if known is None or not 0 <= partition < known.spec.partitions:
            raise TopologyMismatchError(f"the log {self._path} has no partition {partition} of topic {topic}")
        if known.spec.compacted and any(record.key is None for record in records):
            raise LogError(f"a record for the compacted topic {topic} needs a key")
        append_size(records)
        if not records:
            return None
        self.check_open()
        return _Append(known, partition, records, self._loop.create_future())

    async def beginnings(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        asked = [(place, self._topic(place), self._tails[place].end) for place in places]

        def read(connection: sqlite3.Connection) -> dict[TopicPartition, int]:
            found: dict[TopicPartition, int] = {}
            for place, topic, end in asked:
                lowest = self._rows.beginning(connection, topic, place.partition)
                found[place] = end if lowest is None else min(lowest, end)
            return found

        return await self.read(read)

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.check_open()
        return {place: self._tails[place].end for place in places if self._topic(place)}

    async def committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, Position]:
        self.check_open()
        return {
            place: position
            for place in places
            if (position := self._committed.get((group, place))) is not None
        }

    def reader(self, gather: float = 0.0) -> Reader:
        return SqliteReader(self, gather)

    def member(
        self, group: str, topics: Sequence[str], node: str, listener: Listener, gather: float = 0.0
    ) -> Member:
        return SqliteMember(self, group, topics, node, listener, gather)

    async def inspect(self) -> None:
        """SQLite's own check of the whole file. Raises LogDamagedError."""
        try:
            await self.read(lambda connection: inspect(connection, self._path))
        except DamagedFileError as error:
            raise self._translated("read", error) from error

    # --- within the process

    def check_open(self) -> None:
        if not self._open:
            raise LogUnavailableError(f"the log {self._path} is closed")

    def _topic(self, place: TopicPartition) -> Held:
        if place not in self._tails:
            raise TopologyMismatchError(
                f"the log {self._path} has no partition {place.partition} of topic {place.topic}"
            )
        return self._topics[place.topic]

    async def _do(self, work: Callable[[sqlite3.Connection], None], after: Callable[[], None]) -> None:
        self.check_open()
        done: asyncio.Future[None] = self._loop.create_future()
        self._work.put(_Job(work, after, done))
        await done

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a thread and a connection of the readers."""
        self.check_open()

        def on_thread() -> T:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
            return work(connection)

        try:
            return await self._loop.run_in_executor(self._readers, on_thread)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translated("read", error) from error

    async def read_file(self, place: TopicPartition, offset: int, end: int, limit: int) -> list[Stored]:
        topic = self._topic(place)
        return await self.read(
            lambda connection: self._rows.read(connection, topic, place.partition, offset, end, limit)
        )

    def tail(self, place: TopicPartition) -> Tail:
        self._topic(place)
        return self._tails[place]

    def partitions(self, topic: str) -> int:
        if topic not in self._topics:
            raise TopologyMismatchError(f"the log {self._path} has no topic {topic}")
        return self._topics[topic].spec.partitions

    def group(self, name: str) -> Group:
        return self._groups[name]

    def watch(self, place: TopicPartition, cursor: Cursor) -> None:
        self._watchers[place].add(cursor)

    def unwatch(self, place: TopicPartition, cursor: Cursor) -> None:
        self._watchers[place].discard(cursor)

    async def commit(self, group: str, positions: Mapping[TopicPartition, Position]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            self._rows.put_positions(connection, group, positions)

        def know() -> None:
            for place, position in positions.items():
                self._committed[group, place] = position

        await self._do(write, know)

    # --- the writer's thread

    def _write(self, connection: sqlite3.Connection) -> None:
        sweep: Iterator[None] = iter(())
        next_sweep = time.monotonic() + self._sweep_seconds
        sweeping = False
        while True:
            batch = self._wait(0.0 if sweeping else max(0.0, next_sweep - time.monotonic()))
            if batch:
                stop = batch[-1] is None
                self._write_batch(connection, [item for item in batch if item is not None])
                if stop:
                    break
            if not sweeping and time.monotonic() >= next_sweep:
                sweep, sweeping = self._sweep(connection), True
            if sweeping:
                try:
                    next(sweep)
                except (StopIteration, sqlite3.Error):
                    # What a sweep could not delete, the next one does.
                    sweeping, next_sweep = False, time.monotonic() + self._sweep_seconds
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)

    def _wait(self, timeout: float) -> list[_Append | _Job | None]:
        """All that waits now, up to a batch's size; empty after `timeout` seconds."""
        try:
            item = self._work.get(timeout=timeout) if timeout else self._work.get_nowait()
        except queue.Empty:
            return []
        batch = [item]
        count = size = 0
        with contextlib.suppress(queue.Empty):
            while item is not None and count < BATCH_RECORDS and size < BATCH_BYTES:
                if isinstance(item, _Append):
                    count += len(item.records)
                    size += sum(len(record.value or b"") for record in item.records)
                item = self._work.get_nowait()
                batch.append(item)
        return batch

    def _write_batch(self, connection: sqlite3.Connection, batch: list[_Append | _Job]) -> None:
        appends = [item for item in batch if isinstance(item, _Append)]
        jobs = [item for item in batch if isinstance(item, _Job)]
        failure: LogUnavailableError | None = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            spans = self._place(appends)
            self._rows.put(connection, (self._written(item) for item in appends))
            self._rows.put_spans(connection, spans)
            for job in jobs:
                job.work(connection)
            self._tally.count(connection)
            connection.execute("COMMIT")
            self._spans.update(spans)
            self._tally.committed()
        except Exception as error:  # whatever it was, those who wait are told and the writer goes on
            failure = LogUnavailableError(f"the log {self._path} cannot be written: {error}")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, appends, jobs, failure)

    def _place(self, appends: Iterable[_Append]) -> dict[tuple[int, int], Span]:
        """Give the appends their offsets; where the partitions then begin and end."""
        spans: dict[tuple[int, int], Span] = {}
        now = time.time_ns() // 1_000_000
        for item in appends:
            item.timestamp = now
            place = (item.topic.id, item.partition)
            first, item.first = spans.get(place) or self._spans[place]
            spans[place] = Span(first, item.first + len(item.records))
        return spans

    @staticmethod
    def _written(item: _Append) -> Written:
        return Written(item.topic, item.partition, item.first, item.records, item.timestamp)

    def _sweep(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Delete what is past its topic's retention, a few rows a step, oldest first."""
        now = time.time_ns() // 1_000_000
        for topic in list(self._topics.values()):
            if topic.spec.retention_ms is None or topic.spec.compacted:
                continue
            before = now - topic.spec.retention_ms
            for partition in range(topic.spec.partitions):
                more = True
                while more:
                    more = self._sweep_some(connection, topic, partition, before)
                    yield

    def _sweep_some(self, connection: sqlite3.Connection, topic: Held, partition: int, before: int) -> bool:
        span = self._spans[topic.id, partition]
        connection.execute("BEGIN IMMEDIATE")
        try:
            swept, more = self._rows.sweep(connection, topic, partition, before, span)
            if swept != span:
                self._tally.count(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if swept != span:
            self._spans[topic.id, partition] = swept
            self._tally.committed()
        return more

    # --- back on the event loop

    def _settle(
        self, appends: Sequence[_Append], jobs: Sequence[_Job], failure: LogUnavailableError | None
    ) -> None:
        for item in appends:
            if failure is not None:
                if not item.done.done():
                    item.done.set_exception(failure)
                continue
            self._remember(item)
            if not item.done.done():
                item.done.set_result(range(item.first, item.first + len(item.records)))
        for job in jobs:
            if failure is None:
                job.after()
            if not job.done.done():
                if failure is None:
                    job.done.set_result(None)
                else:
                    job.done.set_exception(failure)

    def _remember(self, item: _Append) -> None:
        place = TopicPartition(item.topic.spec.name, item.partition)
        tail = self._tails[place]
        for offset, record in enumerate(item.records, item.first):
            stored = Stored(*place, offset, item.timestamp, record.key, record.value, record.headers)
            size = 256 + len(record.key or b"") + len(record.value or b"")
            tail.records.append(stored)
            self._order.append((tail, size))
            self._tail_bytes += size
        tail.end = item.first + len(item.records)
        while self._tail_bytes > TAIL_BYTES:
            oldest, size = self._order.popleft()
            oldest.records.popleft()
            oldest.start += 1
            self._tail_bytes -= size
        for cursor in self._watchers.get(place, ()):
            cursor.wake(place)


def copy_log(source: Path, target: Path, forget: Sequence[str]) -> None:
    """`sqlite_file.copy_file` of a log, without the positions of these groups: what they made is not copied."""
    copy_file(source, target)
    with contextlib.closing(connect(target, 5.0)) as copy:
        copy.execute("BEGIN IMMEDIATE")
        copy.executemany("DELETE FROM positions WHERE member_group = ?", [(group,) for group in forget])
        copy.execute("COMMIT")
