"""A charge point as drivers find them: it boots, charges, loses its connection, and forgets nothing meanwhile.

What enters: a websocket address with credentials, drivers (`charge`), and calls of the central system. What leaves:
OCPP 1.6J messages. Transaction messages wait in one queue and go out in order, with the time at which they happened,
again with a new message id until they are answered; everything else is dropped while there is no connection.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ocpp.v16 import call
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from chargesphere.demo.device import Configuration
from chargesphere.demo.ocpp_link import Heard, Link, OfflineError, RefusedCallError, tag_status

FREE = ("Available", "Preparing")


@dataclass(slots=True)
class Charge:
    """One charge. `finished` once the central system has acknowledged its StopTransaction."""

    connector_id: int
    id_tag: str
    meter_start: int
    started_at: datetime
    transaction_id: int | None = None
    status: str = ""
    stopped_at: datetime | None = None
    meter_stop: int = 0
    finished: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "Local"
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Connector:
    status: str = "Available"
    meter_wh: float = 0.0
    charge: Charge | None = None
    operative: bool = True
    begun: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Message:
    """One transaction message; `make` is asked anew for each attempt, as it needs the transaction's id."""

    charge: Charge
    make: Callable[[], object]
    attempts: int = 0


def utc_text(moment: datetime) -> str:
    """As OCPP writes it: UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class SimulatedChargePoint:
    """`run` until cancelled; `charge` meanwhile. Times in seconds, power in W.

    Each stop carries `transaction_data` readings. `heard` is told of every answer.
    """

    def __init__(
        self,
        url: str,
        identity: str,
        password: str,
        *,
        connectors: int = 2,
        power: float = 11_000.0,
        meter_every: float = 3.0,
        remote_seconds: float = 12.0,
        patience: float = 10.0,
        longest_wait: float = 5.0,
        model: str = "Column 2",
        vendor: str = "ChargeSphere Demo",
        transaction_data: int = 0,
        heard: Heard | None = None,
    ) -> None:
        self.identity = identity
        self.connectors = {number: Connector() for number in range(1, connectors + 1)}
        self.charges: list[Charge] = []
        self.boots = self.resent = self.refusals = 0
        self.ready = asyncio.Event()
        self._url = f"{url.rstrip('/')}/{identity}"
        basic = base64.b64encode(f"{identity}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {basic}"}
        self._power, self._meter_every, self._remote_seconds = power, meter_every, remote_seconds
        self._patience, self._longest_wait = patience, longest_wait
        self._model, self._vendor = model, vendor
        self._transaction_data, self._heard = transaction_data, heard
        self._configuration = Configuration(connectors)
        self._queue: deque[_Message] = deque()
        self._news = asyncio.Event()
        self._link: Link | None = None
        self._heartbeat = 300.0
        self._booted = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the connection ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stay connected until cancelled; waits grow with each failure."""
        wait = 0.5
        try:
            while True:
                try:
                    await self._connected()
                    wait = 0.5
                except (OSError, InvalidHandshake, TimeoutError) as error:
                    if isinstance(error, InvalidStatus) and error.response.status_code in (401, 404):
                        self.refusals += 1
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))
                wait = min(wait * 2, self._longest_wait)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self) -> None:
        async with connect(
            self._url,
            additional_headers=self._headers,
            subprotocols=[Subprotocol("ocpp1.6")],
            compression=None,
            ping_interval=20,
            open_timeout=self._patience,
            close_timeout=2,
            proxy=None,
        ) as socket:
            link = Link(self, self.identity, socket, self._patience, self._heard)
            self._link = link
            works = [
                asyncio.create_task(work)
                for work in (self._open(link), self._send_queue(link), self._heartbeats(link))
            ]
            try:
                await link.serve()
            finally:
                self._link = None
                self.ready.clear()
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)

    async def _open(self, link: Link) -> None:
        """Boot where that is due, then tell the state of every connector."""
        with contextlib.suppress(OfflineError):
            while not self._booted:
                self._booted, wait = await self._boot(link)
                if not self._booted:
                    await asyncio.sleep(min(wait or 1, self._longest_wait))
            for number in (0, *self.connectors):
                await self._tell_status(number)
            self.ready.set()

    async def _boot(self, link: Link) -> tuple[bool, float]:
        request = call.BootNotification(
            charge_point_model=self._model,
            charge_point_vendor=self._vendor,
            charge_point_serial_number=self.identity[:25],
            firmware_version="1.0",
        )
        try:
            answer = await link.ask(request)
        except RefusedCallError:
            return False, 1.0
        interval = float(getattr(answer, "interval", 0))
        self.boots += 1
        if str(getattr(answer, "status", "")) != "Accepted":
            return False, interval
        self._heartbeat = interval or self._heartbeat
        return True, interval

    async def _heartbeats(self, link: Link) -> None:
        with contextlib.suppress(OfflineError):
            while True:
                await asyncio.sleep(self._heartbeat)
                with contextlib.suppress(RefusedCallError):
                    await link.ask(call.Heartbeat())

    async def _send_queue(self, link: Link) -> None:
        """Transaction messages in order; the first is sent again until it is answered."""
        await self.ready.wait()
        with contextlib.suppress(OfflineError):
            while True:
                while self._queue:
                    message = self._queue[0]
                    message.attempts += 1
                    self.resent += message.attempts > 1
                    try:
                        self._answered(message, await link.ask(message.make()))
                    except RefusedCallError:
                        await asyncio.sleep(min(0.5 * message.attempts, self._longest_wait))
                        continue
                    self._queue.popleft()
                self._news.clear()
                await self._news.wait()

    def _answered(self, message: _Message, answer: object) -> None:
        charge = message.charge
        transaction_id = getattr(answer, "transaction_id", None)
        if transaction_id is not None:
            charge.transaction_id, charge.status = int(transaction_id), tag_status(answer)
            if charge.status != "Accepted":
                charge.reason = "DeAuthorized"
                charge.stop.set()
        elif type(answer).__name__ == "StopTransaction":
            charge.finished = True
            charge.over.set()

    def _enqueue(self, charge: Charge, make: Callable[[], object]) -> None:
        self._queue.append(_Message(charge, make))
        self._news.set()

    async def disconnect(self) -> None:
        """Break the connection; it comes back by itself."""
        if self._link is not None:
            await self._link.close()

    async def _tell_status(self, number: int) -> None:
        """The state of a connector (0 = the whole charge point); nobody hears it while offline."""
        link = self._link
        if link is None:
            return
        status = "Available" if number == 0 else self.connectors[number].status
        request = call.StatusNotification(number, "NoError", status, timestamp=utc_text(datetime.now(UTC)))
        with contextlib.suppress(RefusedCallError):
            await link.ask(request)

    async def _become(self, number: int, status: str) -> None:
        self.connectors[number].status = status
        with contextlib.suppress(OfflineError):
            await self._tell_status(number)

    # -- charging ----------------------------------------------------------------------------------------------

    async def authorize(self, id_tag: str) -> str:
        """The status of the id tag. Raises Offline or Refused."""
        link = self._link
        if link is None:
            raise OfflineError
        return tag_status(await link.ask(call.Authorize(id_tag)))

    async def charge(self, connector_id: int, id_tag: str, seconds: float) -> Charge | None:
        """A driver comes, charges and leaves: the charge once it is acknowledged, None where it was refused.

        While there is no connection the driver charges all the same; the central system hears of it later.
        """
        connector = self.connectors[connector_id]
        if connector.charge is not None or connector.status not in FREE or not connector.operative:
            return None
        await self._become(connector_id, "Preparing")
        try:
            allowed = await self.authorize(id_tag)
        except OfflineError:
            allowed = "Accepted"
        except RefusedCallError:
            allowed = "Invalid"
        if allowed != "Accepted":
            await self._become(connector_id, "Available")
            return None
        return await self._charge(connector_id, id_tag, seconds)

    async def _charge(self, number: int, id_tag: str, seconds: float) -> Charge:
        connector = self.connectors[number]
        charge = Charge(number, id_tag, round(connector.meter_wh), datetime.now(UTC))
        connector.charge = charge
        connector.begun.set()
        self.charges.append(charge)
        started = utc_text(charge.started_at)
        self._enqueue(charge, lambda: call.StartTransaction(number, id_tag, charge.meter_start, started))
        await self._become(number, "Charging")
        await self._meter(number, connector, charge, seconds)
        charge.stopped_at, charge.meter_stop = datetime.now(UTC), round(connector.meter_wh)
        stopped, reason = utc_text(charge.stopped_at), charge.reason
        tag = id_tag if reason == "Local" else None
        data = self._readings(charge) or None
        self._enqueue(
            charge,
            lambda: call.StopTransaction(
                charge.meter_stop, stopped, _id_of(charge), reason=reason, id_tag=tag, transaction_data=data
            ),
        )
        connector.charge = None
        await self._become(number, "Finishing")
        await charge.over.wait()
        await self._become(number, "Available" if connector.operative else "Unavailable")
        return charge

    async def _meter(self, number: int, connector: Connector, charge: Charge, seconds: float) -> None:
        """Count energy and report it until the time is over or somebody ends the charge."""
        loop = asyncio.get_running_loop()
        last, end = loop.time(), loop.time() + seconds
        while not charge.stop.is_set() and last < end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._meter_every, end - last)):
                    await charge.stop.wait()
            now = loop.time()
            connector.meter_wh += self._power * (now - last) / 3600
            last = now
            self._report(number, connector, charge)

    def _readings(self, charge: Charge) -> list[dict[str, object]]:
        """The readings of a whole charge, evenly spread, as transactionData holds them."""
        count = self._transaction_data
        assert charge.stopped_at is not None
        lasted, energy = charge.stopped_at - charge.started_at, charge.meter_stop - charge.meter_start
        return [
            meter_value(
                charge.started_at + lasted * n / count, charge.meter_start + energy * n / count, self._power
            )
            for n in range(1, count + 1)
        ]

    def _report(self, number: int, connector: Connector, charge: Charge) -> None:
        reading = meter_value(datetime.now(UTC), connector.meter_wh, self._power)
        self._enqueue(charge, lambda: call.MeterValues(number, [reading], transaction_id=_id_of(charge)))

    # -- what the central system asks (`ocpp_link.Device`) -------------------------------------------------------

    def remote_start(self, id_tag: str, connector_id: int | None) -> str:
        numbers = [connector_id] if connector_id is not None else list(self.connectors)
        for number in numbers:
            connector = self.connectors.get(number)
            if connector and connector.operative and connector.charge is None and connector.status in FREE:
                connector.status = "Preparing"
                self._later(self._remote_charge(number, id_tag))
                return "Accepted"
        return "Rejected"

    async def _remote_charge(self, number: int, id_tag: str) -> None:
        """The start follows the answer; with AuthorizeRemoteTxRequests the tag is asked for first."""
        if self._configuration.flag("AuthorizeRemoteTxRequests"):
            await self.charge(number, id_tag, self._remote_seconds)
        else:
            await self._charge(number, id_tag, self._remote_seconds)

    def remote_stop(self, transaction_id: int) -> str:
        for connector in self.connectors.values():
            charge = connector.charge
            if charge is not None and charge.transaction_id == transaction_id:
                charge.reason = "Remote"
                charge.stop.set()
                return "Accepted"
        return "Rejected"

    def reset(self, kind: str) -> str:
        self._later(self._restart("HardReset" if kind == "Hard" else "SoftReset"))
        return "Accepted"

    async def _restart(self, reason: str) -> None:
        for connector in self.connectors.values():
            if connector.charge is not None:
                connector.charge.reason = reason
                connector.charge.stop.set()
        await asyncio.sleep(0.2)
        self._booted = False
        await self.disconnect()

    def trigger(self, message: str, connector_id: int | None) -> str:
        if connector_id is not None and connector_id not in self.connectors:
            return "Rejected"
        known = ("BootNotification", "Heartbeat", "MeterValues", "StatusNotification")
        return "Accepted" if message in known else "NotImplemented"

    def triggered(self, message: str, connector_id: int | None) -> None:
        self._later(self._triggered(message, connector_id))

    async def _triggered(self, message: str, connector_id: int | None) -> None:
        link = self._link
        if link is None or self.trigger(message, connector_id) != "Accepted":
            return
        numbers = [connector_id] if connector_id is not None else list(self.connectors)
        with contextlib.suppress(OfflineError, RefusedCallError):
            match message:
                case "BootNotification":
                    await self._boot(link)
                case "Heartbeat":
                    await link.ask(call.Heartbeat())
                case "StatusNotification":
                    for number in numbers if connector_id is not None else (0, *numbers):
                        await self._tell_status(number)
                case _:
                    for number in numbers:
                        connector = self.connectors[number]
                        charge = connector.charge
                        if charge is not None:
                            self._report(number, connector, charge)
                        else:
                            reading = meter_value(datetime.now(UTC), connector.meter_wh, 0)
                            await link.ask(call.MeterValues(number, [reading]))

    def configuration(self, keys: Sequence[str]) -> tuple[list[dict[str, object]], list[str]]:
        return self._configuration.read(keys)

    def configure(self, key: str, value: str) -> str:
        outcome = self._configuration.change(key, value)
        if outcome == "Accepted" and key.lower() == "meterValueSampleInterval".lower():
            self._meter_every = float(value) or self._meter_every
        elif outcome == "Accepted" and key.lower() == "heartbeatinterval":
            self._heartbeat = float(value) or self._heartbeat
        return outcome

    def unlock(self, connector_id: int) -> str:
        connector = self.connectors.get(connector_id)
        if connector is None:
            return "NotSupported"
        if connector.charge is not None:
            connector.charge.reason = "UnlockCommand"
            connector.charge.stop.set()
        return "Unlocked"

    def change_availability(self, connector_id: int, kind: str) -> str:
        if connector_id != 0 and connector_id not in self.connectors:
            return "Rejected"
        numbers = [connector_id] if connector_id else list(self.connectors)
        scheduled = False
        for number in numbers:
            connector = self.connectors[number]
            connector.operative = kind == "Operative"
            if connector.charge is None and connector.status in ("Available", "Unavailable"):
                self._later(self._become(number, "Available" if connector.operative else "Unavailable"))
            else:
                scheduled = True
        return "Scheduled" if scheduled else "Accepted"

    def clear_cache(self) -> str:
        return "Accepted"

    def _later(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def meter_value(at: datetime, energy_wh: float, power_w: float) -> dict[str, object]:
    """One reading as the `ocpp` package takes it: the energy register in Wh and the power in W."""
    return {
        "timestamp": utc_text(at),
        "sampled_value": [
            {"value": f"{energy_wh:.1f}", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
            {"value": f"{power_w:.0f}", "measurand": "Power.Active.Import", "unit": "W"},
        ],
    }


def _id_of(charge: Charge) -> int:
    """Known by then, as the start stands before it in the queue; -1 is what devices send otherwise (START-5)."""
    return -1 if charge.transaction_id is None else charge.transaction_id
