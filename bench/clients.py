"""Charge points of the load generator: one process holds thousands of them and sends by the clock.

What enters: a share of the charge points, a rate, orders of the parent. What leaves: answer times by action, counted
from the moment at which a message was due, so that a slow system cannot slow the questions down; and errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import random
import time
from array import array
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from bench.bound import bind
from bench.sockets import HandshakeRefusedError, Socket, open_socket
from chargesphere.demo.charge_point import utc_text

HEARTBEAT, METER, STATUS = "Heartbeat", "MeterValues", "StatusNotification"
AUTHORIZE, START, STOP, BOOT = "Authorize", "StartTransaction", "StopTransaction", "BootNotification"
MIX = (*[METER] * 60, *[HEARTBEAT] * 26, *["charge"] * 14)
"""Of 100 messages. Two charges begin and two end in 14: of each an Authorize, a start, a stop and four statuses."""
CYCLE = (
    (HEARTBEAT, ""),
    (AUTHORIZE, ""),
    (STATUS, "Preparing"),
    (START, ""),
    (STATUS, "Charging"),
    *[(METER, "voltage")] * 5,
    (STOP, ""),
    (STATUS, "Available"),
)
"""One charge of the closed loop, in which each message follows on the answer to the one before; four samples a meter
value."""


class Share(msgspec.Struct, frozen=True):
    """One process's part: `count` charge points from number `first` on; the share `charging` begins with a charge."""

    urls: tuple[str, ...]
    tenant: str
    prefix: str
    first: int
    count: int
    charging: float
    tags: tuple[str, ...]
    connect_rate: float
    seed: int


@dataclass(slots=True)
class CallOutcome:
    """Of one measured stretch. `seconds` by action; `late`: messages still unanswered at the end."""

    seconds: dict[str, bytes] = field(default_factory=dict)
    sent: int = 0
    answered: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    late: int = 0
    lag: float = 0.0


@dataclass(slots=True, eq=False)
class Point:
    """One charge point: at most one call is out, the others wait with the time at which they were due."""

    number: int
    identity: str
    tag: str
    socket: Socket | None = None
    queue: deque[tuple[float, str, str]] = field(default_factory=deque)
    pending: tuple[str, float, str] | None = None
    transaction: int | None = None
    state: str = "new"
    meter: int = 0
    ids: int = 0


