"""The audit of frames: sealed before the append, dropped rather than waited for, one document a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from application.frame_audit import LONGEST_TEXT, FrameRecorder
from application.vault import DestroyedError, KeyStore, Vault
from domain.charge_point import charge_point_key
from gateway.ocpp.ports import Frame
from projections.frame import FrameRecord, frames_of
from projections.store import (
    Applied,
    PositionKey,
    Put,
    Query,
    ReadStore,
    StoreRejectedError,
    StoreUnavailableError,
    Write,
)
from projections.store.generations import Generation, GenerationStore
from projections.store.sqlite import SqliteReadStore
from streams.log import Log, LogUnavailableError, Position, Record, TopicPartition
from streams.log.envelope import record as log_record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import FRAMES, topics
from streams.projecting.blocks import WRITE_SECONDS
from streams.projecting.frames import FrameProjector
from tests.streams.harness import InHaste

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Keys(KeyStore):
    """Data keys in memory; `away` as when the store is."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.away = False

    async def get(self, subject: str) -> str | None:
        if self.away:
            raise StoreUnavailableError("memory", "away")
        return self.kept.get(subject)

    async def create(self, subject: str, wrapped: str) -> str:
        return self.kept.setdefault(subject, wrapped)

    async def destroy(self, subject: str) -> None:
        raise DestroyedError(subject)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def vault(keys: Keys) -> Vault:
    return Vault(b"m" * 32, keys)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    yield log
    await log.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteReadStore]:
    store = SqliteReadStore(tmp_path / "store")
    yield store
    await store.close()


def frame(
    action: str = "Heartbeat",
    request: object = None,
    response: object = None,
    *,
    number: int = 1,
    **more: str,
) -> Frame:
    def payload(value: object) -> bytes:
        return value if isinstance(value, bytes) else msgspec.json.encode({} if value is None else value)

    return Frame(
        tenant=more.get("tenant", "demo"),
        charge_point_id=more.get("cp", "CP.1"),
        epoch=2,
        direction=more.get("direction", "in"),
        message_id=f"m-{number}",
        action=action,
        request=payload(request),
        response=payload(response),
        outcome="ok",
        at=NOON + timedelta(seconds=number),
        seconds=0.0123,
        command_id="",
    )


