"""What a process knows of keys: as the log has them, however far the read store is; nothing once it cannot know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.auth import LEEWAY, LONGEST
from application import keys as module
from application.key_text import key_text
from application.keys import BOUND, TOKENS_LIVE, LogKeys, secret_digest
from application.principal import BadTokenError, Principal
from chargesphere import registry
from commands.base import Area
from domain.access import Grant
from domain.aggregate import Event
from domain.key import KeyCreated, KeyRevoked, KeyRotated, key_aggregate_id
from domain.subject import SubjectTokensRevoked, subject_aggregate_id
from projections.key import USES, USES_DATABASE, VIEW
from projections.store import HUB, Insert, Put, StoreUnavailableError
from projections.store.generations import Generation
from projections.store.sqlite import SqliteReadStore
from projections.subject import VIEW as SUBJECTS
from streams.following.parking import Parked, Parking
from streams.log import (
    Log,
    LogShortenedError,
    LogUnavailableError,
    Position,
    Reader,
    Record,
    Stored,
    TopicPartition,
)
from streams.log.envelope import Claim, encode, record
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import DEAD, events_topic, topics
from streams.projecting.projector import LETTERS
from tests.projections.facts import NOON, after, decision, meta
from tests.servers import Kafka

GROUP = "projector"
TEXT, OTHER = key_text("K" * 12, "s" * 43), key_text("K" * 12, "t" * 43)
ID = "K" * 12
GRANT = Grant(role="operator", scopes=("cdrs:read",))


class Digests:
    """Keyed by nothing."""

    def digest(self, kind: str, text: str) -> str:
        return f"{kind} of {text}"


class Absent(SqliteReadStore):
    """Answers only while it is `there`."""

    there = True
    reads = 0
    pause: asyncio.Event | None = None

    async def get_many(self, db: str, collection: str, ids: Any) -> dict[str, Any]:
        if not self.there:
            raise StoreUnavailableError("read store", "away")
        self.reads += 1
        found = await super().get_many(db, collection, ids)
        if self.pause is not None:
            await self.pause.wait()
        return found


class Away(SqliteLog):
    """Says where it ends only while it is `there`, and that `slow`ly."""

    there = True
    slow = 0.0
    asked = 0

    async def ends(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.asked += 1
        if not self.there:
            raise LogUnavailableError("away")
        await asyncio.sleep(self.slow)
        return await super().ends(places)


class Shortened(Reader):
    """A reader that says once that the log holds less of these places than was read."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.places: frozenset[TopicPartition] = frozenset()

    async def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._inner.assign(positions)

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        places, self.places = self.places, frozenset()
        if places:
            raise LogShortenedError(places)
        return await self._inner.poll(0.01, limit)

    async def position(self, place: TopicPartition) -> int:
        return await self._inner.position(place)

    async def close(self) -> None:
        await self._inner.close()


class Broken(Shortened):
    """A reader whose reading ends when it is told to, and goes on with the poll after the one that says so."""

    state = "reads"

    async def poll(self, timeout: float, limit: int = 500) -> Mapping[TopicPartition, Sequence[Stored]]:
        if self.state == "ends":
            self.state = "has ended"
            raise LogUnavailableError("reading has ended")
        self.state = "reads"
        return await super().poll(timeout, limit)

    async def position(self, place: TopicPartition) -> int:
        if self.state == "has ended":
            raise LogUnavailableError("is not being read")
        return await super().position(place)


class Read:
    """The generation that is read."""

    def __init__(self) -> None:
        self.known = Generation()

    async def newest(self) -> Generation:
        return self.known