class Fleet:
    """All charge points of one process."""

    def __init__(self, share: Share, opener: Callable[..., Awaitable[Socket]] = open_socket) -> None:
        self._share = share
        self._open = opener
        self._random = random.Random(share.seed)
        self._points = [
            Point(n, f"{share.prefix}{n}", share.tags[n % len(share.tags)])
            for n in range(share.first, share.first + share.count)
        ]
        self._idle: deque[Point] = deque()
        self._charging: deque[Point] = deque()
        self._all: deque[Point] = deque()
        self._steps: deque[tuple[Point, str, str]] = deque()
        self._seconds: dict[str, array[float]] | None = None
        self._outcome = CallOutcome()
        self._decoder = msgspec.json.Decoder(list[msgspec.Raw])
        self._body = msgspec.json.Decoder(dict[str, Any])
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cycles: dict[Point, Iterator[tuple[str, str]]] = {}
        self._complete = asyncio.Event()
        self._closing = False
        self.connected = 0
        self.refusals: Counter[str] = Counter()
        self.disconnects = 0

    # -- connections -------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """All of them, at the bounded rate; those that are refused try again when they are told to."""
        began = self._loop.time()
        for number, point in enumerate(self._points):
            due = began + number / self._share.connect_rate
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            self._later(self._keep(point, self._random.random() < self._share.charging))
        await self._complete.wait()

    async def _keep(self, point: Point, charges: bool) -> None:
        """Connect and boot."""
        urls = self._share.urls
        url = f"{urls[point.number % len(urls)]}/ocpp/{self._share.tenant}/{point.identity}"
        while True:
            try:
                point.socket = await self._open(
                    url, lambda text: self._take(point, text), lambda: self._lost(point)
                )
                break
            except HandshakeRefusedError as refused:
                self.refusals[str(refused)] += 1
                await asyncio.sleep(refused.retry_after + self._random.uniform(0.0, 1.0))
            except (OSError, TimeoutError) as error:
                self.refusals[type(error).__name__] += 1
                await asyncio.sleep(self._random.uniform(1.0, 5.0))
        self.connected += 1
        if self.connected == len(self._points):
            self._complete.set()
        if point.state == "new":
            self._all.append(point)
        self._due(point, BOOT, "")
        if charges:
            point.state = "busy"
            self._due(point, START, "")
        else:
            self._enter(point, "idle")

    def _lost(self, point: Point) -> None:
        """What was out counts as lost; the charge point comes back after a while, as if nothing had been."""
        self.disconnects += 1
        self.connected -= 1
        lost = len(point.queue) + (point.pending is not None)
        if lost:
            self._count_error("lost with the connection", lost)
        point.socket = point.pending = point.transaction = None
        point.queue.clear()
        point.state = "gone"
        if not self._closing:
            self._later(self._back(point))

    def _enter(self, point: Point, state: str) -> None:
        """Into a pool; whoever takes it out again looks at its state, as it may have been lost meanwhile."""
        point.state = state
        (self._idle if state == "idle" else self._charging).append(point)

    def _leave(self, pool: deque[Point], state: str) -> Point | None:
        while pool:
            point = pool.popleft()
            if point.state == state:
                point.state = "busy"
                return point
        return None

    async def _back(self, point: Point) -> None:
        await asyncio.sleep(self._random.uniform(1.0, 5.0))
        await self._keep(point, False)

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        for number, point in enumerate(self._points):
            if point.socket is not None:
                point.socket.close()
            if number % 200 == 199:
                await asyncio.sleep(0.01)

    def _later(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the clock ---------------------------------------------------------------------------------------------

    async def run(self, rate: float, begin: float, warm_up: float, seconds: float) -> CallOutcome:
        """Send `rate` messages a second from `begin` on (monotonic clock); those due after the warm-up count."""
        self._outcome, self._seconds = CallOutcome(), None
        counted = begin + warm_up
        end = counted + seconds
        mix = list(MIX)
        self._random.shuffle(mix)
        number = 0
        while (due := begin + number / rate) < end:
            now = self._loop.time()
            if due > now:
                await asyncio.sleep(due - now)
            elif number % 200 == 0:
                await asyncio.sleep(0)
            if self._seconds is None and due >= counted:
                self._seconds = {}
                self._outcome = CallOutcome()
            self._outcome.lag = max(self._outcome.lag, self._loop.time() - due)
            self._outcome.sent += 1
            self._slot(mix[number % len(mix)], due)
            number += 1
            if number % len(mix) == 0:
                self._random.shuffle(mix)
        await self._answers()
        outcome = self._outcome
        outcome.late = sum(len(p.queue) + (p.pending is not None) for p in self._points)
        outcome.seconds = {action: values.tobytes() for action, values in (self._seconds or {}).items()}
        self._seconds = None
        return outcome

    async def closed(self, begin: float, warm_up: float, seconds: float) -> CallOutcome:
        """Charge without a pause from `begin` on (monotonic clock); what is sent after the warm-up counts."""
        self._outcome, self._seconds = CallOutcome(), None
        await asyncio.sleep(begin - self._loop.time())
        for point in self._points:
            self._cycles[point] = itertools.cycle(CYCLE)
            self._due(point, *next(self._cycles[point]))
        await asyncio.sleep(begin + warm_up - self._loop.time())
        self._outcome, self._seconds = CallOutcome(), {}
        await asyncio.sleep(begin + warm_up + seconds - self._loop.time())
        self._cycles.clear()
        outcome, measured, self._outcome, self._seconds = self._outcome, self._seconds, CallOutcome(), None
        await self._answers()
        outcome.late = sum(point.pending is not None for point in self._points)
        outcome.seconds = {action: values.tobytes() for action, values in measured.items()}
        return outcome

    async def _answers(self) -> None:
        """Give what is out ten more seconds."""
        for _ in range(100):
            if not any(p.queue or p.pending for p in self._points):
                return
            await asyncio.sleep(0.1)

    def _slot(self, kind: str, due: float) -> None:
        if kind == "charge":
            if not self._steps:
                self._plan()
            if self._steps:
                point, action, detail = self._steps.popleft()
                self._due(point, action, detail, due)
                return
            kind = HEARTBEAT
        if kind == METER:
            while self._charging:
                point = self._charging.popleft()
                if point.state == "charging":
                    self._charging.append(point)
                    self._due(point, METER, "", due)
                    return
        for _ in range(len(self._all)):
            point = self._all[0]
            self._all.rotate(-1)
            if point.socket is not None:
                self._due(point, HEARTBEAT, "", due)
                return
        self._count_error("nobody connected")

    def _plan(self) -> None:
        """One charge begins and another ends, in seven messages."""
        a, b = self._leave(self._idle, "idle"), self._leave(self._charging, "charging")
        begins = ((STATUS, "Preparing"), (AUTHORIZE, ""), (START, ""), (STATUS, "Charging"))
        ends = ((STOP, ""), (STATUS, "Finishing"), (STATUS, "Available"))
        for begin, end in itertools.zip_longest(begins, ends):
            if a is not None:
                self._steps.append((a, *begin))
            if b is not None and end is not None:
                self._steps.append((b, *end))

    # -- frames ------------------------------------------------------------------------------------------------

    def _due(self, point: Point, action: str, detail: str, due: float = 0.0) -> None:
        point.queue.append((due or self._loop.time(), action, detail))
        if point.pending is None:
            self._send(point)

    def _send(self, point: Point) -> None:
        if point.socket is None:
            self._count_error("not connected", len(point.queue))
            point.queue.clear()
            return
        due, action, detail = point.queue.popleft()
        point.ids += 1
        id = str(point.ids)
        point.pending = (id, due, action)
        point.socket.send(f'[2,"{id}","{action}",{self._payload(point, action, detail)}]'.encode())

    def _payload(self, point: Point, action: str, detail: str) -> str:
        if action == HEARTBEAT:
            return "{}"
        now = utc_text(datetime.now(UTC))
        if action == METER:
            point.meter += 40
            more = ',{"value":"231.2","measurand":"Voltage","unit":"V","phase":"L1"}' if detail else ""
            transaction = f'"transactionId":{point.transaction},' if point.transaction is not None else ""
            return (
                f'{{"connectorId":1,{transaction}"meterValue":[{{"timestamp":"{now}","sampledValue":['
                f'{{"value":"{point.meter}","measurand":"Energy.Active.Import.Register","unit":"Wh"}},'
                f'{{"value":"11040","measurand":"Power.Active.Import","unit":"W"}},'
                f'{{"value":"16.0","measurand":"Current.Import","unit":"A","phase":"L1"}}{more}]}}]}}'
            )
        if action == STATUS:
            return f'{{"connectorId":1,"errorCode":"NoError","status":"{detail}","timestamp":"{now}"}}'
        if action == AUTHORIZE:
            return f'{{"idTag":"{point.tag}"}}'
        if action == START:
            return f'{{"connectorId":1,"idTag":"{point.tag}","meterStart":{point.meter},"timestamp":"{now}"}}'
        if action == STOP:
            stopped = -1 if point.transaction is None else point.transaction
            return f'{{"transactionId":{stopped},"meterStop":{point.meter},"timestamp":"{now}"}}'
        return '{"chargePointVendor":"Bench","chargePointModel":"Load"}'

    def _take(self, point: Point, text: bytes) -> None:
        message = self._decoder.decode(text)
        kind = bytes(message[0])
        if kind == b"2":
            if point.socket is not None:
                point.socket.send(b"[4," + bytes(message[1]) + b',"NotSupported","",{}]')
            return
        pending = point.pending
        if pending is None or bytes(message[1]).strip() != f'"{pending[0]}"'.encode():
            self._count_error("an answer to nothing")
            return
        _, due, action = pending
        point.pending = None
        if kind == b"3":
            self._answered(point, action, due, bytes(message[2]))
        else:
            self._count_error(f"{action}: {bytes(message[2]).decode()}")
            if action == START:
                self._enter(point, "idle")
        if point.queue:
            self._send(point)
        elif (cycle := self._cycles.get(point)) is not None:
            self._due(point, *next(cycle))

    def _answered(self, point: Point, action: str, due: float, body: bytes) -> None:
        self._outcome.answered += 1
        if self._seconds is not None:
            self._seconds.setdefault(action, array("d")).append(self._loop.time() - due)
        if action == START:
            answer = self._body.decode(body)
            point.transaction = int(answer["transactionId"])
            self._enter(point, "charging")
            if answer["idTagInfo"]["status"] != "Accepted":
                self._count_error(f"start {answer['idTagInfo']['status']}")
        elif action == STOP:
            point.transaction = None
            self._enter(point, "idle")
        elif action == AUTHORIZE:
            status = self._body.decode(body)["idTagInfo"]["status"]
            if status != "Accepted":
                self._count_error(f"authorize {status}")

    def _count_error(self, what: str, count: int = 1) -> None:
        if count:
            self._outcome.errors[what] = self._outcome.errors.get(what, 0) + count


def serve_parent(pipe: Connection, share: Share, parent: int) -> None:
    """The main function of a client process: does what the parent says until it says stop or goes away."""
    bind(parent)
    asyncio.run(_serve(pipe, share))


async def _serve(pipe: Connection, share: Share) -> None:
    fleet = Fleet(share)
    loop = asyncio.get_running_loop()
    try:
        while True:
            order = await loop.run_in_executor(None, pipe.recv)
            match order:
                case ("connect",):
                    telling = loop.create_task(_tell(pipe, fleet))
                    await fleet.connect()
                    telling.cancel()
                    pipe.send(("connected", fleet.refusals))
                case ("run", rate, begin, warm_up, seconds):
                    outcome = await fleet.run(rate, begin, warm_up, seconds)
                    pipe.send(("outcome", outcome, fleet.disconnects))
                case ("closed", begin, warm_up, seconds):
                    outcome = await fleet.closed(begin, warm_up, seconds)
                    pipe.send(("outcome", outcome, fleet.disconnects))
                case _:
                    break
    except (EOFError, OSError):
        pass
    finally:
        await fleet.close()


async def _tell(pipe: Connection, fleet: Fleet) -> None:
    """How far it has come, every second."""
    while True:
        await asyncio.sleep(1.0)
        pipe.send(("progress", fleet.connected, fleet.refusals.total()))


class Client:
    """The parent's handle on one client process. `progress`: charge points connected, and how often refused."""

    def __init__(self, share: Share) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve_parent, args=(theirs, share, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()
        self.progress = (0, 0)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def order(self, *order: object) -> None:
        """Tell it something."""
        self._pipe.send(order)

    def answer(self, seconds: float) -> tuple[Any, ...]:
        """What it says next, its progress apart. Raises TimeoutError, or EOFError where it has ended."""
        deadline = time.monotonic() + seconds
        while self._pipe.poll(max(0.0, deadline - time.monotonic())):
            said: tuple[Any, ...] = self._pipe.recv()
            if said[0] != "progress":
                return said
            self.progress = (said[1], said[2])
        raise TimeoutError(f"a client process did not do its work in {seconds:g} s")

    def stop(self) -> None:
        """End it, kindly at first."""
        with contextlib.suppress(OSError):
            self._pipe.send(("stop",))
        self._process.join(15)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(5)
        self._pipe.close()