async def eventually(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if fact():
                return
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def recorded(log: Log, cp: str = "CP.1") -> list[FrameRecord]:
    place = TopicPartition(FRAMES, Layout().partition_of(f"charge_point|demo|{cp}"))
    reader = log.reader()
    await reader.assign({place: 0})
    batch = (await reader.poll(1.0)).get(place, ())
    await reader.close()
    return [msgspec.json.decode(stored.value or b"", type=FrameRecord) for stored in batch]


async def record_one(log: Log, vault: Vault, one: Frame) -> tuple[dict[str, object], dict[str, object]]:
    """The request and the response as they stand in the log."""
    recorder = FrameRecorder(log, vault)
    async with running(recorder.run()):
        recorder.record(one)
        await eventually(lambda: recorder.counts["recorded"] == 1)
    [found] = await recorded(log, one.charge_point_id)
    return msgspec.json.decode(found.request), msgspec.json.decode(found.response)


async def opened(vault: Vault, sealed: object) -> bytes | None:
    assert isinstance(sealed, str)
    assert sealed.startswith("s1.")
    return await vault.open(sealed)


async def test_an_id_tag_is_sealed_under_its_own_key_and_its_parent_too(log: Log, vault: Vault) -> None:
    asked = {"connectorId": 1, "idTag": "TAG1", "meterStart": 5}
    answered = {"transactionId": 7, "idTagInfo": {"status": "Accepted", "parentIdTag": "GROUP"}}
    request, response = await record_one(log, vault, frame("StartTransaction", asked, answered))
    assert (request["connectorId"], request["meterStart"]) == (1, 5)
    assert await opened(vault, request["idTag"]) == b"TAG1"
    assert str(request["idTag"]).split(".")[1] == vault.subjects_of("tenant:demo", "TAG1")[0]
    info = response["idTagInfo"]
    assert isinstance(info, dict)
    assert info["status"] == "Accepted"
    assert await opened(vault, info["parentIdTag"]) == b"GROUP"


async def test_an_erased_tag_is_read_in_no_frame_of_its_tenant_any_more_and_in_those_of_others(
    log: Log, keys: Keys, vault: Vault
) -> None:
    asked = {"idTag": "TAG1"}
    mine, _ = await record_one(log, vault, frame("Authorize", asked, cp="CP.7"))
    subject = vault.subjects_of("tenant:acme", "TAG1")[0]
    theirs = await vault.seal(subject, "TAG1")
    for gone in vault.subjects_of("tenant:demo", "TAG1"):
        keys.kept.pop(gone, None)
    fresh = Vault(b"m" * 32, keys)
    assert await opened(fresh, mine["idTag"]) is None
    assert await opened(fresh, theirs) == b"TAG1"


async def test_the_tags_of_a_local_list_are_sealed(log: Log, vault: Vault) -> None:
    asked = {"listVersion": 1, "localAuthorizationList": [{"idTag": "A"}, {"idTag": "B"}]}
    request, _ = await record_one(log, vault, frame("SendLocalList", asked))
    entries = request["localAuthorizationList"]
    assert isinstance(entries, list)
    assert [await opened(vault, entry["idTag"]) for entry in entries] == [b"A", b"B"]


async def test_an_authorization_key_is_sealed_where_it_is_set_and_where_it_is_read(
    log: Log, vault: Vault
) -> None:
    asked = {"key": "authorizationkey", "value": "hunter2"}
    entries = [{"key": "AuthorizationKey", "value": "hunter3"}, {"key": "HeartbeatInterval", "value": "60"}]
    request, response = await record_one(log, vault, frame("X", asked, {"configurationKey": entries}))
    assert await opened(vault, request["value"]) == b"hunter2"
    found = response["configurationKey"]
    assert isinstance(found, list)
    assert await opened(vault, found[0]["value"]) == b"hunter3"
    assert found[1]["value"] == "60"


async def test_the_data_of_a_data_transfer_is_sealed_both_ways(log: Log, vault: Vault) -> None:
    one = frame("DataTransfer", {"vendorId": "V", "data": "x"}, {"status": "Accepted", "data": {"a": 1}})
    request, response = await record_one(log, vault, one)
    assert (request["vendorId"], response["status"]) == ("V", "Accepted")
    assert await opened(vault, request["data"]) == b"x"
    assert await opened(vault, response["data"]) == b'{"a":1}'


async def test_an_address_with_a_login_is_sealed_and_one_without_is_not(log: Log, vault: Vault) -> None:
    one = frame("UpdateFirmware", {"location": "ftp://u:p@h/f"}, {"location": "https://h/f"})
    request, response = await record_one(log, vault, one)
    assert await opened(vault, request["location"]) == b"ftp://u:p@h/f"
    assert response["location"] == "https://h/f"


async def test_what_is_no_json_is_sealed_as_a_whole(log: Log, vault: Vault) -> None:
    recorder = FrameRecorder(log, vault)
    async with running(recorder.run()):
        recorder.record(frame("?", b'{"idTag": "TAG1"', b""))
        await eventually(lambda: recorder.counts["recorded"] == 1)
    [found] = await recorded(log)
    assert await opened(vault, msgspec.json.decode(found.request)) == b'{"idTag": "TAG1"'
    assert found.response == ""


async def test_what_cannot_be_sealed_is_left_out(log: Log, vault: Vault, keys: Keys) -> None:
    keys.away = True
    request, _ = await record_one(log, vault, frame("Authorize", {"idTag": "TAG1"}))
    assert request == {"idTag": None}


async def test_frames_go_together_and_in_order(vault: Vault, tmp_path: Path) -> None:
    log = Counting(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    recorder = FrameRecorder(log, vault)
    for number in range(150):
        recorder.record(frame(number=number))
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 150)
    assert [one.message_id for one in await recorded(log)] == [f"m-{number}" for number in range(150)]
    assert log.appends == 1
    await log.close()


class Counting(InHaste, SqliteLog):
    """Counts appends; `away` refuses them."""

    appends = 0
    away = False

    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
        if self.away:
            raise LogUnavailableError("the log is away")
        self.appends += 1
        return await super().append(topic, partition, records)


async def test_too_many_frames_are_dropped_with_one_line(
    log: Log, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FrameRecorder(log, vault, most_waiting=3)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            recorder.record(frame(number=number))
    assert recorder.counts["dropped"] == 7
    assert [record.message for record in caplog.records] == ["frames are not recorded: 3 wait already"]


async def test_frames_are_dropped_while_the_log_is_away_and_recorded_afterwards(
    vault: Vault, tmp_path: Path
) -> None:
    log = Counting(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    log.away = True
    recorder = FrameRecorder(log, vault)
    async with running(recorder.run()):
        recorder.record(frame(number=1))
        await eventually(lambda: recorder.counts["dropped"] == 1)
        log.away = False
        recorder.record(frame(number=2))
        await eventually(lambda: recorder.counts["recorded"] == 1)
    await log.close()


class Raising(Vault):
    """Raises what nobody foresaw while sealing the tag BAD."""

    async def seal(self, subject: str, plain: bytes | str) -> str:
        if plain == "BAD":
            raise RuntimeError("unforeseen")
        return await super().seal(subject, plain)


async def test_a_frame_on_which_the_recorder_raises_costs_itself_only(
    log: Log, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = FrameRecorder(log, Raising(b"m" * 32, keys))
    for number in range(5):
        tag = "BAD" if number in (2, 3) else "TAG"
        recorder.record(frame("Authorize", {"idTag": tag}, number=number))
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 3)
    assert [one.message_id for one in await recorded(log)] == ["m-0", "m-1", "m-4"]
    assert recorder.counts["failed"] == 2
    assert len(caplog.records) == 1


async def test_a_log_that_raises_what_nobody_foresaw_drops_its_frames_and_the_next_ones_are_recorded(
    vault: Vault, tmp_path: Path
) -> None:
    class Odd(InHaste, SqliteLog):
        odd = True

        async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
            if self.odd:
                raise RuntimeError("unforeseen")
            return await super().append(topic, partition, records)

    log = Odd(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    recorder = FrameRecorder(log, vault)
    async with running(recorder.run()):
        recorder.record(frame(number=1))
        await eventually(lambda: recorder.counts["dropped"] == 1)
        log.odd = False
        recorder.record(frame(number=2))
        await eventually(lambda: recorder.counts["recorded"] == 1)
    await log.close()


async def test_a_frame_that_is_too_long_is_cut_with_a_flag_and_its_neighbours_are_whole(
    log: Log, vault: Vault
) -> None:
    """Whatever its payload, its ids or its action are: MESSAGE sizes of OCPP-J have no bound of their own."""
    recorder = FrameRecorder(log, vault)
    recorder.record(frame(number=1))
    recorder.record(frame("Firmware", {"x": "\\" * 1_000_000}, {"y": "é" * 400_000}, number=2))
    recorder.record(frame("A" * 1_100_000, number=3))
    recorder.record(frame(number=4))
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 4)
    one, two, three, four = await recorded(log)
    assert [one.cut, two.cut, three.cut, four.cut] == [False, True, False, False]
    assert len(two.request.encode()) == LONGEST_TEXT
    assert 0 <= LONGEST_TEXT - len(two.response.encode()) <= 1
    assert two.request.startswith('{"x":"\\\\')
    assert (one.request, four.request) == ("{}", "{}")
    assert three.action == "A" * 200


async def test_a_long_text_is_cut_after_its_tags_were_sealed(log: Log, vault: Vault) -> None:
    entries = [{"idTag": f"TAG-{number}"} for number in range(2000)]
    recorder = FrameRecorder(log, vault)
    recorder.record(frame("SendLocalList", {"localAuthorizationList": entries}))
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 1)
    [found] = await recorded(log)
    assert found.cut
    assert "TAG-" not in found.request


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' + b"9" * 40 + b"}",
        b'{"a":1e400}',
        b'{"a\\u0000b":1}',
        b'{"$set":{"":1,"a.b":2}}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"[" * 900 + b"]" * 900,
        b"[" * 100_000,
        b'{"a":1,"a":2}',
        b'{"idTag":"T","a":' + b"9" * 5_000 + b"}",
    ],
    ids=["int", "float", "nul", "names", "surrogate", "no utf-8", "deep", "deepest", "twice", "long int"],
)
async def test_no_payload_stops_the_audit_of_others(
    log: SqliteLog, vault: Vault, store: SqliteReadStore, payload: bytes
) -> None:
    recorder, projector = FrameRecorder(log, vault), FrameProjector(log, store, "one")
    async with running(recorder.run()), running(projector.run()):
        for number, tenant in ((1, "demo"), (2, "acme")):
            recorder.record(frame(number=number, tenant=tenant))
        recorder.record(frame("X", payload, payload, number=3))
        await eventually(lambda: projector.counts["projected"] == 3)
    assert len(await documents(store, "demo")) == 2
    assert len(await documents(store, "acme")) == 1
    assert all(isinstance(item["request"], str) for item in await documents(store, "demo"))


