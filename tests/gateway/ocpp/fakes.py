"""A gateway on loopback with everything around it faked by hand, and a charge point that speaks real websockets.

The fake bus decides with the real handlers, in memory, so that answers are those of the rules. `away` makes it behave
as a log that cannot be reached.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from application.ports import (
    Bus,
    Directory,
    DirectoryUnavailableError,
    Quota,
    QuotaUnavailableError,
    RegisteredChargePoint,
    Tenant,
)
from commands.base import Accepted, Command, Meta, Rejected
from commands.charge_point import ROUTES, ConcludeCall, Register, RequestCall
from commands.knocking import ROUTES as KNOCKING
from commands.tag import ROUTES as TAG
from domain.aggregate import Aggregate, Event
from domain.charge_point import CallConcluded, ChargePoint, ReadingTaken
from domain.charge_point.passwords import hash_password
from domain.tag import Tag
from domain.values import (
    Authorization,
    Carried,
    Connector,
    Evse,
    JSONObject,
    PartyId,
    Settings,
    Site,
    TagRef,
)
from gateway.ocpp import Frame, OcppGateway, Options, Services
from streams.deciding.channel import LocalChannel
from streams.log import LogUnavailableError
from streams.log.envelope import Reply, encode
from tests.commands.v16_calls import intent

DECIDED = {**ROUTES, **KNOCKING, **TAG}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SITE = Site(id="LOC1", country="DEU")
TYPE2 = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
    tariff_ids=("T1",),
)
EVSES = (Evse(uid="E1", connectors=(TYPE2,)), Evse(uid="E2"))
SETTINGS = Settings(party=PartyId(country_code="DE", party_id="ABC"))
PASSWORD = "00112233445566778899aabbccddeeff"
QUICK = Options(
    patience=0.3,
    authorize_patience=0.1,
    handshake_patience=0.5,
    guess_burst=1000,
    knocks_pause=3600.0,
    drain=2.0,
    sweep_every=0.02,
    lost_after=0.0,
)


class FakeBus:
    """Decides at once, in memory."""

    def __init__(self, channel: LocalChannel) -> None:
        self.channel = channel
        self.away = False
        self.refuse: type[Command] | None = None
        self.late: type[Command] | None = None
        self.stuck: list[tuple[Command, Meta]] = []
        """Commands of the kind `late`: given up by who asked, and still on their way."""
        self.aggregates: dict[str, ChargePoint] = {}
        self.tags: dict[str, Tag] = {}
        self.log: list[Event] = []
        self.told: list[Command] = []
        self.metas: list[Meta] = []
        self.replies: dict[str, Reply] = {}
        self.changed = asyncio.Event()
        self.slow: dict[type[Command], float] = {}

    async def tell(self, command: Command, meta: Meta) -> None:
        await self.ask(command, meta)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        if self.away or type(command) is self.refuse:
            raise LogUnavailableError("the fake log is away")
        if type(command) is self.late:
            self.stuck.append((command, meta))
            raise LogUnavailableError("the fake log takes it later")
        if type(command) in self.slow:
            await asyncio.sleep(self.slow[type(command)])
        self.told.append(command)
        self.metas.append(meta)
        if command.remembered and meta.command_id in self.replies:
            return self.replies[meta.command_id]
        route = DECIDED[type(command)]
        if route.aggregate is ChargePoint:
            aggregate: Aggregate[Any] = self.of(command.aggregate_id)
        elif route.aggregate is Tag:
            aggregate = self.tags.setdefault(command.aggregate_id, Tag.blank(command.aggregate_id))
        else:
            aggregate = route.aggregate.blank(command.aggregate_id)
        outcome = route.handler(aggregate, command, meta)
        events: list[Event] = list(aggregate.collect_events())  # type: ignore[arg-type]
        self.log += events
        if isinstance(outcome, Accepted):
            for downlink in outcome.downlinks:
                self.channel.downlink(downlink)
            reply = Reply(result=msgspec.Raw(encode(outcome.reply)))
        else:
            assert isinstance(outcome, Rejected)
            reply = Reply(refusal=outcome.refusal, message=outcome.message)
        self.replies[meta.command_id] = reply
        self.changed.set()
        return reply

    def of(self, id: str) -> ChargePoint:
        if id not in self.aggregates:
            self.aggregates[id] = ChargePoint.blank(id)
        return self.aggregates[id]

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]

    async def until(self, kind: type[Any], count: int = 1) -> Any:
        """The newest event of this kind, once there are `count` of them."""
        async with asyncio.timeout(60):
            while len(self.all(kind)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.all(kind)[-1]


class FakeReadings:
    """Beside what the fake bus decides; away when that is."""

    def __init__(self, bus: FakeBus) -> None:
        self.bus = bus
        self.taken: list[ReadingTaken] = []
        self.looked: list[int] = []
        self.unreadable: Exception | None = None
        self.may_look = asyncio.Event()
        self.may_look.set()

    async def append(self, reading: ReadingTaken, meta: Meta) -> int:
        if self.bus.away:
            raise LogUnavailableError("the fake log is away")
        self.taken.append(reading)
        return len(self.taken) - 1

    async def end(self, charge_point: str) -> int:
        return len(self.taken)

    async def behind(
        self, charge_point: str, transaction_id: int, carried: Carried
    ) -> list[tuple[int, ReadingTaken]]:
        if self.bus.away:
            raise LogUnavailableError("the fake log is away")
        if self.unreadable is not None:
            raise self.unreadable
        await self.may_look.wait()
        self.looked.append(transaction_id)
        return [
            (offset, reading)
            for offset, reading in enumerate(self.taken)
            if offset > carried.offset
            and reading.originator_id == charge_point
            and reading.transaction_id == transaction_id
        ]


class FakeDirectory(Directory):
    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.listed: dict[tuple[str, str], RegisteredChargePoint] = {}
        self.connected: dict[str, list[tuple[str, str, int]]] = {}
        self.away = False

    async def tenant(self, id: str) -> Tenant | None:
        if self.away:
            raise DirectoryUnavailableError
        return self.tenants.get(id)

    async def tenants_of(self, charge_point_id: str) -> list[Tenant]:
        holders = [self.tenants[tenant] for tenant, id in self.listed if id == charge_point_id]
        return holders or [
            t for t in self.tenants.values() if t.id_prefix and charge_point_id.startswith(t.id_prefix)
        ]

    async def charge_point(self, tenant: str, charge_point_id: str) -> RegisteredChargePoint | None:
        if self.away:
            raise DirectoryUnavailableError
        return self.listed.get((tenant, charge_point_id))

    async def connected_on(self, node: str) -> AsyncIterator[tuple[str, str, int]]:
        for tenant, id, epoch in self.connected.get(node, ()):
            yield tenant, id, epoch

    def learn(self, tenant: str, listed: RegisteredChargePoint) -> None:
        self.listed[(tenant, listed.charge_point_id)] = listed


class FakeQuota(Quota):
    """Room for all, but where a test says for how many; `silent` where it is not told."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}
        self.silent = False

    async def take(self, tenant: str) -> bool:
        if self.silent:
            raise QuotaUnavailableError
        self.left[tenant] = self.left.get(tenant, 1_000_000) - 1
        return self.left[tenant] >= 0


