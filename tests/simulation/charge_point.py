"""Simulated charge points: they speak OCPP 1.6J, keep what is worth money until it was answered, and are awkward.

What enters: the seed's choices. What leaves: frames, and a ledger of what was asked, answered and measured, which is
the truth that the checker holds the log and the CDRs against.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.simulation.facts import OWN_TAG, ROAMING_TAGS, TENANT
from tests.simulation.loop import Node
from tests.simulation.wire import Line, Response, Upgrade

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True)
class Said:
    """One call as the charge point sees it. Times are the world's."""

    charge_point: str
    action: str
    payload: dict[str, Any]
    asked_at: float
    answered_at: float = 0.0
    answer: dict[str, Any] | None = None
    times: int = 0
    charge: Charge | None = None
    """The charge that it is about."""


@dataclass(slots=True)
class Charge:
    """What really happened at one connector."""

    charge_point: str
    connector: int
    tag: str
    meter_start: int
    started_at: datetime
    start: Said | None = None
    meter_stop: int = 0
    stopped_at: datetime | None = None
    stop: Said | None = None
    transaction_id: int | None = None
    readings: list[tuple[datetime, int]] = field(default_factory=list)


@dataclass(slots=True)
class Quirks:
    """How it differs from a good one."""

    clock_s: float = 0.0
    repeats: float = 0.0
    """How often it sends again what was answered."""
    deaf: float = 0.0
    """How often it never answers a call of ours."""
    impatient: float = 30.0
    """Seconds until it gives up waiting for an answer."""
    forgets_id: float = 0.0
    statuses: bool = True
    reboots: float = 0.0
    """How often it boots where it connects again, and then how often it forgets its values."""
    forgets_values: float = 0.0
    keeps_values: bool = True
    """Whether a value that it takes is there."""
    slow: float = 0.0
    """How often it answers a call of ours after that was given up."""