class Desk:
    """A log, a read store into which only `project` writes, and a process that knows keys."""

    def __init__(self, log: Away, store: Absent) -> None:
        self.log, self.store, self.read = log, store, Read()
        self.now = NOON
        self.versions: dict[str, int] = {}
        self.keys = self.process()

    def process(self) -> LogKeys:
        return LogKeys(self.log, self.store, self.read, registry.EVENTS, GROUP, Digests(), lambda: self.now)

    def event(self, type: type[Event], id: str, **fields: Any) -> Event:
        self.versions[id] = version = self.versions.get(id, 0) + 1
        return type(originator_id=id, originator_version=version, timestamp=after(version), **fields)

    def created(self, grant: Grant = GRANT, tenant: str = "demo") -> Event:
        digest = secret_digest(Digests(), TEXT)
        id = key_aggregate_id(tenant, ID)
        return self.event(KeyCreated, id, tenant=tenant, name="x", grant=grant, secret_digest=digest)

    def revoked(self) -> Event:
        return self.event(KeyRevoked, key_aggregate_id("demo", ID))

    def rotated(self) -> Event:
        return self.event(
            KeyRotated,
            key_aggregate_id("demo", ID),
            secret_digest=secret_digest(Digests(), OTHER),
            previous_digest=secret_digest(Digests(), TEXT),
            previous_until=NOON + timedelta(hours=1),
        )

    def subject(self, seconds: float, subject: str = "ann") -> Event:
        id = subject_aggregate_id("demo", subject)
        return self.event(
            SubjectTokensRevoked, id, tenant="demo", subject=subject, before=NOON + timedelta(seconds=seconds)
        )

    async def say(self, event: Event, log: Log | None = None, *, epoch: int = 0) -> None:
        """As the decider would."""
        said = msgspec.structs.replace(decision(event, meta=meta()), epoch=epoch)
        partition = Layout().partition_of(event.originator_id)
        await (log or self.log).append(
            events_topic(Area.KEY), partition, [record(event.originator_id, said, meta().tenant)]
        )

    async def project(self, *events: Event) -> None:
        """Into the read store, with the projector's position behind."""
        place = TopicPartition(events_topic(Area.KEY), Layout().partition_of(events[0].originator_id))
        view = SUBJECTS if isinstance(events[0], SubjectTokensRevoked) else VIEW
        where = view.target(events[-1], meta())
        document = await self.store.get(HUB, view.collection, where.id)
        for event in events:
            document = view.evolve(document, event, meta())
        assert document is not None
        document = {name: value for name, value in document.items() if name not in ("_id", "version")}
        await self.store.apply([Put(HUB, view.collection, where.id, events[-1].originator_version, document)])
        self.store.reads = 0
        self.positions = {place: Position((await SqliteLog.ends(self.log, [place]))[place], "0")}

    positions: dict[TopicPartition, Position]

    def step_on(self) -> tuple[TopicPartition, Position]:
        """The projector's position passes one fact more than the read store took in; where it was."""
        place, position = next(iter(self.positions.items()))
        self.positions = {place: Position(position.offset + 1, "0")}
        return place, position

    async def revoke_unseen(self) -> tuple[Event, TopicPartition, Position]:
        """A key, whose revocation the projector's position passes though the read store lacks it."""
        created, revoked = self.created(), self.revoked()
        await self.say(created)
        await self.project(created)
        await self.say(revoked)
        return revoked, *self.step_on()

    async def heard(self, id: str, keys: LogKeys | None = None) -> None:
        await (keys or self.keys).hear(id, self.versions[id], 5)

    async def opens(self, text: str = TEXT, keys: LogKeys | None = None) -> str:
        """Empty, or why not."""
        try:
            await (keys or self.keys).of_key(text, "127.0.0.1")
        except BadTokenError as error:
            return str(error)
        return ""


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    log, store = Away(tmp_path / "log.db"), Absent(tmp_path / "read")
    await log.start()
    await log.ensure(topics(Layout()))
    made = Desk(log, store)
    made.positions = {}

    async def committed(group: str, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, Position]:
        assert group == GROUP
        return made.positions

    monkeypatch.setattr(log, "committed", committed)
    yield made
    await log.close()
    await store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(keys: LogKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    try:
        await until(lambda: keys.is_current)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_key_that_only_the_log_has_is_known_and_what_happens_to_it(desk: Desk) -> None:
    id = key_aggregate_id("demo", ID)
    async with running(desk.keys):
        await desk.say(desk.created())
        await desk.heard(id)
        principal = await desk.keys.of_key(TEXT, "127.0.0.1")
        assert principal == Principal(subject=ID, tenant="demo", grant=GRANT)
        assert (principal.by, principal.credential) == (f"key:{ID}", "key")
        await desk.say(desk.rotated())
        await desk.heard(id)
        assert [await desk.opens(TEXT), await desk.opens(OTHER)] == ["", ""]
        desk.now = NOON + timedelta(hours=1)
        assert [await desk.opens(TEXT), await desk.opens(OTHER)] == ["the key is not valid here", ""]
        await desk.say(desk.revoked())
        await desk.heard(id)
        assert await desk.opens(OTHER) == "the key was revoked"


async def test_what_the_read_store_has_not_got_yet_is_heard_from_where_it_stands(desk: Desk) -> None:
    """A process that begins after a revocation which the projector has not taken in."""
    created = desk.created()
    await desk.say(created)
    await desk.project(created)
    await desk.say(desk.revoked())
    async with running(desk.keys):
        assert await desk.opens() == "the key was revoked"


async def test_a_start_reads_nothing_of_what_the_read_store_has(desk: Desk) -> None:
    created = desk.created()
    await desk.say(created)
    await desk.project(created)
    async with running(desk.keys):
        assert await desk.opens() == ""
        assert desk.keys._versions == {}
        assert desk.store.reads == 1
        assert await desk.opens() == ""
        assert desk.store.reads == 1


async def test_a_revocation_while_the_key_is_being_read_is_not_missed(desk: Desk) -> None:
    created = desk.created()
    await desk.say(created)
    await desk.project(created)
    async with running(desk.keys):
        desk.store.pause = asyncio.Event()
        asking = asyncio.create_task(desk.opens())
        await until(lambda: desk.store.reads == 1)
        await desk.say(desk.revoked())
        await desk.heard(key_aggregate_id("demo", ID))
        desk.store.pause.set()
        assert await asking == "the key was revoked"


async def test_a_key_that_is_made_and_revoked_while_it_is_being_read_is_revoked(desk: Desk) -> None:
    """What is read is what was before."""
    id = key_aggregate_id("demo", ID)
    created = desk.created()
    async with running(desk.keys):
        await desk.project(created)
        desk.store.pause = asyncio.Event()
        asking = asyncio.create_task(desk.opens())
        await until(lambda: desk.store.reads == 1)
        await desk.say(created)
        await desk.say(desk.revoked())
        await desk.heard(id)
        desk.store.pause.set()
        assert await asking == "the key was revoked"
        assert await desk.opens() == "the key was revoked"


async def test_while_the_read_store_is_away_keys_that_were_shown_go_on_and_are_revoked(desk: Desk) -> None:
    created = desk.created()
    await desk.say(created)
    await desk.project(created)
    async with running(desk.keys):
        assert await desk.opens() == ""
        desk.store.there = False
        assert await desk.opens() == ""
        with pytest.raises(StoreUnavailableError):
            await desk.opens(key_text("0" * 12, "s" * 43))
        await desk.say(desk.revoked())
        await desk.heard(key_aggregate_id("demo", ID))
        assert await desk.opens() == "the key was revoked"


async def test_what_was_known_counts_for_ten_seconds_after_the_log_was_at_its_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BOUND == 10
    async with running(desk.keys):
        await desk.say(desk.created())
        await desk.heard(key_aggregate_id("demo", ID))
        desk.log.there = False
        loop = asyncio.get_running_loop()
        known = desk.keys._as_of
        assert known is not None
        monkeypatch.setattr(loop, "time", lambda: known + BOUND)
        assert await desk.opens() == ""
        monkeypatch.setattr(loop, "time", lambda: known + BOUND + 0.001)
        assert not desk.keys.is_current
        monkeypatch.undo()


async def test_a_log_that_gives_records_and_says_no_end_is_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    async with running(desk.keys):
        desk.log.there = False
        asked = desk.log.asked
        await until(lambda: desk.log.asked > asked + 3)
    assert [record.message for record in caplog.records] == ["keys: away; after 10 s none is accepted"]


async def test_a_process_that_knows_nothing_yet_lets_nobody_in(desk: Desk) -> None:
    with pytest.raises(LogUnavailableError):
        await desk.opens()
    with pytest.raises(LogUnavailableError):
        await desk.keys.check_token(
            Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=NOON)
        )


