"""`GET /events` over a real HTTP server: server-sent events as a client reads them, from the embedded log."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import httpx
import jsonschema
import msgspec
import pytest

from api.auth import issue_token
from api.services import Services
from api.v1 import events
from api.v1.caller import Caller
from api.v1.events import EXAMPLE
from application.key_text import key_text
from application.live.events import Told, Wanted
from application.live.fanout import Fanout
from application.live.subscription import Bounds
from application.principal import BadTokenError, Principal
from chargesphere.http import HttpServer, Limits
from domain.access import Grant
from projections.public import SHORT_NAMES, cloud_event, structured
from projections.store import StoreUnavailableError
from projections.store.sqlite import SqliteReadStore
from streams.log import LogUnavailableError, Record, Stored
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import PUBLIC, topics
from tests.api.v1.world import KEY, NOW, World, problem
from tests.application.live.public_log import PublicLog, fanout_of, headers
from tests.docs.test_events import examples
from tests.projections.facts import meta
from tests.simulation.loop import SimLoop
from tests.streams.harness import until


class Frame(msgspec.Struct):
    id: str = ""
    event: str = ""
    data: str = ""
    retry: str = ""
    comment: str = ""

    @property
    def ce_id(self) -> str:
        return str(msgspec.json.decode(self.data)["id"])


class Client:
    """Reads one stream as WHATWG HTML, 9.2.6, says; `last` is the last event id."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last = ""
        self._lines = response.aiter_lines()

    async def frame(self) -> Frame | None:
        """The next one; None at the end of the stream."""
        frame = Frame()
        async with asyncio.timeout(20):
            async for line in self._lines:
                if not line:
                    self.last = frame.id or self.last
                    return frame
                name, _, value = line.partition(": ")
                setattr(frame, name or "comment", value)
        return None

    async def event(self) -> Frame:
        """The next frame that is an event."""
        while True:
            frame = await self.frame()
            assert frame is not None, "the stream has ended"
            if frame.data:
                return frame


class Timed:
    """One stream of somebody who takes at once, without a server, in simulated time; `frames` and `looks` say when,
    in seconds since the beginning. `refusal` is what whoever asks for its credential hears."""

    def __init__(self, expires_at: datetime | None = None, key_expires_at: datetime | None = None) -> None:
        self.log = PublicLog()
        self.refusal: Exception | None = None
        self.frames: list[tuple[float, bytes]] = []
        self.looks: list[float] = []
        grant = Grant(role="viewer", expires_at=key_expires_at)
        self._principal = Principal(subject="ann", tenant="demo", grant=grant, expires_at=expires_at)
        self._loop: SimLoop = SimLoop(Random(1))  # type: ignore[abstract]
        self._begun = self._loop.time()

    @property
    def ends(self) -> list[tuple[float, str]]:
        """When it ended, and why."""
        return [
            (at, msgspec.json.decode(frame.partition(b"data: ")[2])["reason"])
            for at, frame in self.frames
            if frame.startswith(b"event: closed")
        ]

    @property
    def heartbeats(self) -> list[float]:
        return [at for at, frame in self.frames if frame.startswith(b": here")]

    @property
    def heard(self) -> int:
        """How many events."""
        return sum(frame.count(b"event: session_started") for _, frame in self.frames)

    def listen(self, *, seconds: float, every: float = 0.0, refused_at: float = 0.0) -> None:
        """For so long, or to its end, while something happens `every` so many seconds."""
        self._loop.run_until_complete(self._listen(seconds, every, refused_at, self.refusal))

    async def _listen(
        self, seconds: float, every: float, refused_at: float, refusal: Exception | None
    ) -> None:
        self.refusal = None
        fanout = fanout_of(self.log)
        services = SimpleNamespace(clock=lambda: NOW + timedelta(seconds=self._now))
        caller = Caller(
            cast(Services, services), self._principal, "demo", None, "", cast(Any, None), self._stands
        )
        subscription = await fanout.subscribe(Wanted("demo"))

        async def happen() -> None:
            while every:
                await asyncio.sleep(every)
                self.log.tell()

        async def refuse() -> None:
            await asyncio.sleep(refused_at)
            self.refusal = refusal

        tasks = [asyncio.create_task(happen()), asyncio.create_task(refuse())]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for frame in events._frames(subscription, caller):
                    self.frames.append((self._now, frame))
        for task in tasks:
            task.cancel()
        await fanout.close()

    @property
    def _now(self) -> float:
        return round(self._loop.time() - self._begun, 3)

    async def _stands(self) -> Principal:
        self.looks.append(self._now)
        if self.refusal is not None:
            raise self.refusal
        return self._principal