async def test_a_charge_point_beyond_its_bytes_costs_no_other_one_and_is_one_line_a_minute(
    log: Log, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    recorder = FrameRecorder(log, vault, charge_point_bytes=(100, 5_000), clock=lambda: now)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            recorder.record(frame("X", {"x": "x" * 600}, number=number, cp="LOUD"))
        recorder.record(frame(cp="CP.1"))
    assert recorder.counts["refused"] == 95
    assert [record.message for record in caplog.records] == [
        "1 frames are not recorded, the last one of charge point demo/LOUD: it sends more than 100 bytes a second"
    ]
    now = 60.0
    for number in range(10):
        recorder.record(frame("X", {"x": "x" * 600}, number=number, cp="LOUD"))
    assert recorder.counts["refused"] == 100
    assert caplog.records[-1].message.startswith("95 frames are not recorded")
    assert len(caplog.records) == 2
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 11)
    assert len(await recorded(log)) == 1


async def test_a_tenant_beyond_its_bytes_costs_no_other_tenant(log: Log, vault: Vault) -> None:
    recorder = FrameRecorder(log, vault, tenant_bytes=(100, 3_000), clock=lambda: 0.0)
    for number in range(20):
        recorder.record(frame(number=number, cp=f"CP.{number}"))
    recorder.record(frame(tenant="acme"))
    assert recorder.counts["refused"] == 11
    async with running(recorder.run()):
        await eventually(lambda: recorder.counts["recorded"] == 10)