async def test_what_a_decider_said_that_had_lost_its_partition_counts_for_nothing(desk: Desk) -> None:
    id = key_aggregate_id("demo", ID)
    async with running(desk.keys):
        await desk.say(desk.created())
        await desk.heard(id)
        place = TopicPartition(events_topic(Area.KEY), Layout().partition_of(id))
        await desk.log.append(*place, [Record(None, encode(Claim(owner="next")))])
        await desk.say(desk.revoked(), epoch=0)
        desk.versions[id] -= 1
        await desk.say(desk.rotated(), epoch=1)
        await desk.heard(id)
        assert await desk.opens(OTHER) == ""


async def test_other_read_models_are_believed_from_their_floors_on(desk: Desk) -> None:
    """Those of the next generation may lack what the ones before had."""
    _, place, position = await desk.revoke_unseen()  # the generation before has the revocation
    async with running(desk.keys):
        floors = {(place.topic, place.partition): (position.offset, 0)}
        desk.read.known = Generation(1, floors)
        with contextlib.suppress(LogUnavailableError):
            assert await desk.opens() == "the key was revoked"
        await until(lambda: desk.keys.is_current)
        assert await desk.opens() == "the key was revoked"


async def test_where_the_log_has_lost_its_end_a_key_is_what_stands_in_the_log(desk: Desk) -> None:
    """The read store took in what the log does not hold any more; what is written there anew has its versions."""
    created, lost, revoked = desk.created(), desk.rotated(), desk.revoked()
    await desk.say(created)
    await desk.project(created, lost)
    place, position = desk.step_on()
    async with running(desk.keys):
        assert [await desk.opens(TEXT), await desk.opens(OTHER)] == ["", "the key is not valid here"]
        await desk.say(msgspec.structs.replace(revoked, originator_version=2))
        desk.versions[revoked.originator_id] = 2
        await desk.heard(revoked.originator_id)
        assert await desk.opens() == "the key was revoked"
    next_one = desk.process()
    desk.positions = {place: Position(position.offset + 9, "0")}
    async with running(next_one):
        assert await desk.opens(keys=next_one) == "the key was revoked"