class Door:
    """The API of the tenants demo and acme behind a real server, over public topics that a test writes."""

    def __init__(self, world: World, log: SqliteLog, live: Fanout, limits: Limits | None) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        # So that what nobody reads waits in this process, and not in the kernel.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        self.port = listening.getsockname()[1]
        self.world = world
        self.log = log
        self.live = live
        self.server = HttpServer(world.app, listening, limits)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=20)
        self._numbers = 0

    async def tell(
        self, tenant: str = "demo", charge_point_id: str = "CP1", partition: int = 0, size: int = 0
    ) -> str:
        self._numbers += 1
        id = f"{tenant}|{self._numbers}"
        value = msgspec.json.encode({"charge_point_id": charge_point_id, "filler": "x" * size})
        record = Record(id.encode(), value, headers(id, "chargesphere.session.started.v1", tenant))
        await self.log.append(PUBLIC["sessions"], partition, [record])
        return id

    @contextlib.asynccontextmanager
    async def stream(
        self, query: str = "", *, last: str = "", role: str = "viewer", tenant: str = "demo", key: str = ""
    ) -> AsyncIterator[Client]:
        who = None if role == "platform_admin" else tenant
        sent = {"authorization": f"Bearer {key or issue_token(KEY, role, who, self.world.now)}"}
        if last:
            sent["last-event-id"] = last
        async with self.http.stream("GET", f"/events{query}", headers=sent) as response:
            if response.status_code != 200:
                await response.aread()
            yield Client(response)

    async def does_not_read(self) -> socket.socket:
        """A client whose stream has begun, and that has taken nothing of it."""
        bearer = issue_token(KEY, "viewer", "demo", self.world.now)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", self.port))
        slow.setblocking(False)
        head = f"GET /api/v1/events HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {bearer}\r\n\r\n"
        slow.send(head.encode())
        await until(lambda: self.live.counts["subscribers"] == 1)
        return slow

    async def refused(self, query: str = "", **how: Any) -> httpx.Response:
        async with self.stream(query, **how) as client:
            problem(client.response)
            return client.response


@contextlib.asynccontextmanager
async def opened(
    folder: Path, bounds: Bounds | None = None, limits: Limits | None = None
) -> AsyncIterator[Door]:
    log, store = SqliteLog(folder / "log.db"), SqliteReadStore(folder / "read")
    await log.start()
    await log.ensure(topics(Layout()))
    live = Fanout(log, bounds)
    world = World(store, live=live)
    await world.add_tenant("demo")
    await world.add_tenant("acme")
    await world.add_charge_point("CP1")
    await world.add_charge_point("CP2", location_id="L2")
    door = Door(world, log, live, limits)
    await door.server.start()
    try:
        yield door
    finally:
        await live.close()
        await door.http.aclose()
        await door.server.stop()
        await world.http.aclose()
        await log.close()
        await store.close()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path) as door:
        yield door


async def test_what_happens_comes_as_the_public_contract_has_it_and_as_no_proxy_keeps_it(door: Door) -> None:
    async with door.stream() as client:
        first = await client.frame()
        told = [await door.tell("acme"), await door.tell()]
        event = await client.event()

    assert first is not None
    assert (first.retry, first.data) == ("3000", "")
    assert client.response.headers["content-type"].startswith("text/event-stream")
    assert client.response.headers["cache-control"] == "no-store"
    assert client.response.headers["x-accel-buffering"] == "no"
    assert "x-request-id" in client.response.headers
    assert event.event == "session_started"
    assert msgspec.json.decode(event.data) == {
        "specversion": "1.0",
        "id": told[1],
        "type": "chargesphere.session.started.v1",
        "source": "/chargesphere/session",
        "subject": told[1],
        "time": "2026-03-01T12:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {"charge_point_id": "CP1", "filler": ""},
        "tenantid": "demo",
    }