async def test_frames_that_wait_have_a_bound_in_bytes(log: Log, vault: Vault) -> None:
    recorder = FrameRecorder(log, vault, most_waiting_bytes=10_000)
    for number in range(20):
        recorder.record(frame("X", {"x": "x" * 700}, number=number))
    assert recorder.counts["dropped"] == 11


async def test_an_end_in_the_middle_of_an_append_loses_and_doubles_nothing(
    vault: Vault, tmp_path: Path
) -> None:
    class Slow(InHaste, SqliteLog):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.begun, self.go_on = asyncio.Event(), asyncio.Event()

        async def append(self, topic: str, partition: int, records: Sequence[Record]) -> Sequence[int]:
            self.begun.set()
            await self.go_on.wait()
            return await super().append(topic, partition, records)

    log = Slow(tmp_path / "log.db")
    await log.start()
    await log.ensure(topics(Layout()))
    recorder = FrameRecorder(log, vault)
    task = asyncio.create_task(recorder.run())
    recorder.record(frame(number=1))
    await log.begun.wait()
    recorder.record(frame(number=2))
    task.cancel()
    await asyncio.sleep(0)
    log.go_on.set()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [one.message_id for one in await recorded(log)] == ["m-1", "m-2"]
    await log.close()


async def test_a_clean_shutdown_appends_what_waits(log: Log, vault: Vault) -> None:
    recorder = FrameRecorder(log, vault)
    task = asyncio.create_task(recorder.run())
    for number in range(3):
        recorder.record(frame(number=number))
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [one.message_id for one in await recorded(log)] == ["m-0", "m-1", "m-2"]


async def documents(store: ReadStore, tenant: str) -> list[dict[str, object]]:
    """Every frame that stands in the tenant's blocks, as it is listed."""
    page = await store.find(Query(f"ocpp_{tenant}", "frames", limit=500))
    blocks = [f"[{item['entries']}]".encode() for item in page.items]
    return [dict(frame.document()) for block in blocks for frame in frames_of(block)]