class FakeAuthorizer:
    """Knows two tags; everything else is Invalid."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        status = {"ALICE": "Accepted", "BLOCKED": "Blocked"}.get(id_tag.upper(), "Invalid")
        source = "tag" if status != "Invalid" else "unknown"
        tag = TagRef(key=f"k-{id_tag.upper()}", sealed=f"s1.{id_tag.upper()}")
        parent = "s1.family" if id_tag.upper() == "ALICE" else ""
        return tag, Authorization(status=status, source=source, as_of=NOON, parent_sealed=parent)


class FakeTariffs:
    async def snapshot(self, tenant: str, tariff_ids: Sequence[str]) -> list[JSONObject]:
        return [{"id": id} for id in tariff_ids]


class FakeVault:
    async def open(self, sealed: str) -> bytes | None:
        return {"s1.family": b"FAMILY", "s1.0123456789.alice-sealed": b"ALICE"}.get(sealed)


class FakeFrames:
    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def record(self, frame: Frame) -> None:
        self.frames.append(frame)


class FakeClock:
    """Stands still until told to move."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


async def eventually(true: Callable[[], bool]) -> None:
    """Returns once it is true; fails after a minute."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)


class World:
    """The gateway and everything around it; another `bus` or `clock` takes the fake one's place."""

    def __init__(
        self,
        options: Options = QUICK,
        bus: Callable[[LocalChannel], Bus] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.channel = LocalChannel("gw-test")
        self.bus = FakeBus(self.channel)
        self.readings = FakeReadings(self.bus)
        self.directory = FakeDirectory()
        self.quota = FakeQuota()
        self.frames = FakeFrames()
        self.clock = FakeClock()
        self.port = 0
        self.load = False
        self.gateway = OcppGateway(
            Services(
                channel=self.channel,
                bus=bus(self.channel) if bus else self.bus,
                readings=self.readings,
                directory=self.directory,
                quota=self.quota,
                authorizer=FakeAuthorizer(),
                tariffs=FakeTariffs(),
                vault=FakeVault(),
                frames=self.frames,
                clock=clock or self.clock.now,
                options=options,
                busy=lambda tenant, charge_point_id: self.load,
            )
        )

    def tenant(self, id: str = "demo", **values: Any) -> Tenant:
        tenant = Tenant(**{"id": id, "settings": SETTINGS, **values})
        self.directory.tenants[id] = tenant
        return tenant

    async def charge_point(self, id: str = "CP-1", tenant: str = "demo", password: str = PASSWORD) -> None:
        """Registered in the log and known to the directory."""
        password_hash = hash_password(password.encode(), bytes(16)) if password else ""
        command = Register(
            tenant=tenant, charge_point_id=id, site=SITE, evses=EVSES, password_hash=password_hash
        )
        await self.bus.ask(command, Meta(command_id=f"register {tenant} {id}", at=NOON))
        self.directory.learn(
            tenant, RegisteredChargePoint(charge_point_id=id, password_hash=password_hash, evses=EVSES)
        )

    def state(self, id: str = "CP-1", tenant: str = "demo") -> Any:
        return self.bus.of(f"charge_point|{tenant}|{id}").state

    @asynccontextmanager
    async def connected(
        self,
        id: str = "CP-1",
        path: str | None = None,
        password: str | bytes | None = PASSWORD,
        user: str | None = None,
        subprotocols: Sequence[str] | None = ("ocpp1.6",),
        forwarded: str = "",
    ) -> AsyncIterator[Client]:
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        if password is not None:
            secret = password.encode() if isinstance(password, str) else password
            token = base64.b64encode((id if user is None else user).encode() + b":" + secret)
            headers["Authorization"] = f"Basic {token.decode()}"
        offered = None if subprotocols is None else [Subprotocol(name) for name in subprotocols]
        async with connect(
            f"ws://127.0.0.1:{self.port}{path or f'/ocpp/demo/{id}'}",
            subprotocols=offered,
            additional_headers=headers,
            compression=None,
            proxy=None,
            open_timeout=5,
            close_timeout=1,
            ping_interval=None,
            max_size=None,
        ) as socket:
            yield Client(socket)

    async def request(self, action: str, payload: JSONObject, command_id: str = "r1", **values: Any) -> Reply:
        """What the operator's side of the log asks for."""
        command = RequestCall(
            **{
                "tenant": "demo",
                "charge_point_id": "CP-1",
                "command_id": command_id,
                "intent": intent(action, payload),
                "expires_at": self.clock.now() + timedelta(seconds=30),
                **values,
            }
        )
        return await self.bus.ask(command, Meta(command_id=f"request {command_id}", at=self.clock.now()))

    async def concluded(self, count: int = 1) -> CallConcluded:
        event = await self.bus.until(CallConcluded, count)
        assert isinstance(event, CallConcluded)
        return event

    def conclusions(self) -> list[ConcludeCall]:
        return [command for command in self.bus.told if isinstance(command, ConcludeCall)]


class Client:
    """A charge point's end of the socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._numbers = iter(range(1, 1_000_000))

    async def call(self, action: str, payload: object) -> Any:
        """The confirmation's payload, or the CALLERROR as a tuple (code, description)."""
        await self.send_call(action, payload)
        return await self.answer()

    async def send_call(self, action: str, payload: object) -> str:
        id = f"m{next(self._numbers)}"
        await self.socket.send(json.dumps([2, id, action, payload]))
        self.last = id
        return id

    async def answer(self) -> Any:
        frame = await self.reply()
        assert frame[1] == self.last
        return frame[2] if frame[0] == 3 else (frame[2], frame[3])

    async def reply(self) -> Any:
        """The next frame that is no call: the central system may ask something meanwhile."""
        while (frame := await self.frame())[0] == 2:
            pass
        return frame

    async def frame(self) -> Any:
        return json.loads(await asyncio.wait_for(self.socket.recv(), 5))

    async def boot(self) -> Any:
        return await self.call("BootNotification", {"chargePointVendor": "Acme", "chargePointModel": "Box"})

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close that the server sends."""
        await asyncio.wait_for(self.socket.wait_closed(), 5)
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def world(options: Options = QUICK) -> AsyncIterator[World]:
    """A running gateway with tenant demo and charge point CP-1."""
    made = World(options)
    made.tenant()
    await made.charge_point()
    made.port = await made.gateway.start("127.0.0.1", 0)
    try:
        yield made
    finally:
        await made.gateway.stop()