async def test_every_public_event_is_told_as_it_is_described(door: Door) -> None:
    shown = [event for event, _ in examples().values()]
    async with door.stream(role="operator") as client:
        await client.frame()
        for number, event in enumerate(shown):
            public = cloud_event(event, meta())
            assert public is not None
            await door.log.append(
                PUBLIC[public.topic], number, [Record(public.key.encode(), public.data, public.headers)]
            )
        heard = [await client.event() for _ in shown]

    schema = events._ANSWER[200]["content"]["text/event-stream"]["schema"]
    described = {one["title"]: one for one in schema["oneOf"]}
    for frame in heard:
        jsonschema.validate(msgspec.json.decode(frame.data), described.pop(frame.event))
    assert set(described) == {"lagged", "gap", "closed"}
    assert jsonschema.Draft202012Validator(schema).is_valid(EXAMPLE)


async def test_a_client_that_is_cut_again_and_again_hears_everything_from_its_last_event_on(
    door: Door,
) -> None:
    heard: list[str] = []
    last = ""
    async with door.stream() as client:
        await client.frame()
        last = client.last
    told: list[str] = []
    for cut in range(6):
        for number in range(5):
            told.append(await door.tell(partition=number % 3))
            await door.tell("acme", partition=number % 3)
        async with door.stream(last=last) as client:
            for _ in range(cut):
                heard.append((await client.event()).ce_id)
            last = client.last or last
    async with door.stream(last=last) as client:
        while set(heard) != set(told):
            heard.append((await client.event()).ce_id)

    assert set(heard) == set(told)
    for partition in range(3):
        own = [id for number, id in enumerate(told) if number % 5 % 3 == partition]
        assert [id for id in dict.fromkeys(heard) if id in own] == own


async def test_filters_name_types_a_charge_point_or_a_location(door: Door) -> None:
    async with (
        door.stream("?types=session_started,cdr_issued&charge_point_id=CP2") as point,
        door.stream("?location_id=L2") as location,
        door.stream("?types=cdr_issued") as cdrs,
    ):
        for client in (point, location, cdrs):
            await client.frame()
        await door.tell(charge_point_id="CP1")
        told = await door.tell(charge_point_id="CP2")
        assert (await point.event()).ce_id == told
        assert (await location.event()).ce_id == told
        issued = examples()["chargesphere.cdr.issued.v1"][0]
        public = cloud_event(issued, meta())
        assert public is not None
        await door.log.append(PUBLIC["cdrs"], 0, [Record(b"k", public.data, public.headers)])
        assert (await cdrs.event()).event == "cdr_issued"


REFUSED = (
    ("?types=session_started,nonsense", "", 422, "types"),
    ("?types=", "", 422, "types"),
    ("?token=x", "", 422, "token"),
    ("", "nonsense", 422, "Last-Event-ID"),
    ("?charge_point_id=CP9", "", 404, None),
    ("?location_id=L9", "", 404, None),
    ("?location_id=L2&charge_point_id=CP1", "", 404, None),
    ("?tenant=acme", "", 404, None),
    ("?types=cdr_issued,token_put", "", 403, "types"),
)


async def test_what_cannot_be_told_is_a_problem_that_names_it(door: Door) -> None:
    for query, last, status, path in REFUSED:
        response = await door.refused(query, last=last)
        assert response.status_code == status, query
        if path is not None:
            assert [error["path"] for error in response.json()["errors"]] == [path]
    assert door.live.counts["subscribers"] == 0


async def test_a_viewer_cannot_tell_one_persons_charges_from_anothers(door: Door) -> None:
    async with door.stream() as viewer, door.stream(role="operator") as operator:
        await viewer.frame()
        await operator.frame()
        for event, _ in examples().values():
            public = cloud_event(event, meta())
            assert public is not None
            await door.log.append(
                PUBLIC[public.topic], 0, [Record(public.key.encode(), public.data, public.headers)]
            )
        hears = [await viewer.event() for name in SHORT_NAMES if not name.startswith("token_")]
        sees = [await operator.event() for _ in SHORT_NAMES]

    assert {frame.event for frame in hears} == {name for name in SHORT_NAMES if not name.startswith("token_")}
    keys = [msgspec.json.decode(frame.data)["data"].get("token_key") for frame in hears]
    assert sorted(filter(None, keys)) == ["***", "***"]
    assert not any('"9f2c"' in frame.data for frame in hears)
    assert sum('"9f2c"' in frame.data for frame in sees) == 5