async def test_a_key_that_was_made_in_an_end_that_the_log_has_lost_opens_nothing(desk: Desk) -> None:
    """Nobody could revoke it. Once there are read models of the log as it is, they are believed."""
    created = desk.created()
    await desk.project(created)
    place = next(iter(desk.positions))
    desk.positions = {place: Position(0, "5/0")}  # of an epoch whose claim is lost too
    async with running(desk.keys):
        assert await desk.opens() == "the key is not valid here"
        desk.read.known = Generation(1, {})
        with contextlib.suppress(LogUnavailableError):
            await desk.opens()
        await until(lambda: desk.keys.is_current)
        assert await desk.opens() == ""


async def test_of_what_was_heard_in_an_end_that_is_lost_meanwhile_nothing_counts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = desk.created()
    await desk.project(created)
    reader = Shortened(desk.log.reader())
    monkeypatch.setattr(desk.log, "reader", lambda: reader)
    async with running(desk.keys):
        assert await desk.opens() == ""
        reader.places = frozenset(desk.positions)
        await until(lambda: not desk.keys._keys)
        await until(lambda: desk.keys.is_current)
        assert await desk.opens() == "the key is not valid here"


async def test_reading_that_has_ended_goes_on_though_the_log_is_slow_to_say_where_it_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    reader = Broken(desk.log.reader())
    monkeypatch.setattr(desk.log, "reader", lambda: reader)
    async with running(desk.keys):
        desk.log.slow = 0.002
        reader.state = "ends"
        await until(lambda: reader.state == "has ended")
        await until(lambda: reader.state == "reads")
        before = desk.keys._as_of
        await until(lambda: desk.keys._as_of != before)