async def test_frames_become_documents_of_their_tenant(
    log: SqliteLog, vault: Vault, store: SqliteReadStore
) -> None:
    recorder, projector = FrameRecorder(log, vault), FrameProjector(log, store, "one")
    async with running(recorder.run()), running(projector.run()):
        recorder.record(frame("Heartbeat", {}, {"currentTime": "2026-03-01T12:00:01.000Z"}))
        recorder.record(frame("Reset", tenant="acme", direction="out"))
        await eventually(lambda: projector.counts["projected"] == 2)
    [one] = await documents(store, "demo")
    assert one.pop("id")
    assert one == {
        "charge_point_id": "CP.1",
        "epoch": 2,
        "direction": "in",
        "message_id": "m-1",
        "action": "Heartbeat",
        "request": "{}",
        "response": '{"currentTime":"2026-03-01T12:00:01.000Z"}',
        "cut": False,
        "outcome": "ok",
        "at": "2026-03-01T12:00:01.000Z",
        "milliseconds": 12.3,
        "command_id": None,
    }
    assert [item["action"] for item in await documents(store, "acme")] == ["Reset"]


class Noting(SqliteReadStore):
    """Notes the moments of writes and how many they were."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bulks: list[tuple[float, int]] = []

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        self.bulks.append((asyncio.get_running_loop().time(), len(writes)))
        return await super().apply(writes, positions)


async def append_one(log: Log, number: int) -> None:
    one = FrameRecord(
        tenant="demo",
        charge_point_id=f"CP.{number}",
        epoch=1,
        direction="in",
        message_id=f"m-{number}",
        action="Heartbeat",
        request="{}",
        response="{}",
        outcome="ok",
        at=NOON,
        seconds=0.01,
    )
    key = charge_point_key(one.tenant, one.charge_point_id)
    await log.append(FRAMES, Layout().partition_of(key), [log_record(key, one, one.tenant)])


async def test_frames_of_all_partitions_that_come_within_a_moment_are_written_together(
    log: SqliteLog, tmp_path: Path
) -> None:
    store = Noting(tmp_path / "noting")
    projector = FrameProjector(log, store, "one")
    began = asyncio.get_running_loop().time()
    async with running(projector.run()):
        for number in range(40):
            await append_one(log, number)
        await eventually(lambda: projector.counts["projected"] == 40)

    seconds = store.bulks[-1][0] - began
    assert len(await documents(store, "demo")) == 40
    assert sum(size for _, size in store.bulks) <= 40
    assert len(store.bulks) <= seconds / WRITE_SECONDS + 1
    await store.close()


async def test_a_frame_of_a_newer_release_halts_its_partition_and_waits_for_who_knows_it(
    log: SqliteLog, store: SqliteReadStore, caplog: pytest.LogCaptureFixture
) -> None:
    await append_one(log, 1)
    place = TopicPartition(FRAMES, Layout().partition_of(charge_point_key("demo", "CP.1")))
    await log.append(*place, [Record(b"x", b'{"v":2,"what":["nobody","knows"]}')])
    await append_one(log, 1)
    elsewhere = next(
        n
        for n in range(2, 99)
        if Layout().partition_of(charge_point_key("demo", f"CP.{n}")) != place.partition
    )
    projector = FrameProjector(log, store, "one")
    async with running(projector.run()):
        await eventually(lambda: projector.counts["projected"] == 1)
        await append_one(log, elsewhere)
        await eventually(lambda: projector.counts["projected"] == 2)
        async with asyncio.timeout(20):
            while place not in (found := await log.committed("frames", [place])):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert found[place].offset == 1
    assert projector.counts["refused"] == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        f"frames halt at {FRAMES}[{place.partition}]: {FRAMES}[{place.partition}]@1 is of version 2: "
        "written by a newer release, upgrade this process"
    ]


async def test_frames_are_projected_into_other_read_models_from_their_floor_on(
    log: SqliteLog, store: SqliteReadStore
) -> None:
    for _ in range(3):
        await append_one(log, 1)
    place = TopicPartition(FRAMES, Layout().partition_of(charge_point_key("demo", "CP.1")))
    first = FrameProjector(log, store, "one")

    async def is_at(offset: int, note: str) -> None:
        async with asyncio.timeout(20):
            while (await log.committed("frames", [place])).get(place) != Position(offset, note):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with running(first.run()):
        await is_at(3, "")
    other = GenerationStore(store).fixed(Generation(2, {(place.topic, place.partition): (1, -1)}))
    for _ in range(2):
        second = FrameProjector(log, store, "one")
        second.use(other.generation, other)
        async with running(second.run()):
            await is_at(3, "-1/2")

    assert sorted(str(item["id"]) for item in await documents(other, "demo")) == [
        f"{place.partition}-1",
        f"{place.partition}-2",
    ]


async def test_what_could_not_be_committed_before_an_end_holds_up_nobody_after_it(
    log: SqliteLog, store: SqliteReadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition has gone to another node meanwhile: its position is that node's to commit."""

    def place(number: int) -> TopicPartition:
        return TopicPartition(FRAMES, Layout().partition_of(charge_point_key("demo", f"CP.{number}")))

    def in_first_half(number: int) -> bool:
        return place(number).partition < Layout().partitions // 2

    ours = next(number for number in range(2, 100) if in_first_half(number) is not in_first_half(1))
    nodes = ("b", "a") if in_first_half(1) else ("a", "b")
    one, other = (FrameProjector(log, store, node) for node in nodes)

    async def away(group: str, positions: Mapping[TopicPartition, Position]) -> None:
        raise LogUnavailableError("no commit")

    await append_one(log, 1)
    with monkeypatch.context() as patch:
        patch.setattr(log, "commit", away)
        async with running(one.run()):
            await eventually(lambda: one.counts["projected"] == 1)
    async with running(other.run()), running(one.run()):
        await append_one(log, ours)
        every = {place(1), place(ours)}
        async with asyncio.timeout(20):
            while (await log.committed("frames", [*every])).keys() != every:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_frame_projected_twice_is_one_document(
    log: SqliteLog, vault: Vault, store: SqliteReadStore
) -> None:
    recorder, first = FrameRecorder(log, vault), FrameProjector(log, store, "one")
    async with running(recorder.run()), running(first.run()):
        recorder.record(frame())
        await eventually(lambda: first.counts["projected"] == 1)
    places = [TopicPartition(FRAMES, partition) for partition in range(Layout().partitions)]
    assert sum((await log.ends(places)).values()) == 1
    second = FrameProjector(log, store, "two")
    async with running(second.run()):
        recorder_again = FrameRecorder(log, vault)
        async with running(recorder_again.run()):
            recorder_again.record(frame(number=2))
            # The first frame may come again: the first projector may have been ended before it committed.
            async with asyncio.timeout(20):
                while len(await documents(store, "demo")) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
    assert len(await documents(store, "demo")) == 2