async def test_a_platform_admin_names_the_tenant(door: Door) -> None:
    assert (await door.refused(role="platform_admin")).status_code == 422
    async with door.stream("?tenant=acme", role="platform_admin") as client:
        await client.frame()
        told = [await door.tell(), await door.tell("acme")]
        assert (await client.event()).ce_id == told[1]


async def test_a_quiet_stream_says_that_it_is_there_and_how_far_it_is(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)
    async with door.stream() as client:
        first = await client.frame()
        await door.tell("acme")
        while True:
            frame = await client.frame()
            assert frame is not None and first is not None
            assert (frame.comment, frame.data) == ("here", "")
            if frame.id != first.id:
                break
        last = client.last
    told = await door.tell()
    async with door.stream(last=last) as client:
        assert (await client.event()).ce_id == told


async def test_the_servers_limits_on_requests_are_none_on_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.2)
    limits = Limits(head=0.5, body=0.5, stalled=0.5, look_every=0.02)
    async with opened(tmp_path, limits=limits) as door, door.stream() as client:
        for _ in range(6):  # a second
            assert await client.frame() is not None
        told = await door.tell()
        assert (await client.event()).ce_id == told
        assert door.server.counts == {"busy": 0, "slow": 0, "stalled": 0}


async def test_a_stream_ends_when_its_token_expires_and_says_so(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)
    async with door.stream() as client:
        await client.frame()
        door.world.now += timedelta(hours=12)
        end = await client.event()
        assert (end.event, end.data) == ("closed", '{"reason":"token_expired"}')
        assert await client.frame() is None


def test_a_quiet_stream_has_a_heartbeat_every_15_s_and_none_more_however_often_its_credential_is_looked_at() -> (
    None
):
    stream = Timed()
    stream.listen(seconds=61)
    assert stream.heartbeats == [15, 30, 45, 60]
    assert stream.looks == [5 * number for number in range(1, 13)]
    assert len(stream.frames) == 5


@pytest.mark.parametrize("every", [0.0, 0.3, 3.0, 4.9, 5.1, 14.0])
def test_a_stream_ends_as_revoked_within_5_s_whatever_happens_meanwhile(every: float) -> None:
    for refused_at in (0.1, 4.99, 7.0, 31.0):
        stream = Timed()
        stream.refusal = BadTokenError("the key was revoked")
        stream.listen(seconds=100, every=every, refused_at=refused_at)
        [(at, reason)] = stream.ends
        assert reason == "revoked"
        assert refused_at <= at <= refused_at + 5.01
        assert stream.frames[-1][0] == at
        if every:
            assert stream.heard == int(at / every)


def test_a_stream_on_which_something_happens_has_no_heartbeats() -> None:
    stream = Timed()
    stream.listen(seconds=61, every=4.0)
    assert (stream.heartbeats, stream.heard) == ([], 15)


@pytest.mark.parametrize("error", [LogUnavailableError("away"), StoreUnavailableError("reads", "away")])
def test_where_nobody_can_tell_whether_it_may_go_on_a_stream_is_interrupted(error: Exception) -> None:
    stream = Timed()
    stream.refusal = error
    stream.listen(seconds=100, refused_at=11)
    assert stream.ends == [(15, "interrupted")]


def test_a_token_and_a_key_end_their_stream_in_the_moment_in_which_they_expire() -> None:
    until = NOW + timedelta(seconds=37.25)
    for stream in (Timed(expires_at=until), Timed(key_expires_at=until)):
        stream.refusal = BadTokenError("has expired")
        stream.listen(seconds=100, every=0.7, refused_at=37.25)
        assert stream.ends == [(37.25, "token_expired")]