async def test_what_is_taken_in_after_all_while_a_process_begins_is_not_missed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subject that was parked until its document was made, in the moment at which both are read."""
    revoked = desk.subject(60)
    await desk.say(revoked)
    place = TopicPartition(events_topic(Area.KEY), Layout().partition_of(revoked.originator_id))
    desk.positions = positions = {place: Position(1, "0")}
    waits = {"aggregate": revoked.originator_id, "offset": 0, "reason": "x", "at": NOON}
    parked = Parked(group=GROUP, topic=place.topic, partition=place.partition, **waits)  # type: ignore[arg-type]
    parking = Parking(desk.log)
    await parking.put(parked)
    read = desk.keys._revoked_subjects

    async def between() -> Mapping[tuple[str, str], Any]:
        found = await read()
        await desk.project(revoked)
        desk.positions = positions
        await parking.release(parked)
        return found

    monkeypatch.setattr(desk.keys, "_revoked_subjects", between)
    token = Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=NOON)
    async with running(desk.keys):
        with pytest.raises(BadTokenError, match="revoked"):
            await desk.keys.check_token(token)


async def test_tokens_of_a_subject_up_to_a_moment_are_refused_also_after_a_start(desk: Desk) -> None:
    def token(seconds: float, subject: str = "ann", tenant: str = "demo") -> Principal:
        at = NOON + timedelta(seconds=seconds)
        return Principal(subject=subject, tenant=tenant, grant=Grant(role="viewer"), issued_at=at)

    revoked = desk.subject(60)
    async with running(desk.keys):
        await desk.keys.check_token(token(0))
        await desk.say(revoked)
        await desk.heard(subject_aggregate_id("demo", "ann"))
        with pytest.raises(BadTokenError, match="revoked"):
            await desk.keys.check_token(token(60))
        await desk.keys.check_token(token(61))
        await desk.keys.check_token(token(0, "bob"))
        await desk.keys.check_token(token(0, tenant="acme"))
    await desk.project(revoked)
    next_one = desk.process()
    async with running(next_one):
        with pytest.raises(BadTokenError, match="revoked"):
            await next_one.check_token(token(0))


async def test_a_revocation_of_tokens_that_is_heard_after_a_later_one_was_read_changes_nothing(
    desk: Desk,
) -> None:
    """The read store is ahead of its position, as after a kill of the projector."""
    first, second = desk.subject(60), desk.subject(120)
    await desk.say(first)
    await desk.project(first, second)
    desk.positions = {}
    token = Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=after(90))
    async with running(desk.keys):
        with pytest.raises(BadTokenError, match="revoked"):
            await desk.keys.check_token(token)


async def test_what_the_projector_could_not_take_in_lets_nobody_in(desk: Desk) -> None:
    """The read store has a key as it was before, and its position is behind the revocation."""
    await desk.revoke_unseen()
    for number, document in enumerate((f"{HUB}/keys/{ID}", f"{HUB}/subjects/demo|ann")):
        await desk.store.apply([Insert(HUB, LETTERS, f"letter-{number}", {"document": document})])
    token = Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=NOON)
    async with running(desk.keys):
        assert await desk.opens() == "the key is not valid here"
        with pytest.raises(BadTokenError, match="revoked"):
            await desk.keys.check_token(token)


async def test_what_waits_for_the_projector_lets_nobody_in(desk: Desk) -> None:
    """An aggregate that was parked, whose facts the positions have passed."""
    revoked, place, position = await desk.revoke_unseen()
    for aggregate in (revoked.originator_id, subject_aggregate_id("demo", "ann")):
        waits = {"aggregate": aggregate, "offset": position.offset, "reason": "x", "at": NOON}
        await Parking(desk.log).put(
            Parked(group=GROUP, topic=place.topic, partition=place.partition, **waits)  # type: ignore[arg-type]
        )
    token = Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=NOON)
    async with running(desk.keys):
        assert await desk.opens() == "the key is not valid here"
        with pytest.raises(BadTokenError, match="revoked"):
            await desk.keys.check_token(token)


async def test_at_a_record_that_cannot_be_read_no_key_is_accepted_and_one_line_says_so(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    begun = 0
    begin = desk.keys._begin

    async def counted(reader: Any) -> Any:
        nonlocal begun
        begun += 1
        return await begin(reader)

    monkeypatch.setattr(desk.keys, "_begin", counted)
    await desk.log.append(events_topic(Area.KEY), 0, [Record(b"k", b"{")])
    task = asyncio.create_task(desk.keys.run())
    await until(lambda: begun > 2)
    with pytest.raises(LogUnavailableError):
        await desk.opens()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [record.message.partition(":")[0] for record in caplog.records] == ["no key is accepted"]


async def test_a_process_that_can_hear_no_more_goes_on_with_tokens_and_lets_no_key_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it missing behind a balancer, for all else that it serves."""
    monkeypatch.setattr(module, "AGAIN", 0.0)
    token = Principal(subject="ann", tenant="demo", grant=Grant(role="viewer"), issued_at=after(90))
    assert not desk.keys.has_begun
    async with running(desk.keys):
        await desk.say(desk.created())
        await desk.heard(key_aggregate_id("demo", ID))
        await desk.log.append(events_topic(Area.KEY), 0, [Record(b"k", b"{")])
        await until(lambda: not desk.keys.is_current)
        with pytest.raises(LogUnavailableError):
            await desk.opens()
        await desk.keys.check_token(token)
        assert desk.keys.has_begun