async def test_frames_go_away_after_thirty_days(log: SqliteLog, vault: Vault, store: SqliteReadStore) -> None:
    recorder, projector = FrameRecorder(log, vault), FrameProjector(log, store, "one")
    async with running(recorder.run()), running(projector.run()):
        recorder.record(frame())
        await eventually(lambda: projector.counts["projected"] == 1)
    assert await store.purge(NOON + timedelta(days=29)) == 0
    assert await store.purge(NOON + timedelta(days=30, minutes=1, seconds=2)) == 1


class Refusing(SqliteReadStore):
    """Refuses every batch with a block that holds the message m-7, as a server refuses a document, for ever."""

    async def apply(
        self, writes: Sequence[Write], positions: Mapping[PositionKey, int] | None = None
    ) -> Applied:
        if any(isinstance(write, Put) and '"m-7"' in str(write.document["entries"]) for write in writes):
            raise StoreRejectedError("this document cannot be")
        return await super().apply(writes, positions)


async def test_a_refused_block_costs_no_frame_of_another_one(
    log: SqliteLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Refusing(tmp_path / "refusing")
    places = [Layout().partition_of(charge_point_key("demo", f"CP.{number}")) for number in range(20)]
    beside = places.count(places[7])
    for number in range(20):
        await append_one(log, number)
    projector = FrameProjector(log, store, "one")
    async with running(projector.run()):
        await eventually(lambda: projector.counts["projected"] == 20 - beside)
    assert projector.counts["refused"] == beside
    assert len(await documents(store, "demo")) == 20 - beside
    [said] = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
    assert said.endswith(" of ocpp_demo left out: this document cannot be")
    await store.close()


async def test_a_damaged_record_costs_no_other_frame(log: SqliteLog, store: SqliteReadStore) -> None:
    for value in (b"no json", b'{"v":1}', b"\xff" * 10, b"[" * 100_000):
        await log.append(FRAMES, 0, [Record(b"k", value)])
    await append_one(log, 1)
    projector = FrameProjector(log, store, "one")
    async with running(projector.run()):
        await eventually(lambda: projector.counts["projected"] == 1)
    assert projector.counts["refused"] == 4