async def test_a_key_that_is_revoked_ends_its_stream_and_the_answer(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.02)
    text = key_text("a" * 12, "b" * 43)
    grant = Grant(role="viewer", scopes=("events:read",))
    door.world.known.keys[text] = Principal(subject="k1", tenant="demo", grant=grant)
    async with door.stream(key=text) as client:
        await client.frame()
        told = await door.tell()
        assert (await client.event()).ce_id == told
        del door.world.known.keys[text]
        end = await client.event()
        assert (end.event, end.data) == ("closed", '{"reason":"revoked"}')
        assert await client.frame() is None
    await until(lambda: door.live.counts["subscribers"] == 0)
    async with door.stream(key=text) as client:
        assert client.response.status_code == 401


async def test_when_the_process_ends_its_streams_end_first_and_hold_nothing_up(door: Door) -> None:
    async with door.stream() as client:
        await client.frame()
        async with asyncio.timeout(5):
            await door.live.close()
            end = await client.event()
            await door.server.stop()
        assert (end.event, end.data) == ("closed", '{"reason":"shutdown"}')
        assert await client.frame() is None


async def test_a_tenant_has_its_share_of_streams_and_a_client_that_leaves_gives_its_place_back(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, Bounds(streams=2, streams_of_tenant=1)) as door:
        async with door.stream() as client, door.stream(tenant="acme"):
            await client.frame()
            again = await door.refused()
            await door.world.add_tenant("third")
            full = await door.refused(tenant="third")
        assert (again.status_code, full.status_code) == (429, 503)
        assert again.headers["retry-after"] == full.headers["retry-after"] == "30"
        await until(lambda: door.live.counts["subscribers"] == 0)
        async with door.stream() as client:
            await client.frame()


async def test_while_the_log_is_away_a_stream_is_503(door: Door) -> None:
    await door.log.close()
    response = await door.refused()
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


async def test_a_client_that_does_not_read_delays_nobody_and_hears_the_rest_once_it_reads(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, Bounds(waiting_bytes=100_000, kept_bytes=100_000)) as door:
        slow = await door.does_not_read()
        told: list[str] = []
        async with door.stream() as quick:
            await quick.frame()
            while not door.live.counts["lagged"]:
                told.append(await door.tell(size=20_000))
                assert (await quick.event()).ce_id == told[-1]
                assert len(told) < 100
            told.append(await door.tell())
            assert (await quick.event()).ce_id == told[-1]

        reader, writer = await asyncio.open_connection(sock=slow, limit=4_000_000)
        async with asyncio.timeout(30):
            text = await reader.readuntil(f'"id":"{told[-1]}"'.encode())
        writer.close()

    names = [line for line in text.split(b"\n") if line.startswith(b"event: ")]
    assert names.count(b"event: lagged") == 1
    heard = [line for line in text.split(b"\n") if line.startswith(b"data: ") and b"specversion" in line]
    assert all(any(f'"id":"{id}"'.encode() in line for line in heard) for id in told)


async def test_a_client_that_takes_a_byte_now_and_then_does_not_keep_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TAKEN_S", 0.3)
    async with opened(tmp_path, Bounds(streams_of_tenant=1)) as door:
        slow = await door.does_not_read()
        async with asyncio.timeout(20):
            while door.live.counts["subscribers"]:
                await door.tell(size=20_000)
                with contextlib.suppress(BlockingIOError):
                    slow.recv(1)
        async with door.stream() as client:
            await client.frame()
        slow.close()


def test_a_records_headers_are_the_attributes_of_its_event() -> None:
    for event, payload in examples().values():
        public = cloud_event(event, meta())
        assert public is not None
        stored = Stored(PUBLIC[public.topic], 0, 0, 0, b"k", public.data, public.headers)
        whole = msgspec.json.decode(structured(public.headers, public.data))
        attributes = {
            name.removeprefix("ce_"): value.decode()
            for name, value in public.headers
            if name != "content-type"
        }
        assert whole.pop("data") == msgspec.to_builtins(payload)
        assert whole.pop("datacontenttype") == "application/json"
        assert {name: str(value) for name, value in whole.items()} == attributes
        assert Told(stored).tenant == "demo"