def test_a_revoked_token_is_remembered_for_as_long_as_it_could_live() -> None:
    assert timedelta(seconds=LONGEST + LEEWAY) < TOKENS_LIVE


async def test_the_minute_of_its_last_use_is_noted_and_never_an_earlier_one(desk: Desk) -> None:
    async with running(desk.keys):
        await desk.say(desk.created())
        await desk.heard(key_aggregate_id("demo", ID))
        for seconds in (130, 10):
            desk.now = NOON + timedelta(seconds=seconds)
            assert await desk.opens() == ""
            await desk.keys.flush_uses()
        assert await desk.opens(OTHER)  # who only tries uses nothing
    used = await desk.store.get(USES_DATABASE, USES, ID)
    assert used is not None
    assert used["at"] == "2026-03-01T12:02:00.000Z"


@pytest.mark.kafka
async def test_on_kafka_a_process_hears_of_a_key_within_its_bound(kafka: Kafka, desk: Desk) -> None:
    """With a projector that has never committed anything."""
    log = KafkaLog(kafka.url)
    await log.start()
    try:
        await log.ensure([spec for spec in topics(Layout()) if spec.name in (events_topic(Area.KEY), DEAD)])
        keys = LogKeys(log, desk.store, desk.read, registry.EVENTS, "nobody", Digests(), lambda: desk.now)
        async with running(keys):
            for event, expected in ((desk.created(), ""), (desk.revoked(), "the key was revoked")):
                await desk.say(event, log)
                await desk.heard(event.originator_id, keys)
                assert await desk.opens(keys=keys) == expected
        next_one = LogKeys(log, desk.store, desk.read, registry.EVENTS, "nobody", Digests(), lambda: desk.now)
        async with running(next_one):
            assert await desk.opens(keys=next_one) == "the key was revoked"
    finally:
        await log.close()