class ChargePoint:
    """`run` until the world ends."""

    def __init__(self, world: World, id: str, quirks: Quirks) -> None:
        self.world = world
        self.id = id
        self.quirks = quirks
        self.node: Node = world.loop.node(id)
        self.said: list[Said] = []
        self.charges: list[Charge] = []
        self.calls: list[tuple[str, str]] = []
        self.starts: list[str] = []
        """The tags for which it was asked to start, each time; nobody plugs in for them."""
        self.variables = {"MeterValueSampleInterval": "900"}
        self.held: dict[int, datetime] = {}
        self.usable = True
        self._meters = {1: 1000, 2: 5000}
        self._line: Line | None = None
        self._waiting: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._queue: deque[tuple[Said, Charge | None]] = deque()
        self._work = asyncio.Event()
        self._lost = asyncio.Event()
        self._number = 0
        self._last = datetime.min.replace(tzinfo=UTC)

    # -- the driver's and the meter's side -----------------------------------------------------------------------

    def now(self) -> datetime:
        """Its clock, in whole seconds and never the same twice, so that each message is recognisable."""
        wall = self.world.network.wall_time(self.node) + timedelta(seconds=self.quirks.clock_s)
        wall = wall.replace(microsecond=0)
        self._last = max(wall, self._last + timedelta(seconds=1))
        return self._last

    async def charge(
        self, connector: int, tag: str, readings: int, pause: float, until: asyncio.Event | None = None
    ) -> None:
        """A driver comes, charges and goes (not before `until` is set), whether we are there or not."""
        chance = self.world.loop.chance
        if self.quirks.statuses:
            self.status(connector, "Preparing")
        if chance.random() < 0.5:
            self._put("Authorize", {"idTag": tag}, keep=False)
        charge = Charge(self.id, connector, tag, self._meters[connector], self.now())
        self.charges.append(charge)
        charge.start = self._put(
            "StartTransaction",
            {
                "connectorId": connector,
                "idTag": tag,
                "meterStart": charge.meter_start,
                "timestamp": _z(charge.started_at),
            },
            charge=charge,
        )
        for _ in range(readings):
            await asyncio.sleep(pause * (0.5 + chance.random()))
            self._meters[connector] += 1 + int(chance.random() * 900)
            at = self.now()
            charge.readings.append((at, self._meters[connector]))
            self._put(
                "MeterValues",
                {
                    "connectorId": connector,
                    "transactionId": charge,
                    "meterValue": [
                        {
                            "timestamp": _z(at),
                            "sampledValue": [
                                {"value": str(self._meters[connector]), "context": "Sample.Periodic"}
                            ],
                        }
                    ],
                },
                charge=charge,
            )
        await asyncio.sleep(pause * chance.random())
        if until is not None:
            await until.wait()
        self._meters[connector] += int(chance.random() * 300)
        charge.meter_stop, charge.stopped_at = self._meters[connector], self.now()
        charge.stop = self._put(
            "StopTransaction",
            {
                "transactionId": charge,
                "meterStop": charge.meter_stop,
                "timestamp": _z(charge.stopped_at),
                "idTag": tag,
                "reason": "Local",
            },
            charge=charge,
        )
        if self.quirks.statuses:
            self.status(connector, "Available")

    def status(self, connector: int, status: str) -> None:
        self._put(
            "StatusNotification",
            {
                "connectorId": connector,
                "errorCode": "NoError",
                "status": status,
                "timestamp": _z(self.now()),
            },
            keep=False,
        )

    @property
    def idle(self) -> bool:
        """Whether everything it had to say was answered."""
        return not self._queue

    def _put(
        self, action: str, payload: dict[str, Any], *, keep: bool = True, charge: Charge | None = None
    ) -> Said:
        """Queue a call; what is not kept is dropped while it is offline."""
        said = Said(self.id, action, payload, 0.0, charge=charge)
        if keep or self._line is not None:
            self._queue.append((said, charge))
            self._work.set()
        return said

    # -- the wire ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        chance = self.world.loop.chance
        wait = 0.2
        booted = False
        while True:
            if not await self._connect():
                await asyncio.sleep(wait * (0.5 + chance.random()))
                wait = min(wait * 2, 5.0)
                continue
            wait = 0.2
            again = booted and self.quirks.reboots and chance.random() < self.quirks.reboots
            if again and chance.random() < self.quirks.forgets_values:
                self.variables["MeterValueSampleInterval"], self.usable = "900", True
            talking = asyncio.create_task(self._talk(not booted or bool(again)))
            booted = True
            await self._lost.wait()
            talking.cancel()
            for future in self._waiting.values():
                if not future.done():
                    future.set_result(None)
            self._waiting.clear()
            self._line = None

    async def _connect(self) -> bool:
        gateways = self.world.gateways()
        if not gateways or not self.world.network.reaches(self.node, "wire"):
            return False
        node, gateway = gateways[int(self.world.loop.chance.random() * len(gateways))]
        self._lost = asyncio.Event()
        lost = self._lost
        line = Line(self.world.network, self.node, node, self._received, lost.set)
        request: Any = Upgrade(f"/ocpp/{TENANT}/{self.id}")
        socket: Any = line.socket
        done: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        async def admit() -> None:
            answer: Any = await gateway._admit(socket, request)
            self.world.loop.call_soon(_settle, done, answer, context=self.node.context)
            if answer is None:
                await gateway._serve(socket)

        self.world.loop.spawn(node, admit())
        try:
            async with asyncio.timeout(20):
                answer = await done
        except TimeoutError:
            line.hang_up()
            return False
        if answer is not None:
            return False
        self._line = line
        return True

    async def _talk(self, boot: bool) -> None:
        if boot:
            await self._call(Said(self.id, "BootNotification", _BOOT, 0.0))
            self._tell_usable()
        while True:
            while not self._queue:
                self._work.clear()
                try:
                    async with asyncio.timeout(60):
                        await self._work.wait()
                except TimeoutError:
                    await self._call(Said(self.id, "Heartbeat", {}, 0.0))
            said, charge = self._queue[0]
            answered = await self._call(said, charge)
            if not answered and said.action in _KEPT and self._line is not None:
                # No answer: it hangs up and sends it again over a new connection.
                self._line.hang_up()
                self._lost.set()
                return
            if self._queue and self._queue[0][0] is said:
                self._queue.popleft()
            if answered and self.world.loop.chance.random() < self.quirks.repeats:
                await self._call(said, charge)

    async def _call(self, said: Said, charge: Charge | None = None) -> bool:
        """Whether an answer came in time; an error is one too."""
        loop = self.world.loop
        line = self._line
        if line is None:
            return False
        if said.times == 0:
            said.asked_at = loop.now
            self.said.append(said)
        said.times += 1
        self._number += 1
        id = f"{self.id}-{self._number}"
        future: asyncio.Future[dict[str, Any] | None] = loop.create_future()
        self._waiting[id] = future
        payload = dict(said.payload)
        if payload.get("transactionId") is charge and charge is not None:
            payload["transactionId"] = charge.transaction_id if charge.transaction_id is not None else -1
        line.to_gateway(json.dumps([2, id, said.action, payload]).encode())
        try:
            async with asyncio.timeout(self.quirks.impatient):
                answer = await future
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(id, None)
        if answer is None:
            return False
        if said.answer is None:
            said.answer, said.answered_at = answer, loop.now
            if said.action == "StartTransaction" and charge is not None:
                charge.transaction_id = answer.get("transactionId")
        elif said.action == "StartTransaction" and answer != said.answer:
            self.world.violation(f"{self.id}: a repeated start was answered {answer}, first {said.answer}")
        return True

    def _received(self, frame: bytes) -> None:
        message = json.loads(frame)
        if message[0] == 2:
            self._answer(message[1], message[2], message[3])
            return
        future = self._waiting.get(message[1])
        if future is not None and not future.done():
            future.set_result(message[2] if message[0] == 3 else {"error": message[2]})

    def _answer(self, id: str, action: str, payload: dict[str, Any]) -> None:
        self.calls.append((action, id))
        if action == "RemoteStartTransaction":
            self.starts.append(payload["idTag"])
        chance, line = self.world.loop.chance, self._line
        if line is None or (chance.random() < self.quirks.deaf and chance.random() < 0.5):
            return
        answer = self._done(action, payload)
        frame = [4, id, "NotSupported", "", {}] if answer is None else [3, id, answer]
        if chance.random() < self.quirks.deaf:
            return
        if self.quirks.slow and chance.random() < self.quirks.slow:
            self.world.loop.spawn(self.node, self._late(line, json.dumps(frame).encode()))
        else:
            line.to_gateway(json.dumps(frame).encode())

    async def _late(self, line: Line, frame: bytes) -> None:
        await asyncio.sleep(35.0)
        if line is self._line:
            line.to_gateway(frame)

    def _tell_usable(self) -> None:
        """What it says of itself as a whole, once somebody has wanted something of that."""
        if self.world.shape.wishes:
            self.status(0, "Available" if self.usable else "Unavailable")

    def _done(self, action: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """It does what it is asked for; what it answers, None for what it does not know."""
        self.held = {number: until for number, until in self.held.items() if until > self.now()}
        match action:
            case "GetConfiguration":
                keys = payload.get("key") or list(self.variables)
                told = [
                    {"key": key, "readonly": False, "value": self.variables[key]}
                    for key in keys
                    if key in self.variables
                ]
                return {
                    "configurationKey": told,
                    "unknownKey": [key for key in keys if key not in self.variables],
                }
            case "ChangeConfiguration" if payload["key"] in self.variables:
                if self.quirks.keeps_values:
                    self.variables[payload["key"]] = payload["value"]
                return {"status": "Accepted"}
            case "ReserveNow":
                self.held[payload["reservationId"]] = datetime.fromisoformat(payload["expiryDate"])
                return {"status": "Accepted"}
            case "CancelReservation":
                known = self.held.pop(payload["reservationId"], None)
                return {"status": "Accepted" if known is not None else "Rejected"}
            case "UnlockConnector":
                return {"status": "Unlocked"}
            case "ChangeAvailability":
                if self.quirks.keeps_values:
                    self.usable = payload["type"] == "Operative"
                self._tell_usable()
                return {"status": "Accepted"}
            case "Reset" | "ClearCache":
                return {"status": "Accepted"}
            case _:
                return None


_KEPT = frozenset({"StartTransaction", "MeterValues", "StopTransaction", "BootNotification"})
_BOOT = {"chargePointVendor": "Acme", "chargePointModel": "Box", "firmwareVersion": "1.0"}
TAGS = (*ROAMING_TAGS, OWN_TAG)


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
