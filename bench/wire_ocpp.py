"""OCPP on the wire, side by side: this product, the `ocpp` package, and bare msgspec that checks nothing.

`python -m bench.wire_ocpp [--seconds S]` prints microseconds for one message: a CALL frame read and judged, and its
CALLRESULT frame written. Four routes do the same in one process, in turns, so that a busy machine hurts all alike:

- package: `ocpp` as shipped (its schemas checked in a thread, keys renamed both ways, answer checked and packed);
- in line: the same with `ASYNC_VALIDATION` off;
- bare: msgspec to plain values and back, no check of anything;
- ours: frame, strict types, answer checked and written.

`--agree N` compares accept and refuse with the schemas over N payloads for each request and each confirmation.
`--fuzz N` feeds N random and broken frames: only values may come back, in less than 5 ms for each KB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from statistics import median
from typing import Final

import msgspec
import ocpp.messages
from ocpp.charge_point import camel_to_snake_case, remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.v16 import call_result
from ocpp.v16.datatypes import IdTagInfo as PackageIdTagInfo

from bench.ocpp_bodies import bodies
from bench.ocpp_payloads import judge, payloads
from protocols.ocpp.actions import Direction
from protocols.ocpp.frames import Call, CallResult, encode_result, parse
from protocols.ocpp.message import Confirmation, Decoded, Mode, WireError
from protocols.ocpp.v16 import DIRECTIONS, REQUESTS
from protocols.ocpp.v16.codec import decode_confirmation, decode_request, encode
from protocols.ocpp.v16.enums import AuthorizationStatus, RegistrationStatus
from protocols.ocpp.v16.messages import core
from protocols.ocpp.v16.messages.parts import IdTagInfo

A_DAY: Final = {
    "BootNotification": 1,
    "Heartbeat": 96,
    "Authorize": 4,
    "StartTransaction": 4,
    "StatusNotification": 24,
    "MeterValues, 8 samples": 240,
    "StopTransaction, 80 samples": 4,
}
"""A charge point's day: a heartbeat each quarter of an hour, four charges of an hour, samples by the minute."""

NOW: Final = datetime(2026, 3, 2, 9, 17, 13, 250000, tzinfo=UTC)
NOW_TEXT: Final = "2026-03-02T09:17:13.250Z"


class Row(msgspec.Struct, frozen=True):
    """Microseconds for one message by each route (medians)."""

    message: str
    frame_bytes: int
    package: float
    in_line: float
    bare: float
    ours: float

    @property
    def faster_than_package(self) -> float:
        """How many times faster than the `ocpp` package as shipped. Aim: at least 50."""
        return self.package / self.ours

    @property
    def times_bare(self) -> float:
        """How many times the cost of msgspec without any check. Aim: at most 2."""
        return self.ours / self.bare


class Case(msgspec.Struct, frozen=True):
    """A request as a frame, and its answer as each route builds it."""

    name: str
    frame: bytes
    ours: Callable[[], Confirmation]
    package: Callable[[], object]
    bare: Callable[[], dict[str, object]]


def samples(count: int) -> list[dict[str, str]]:
    """Samples as a charge point with three phases sends them."""
    measurands = ("Energy.Active.Import.Register", "Power.Active.Import", "Current.Import", "Voltage")
    units = ("Wh", "W", "A", "V")
    return [
        {
            "value": f"{1234.5 + n}",
            "context": "Sample.Periodic",
            "format": "Raw",
            "measurand": measurands[n % 4],
            "phase": f"L{n % 3 + 1}",
            "location": "Outlet",
            "unit": units[n % 4],
        }
        for n in range(count)
    ]


def cases() -> list[Case]:
    """The messages that make up the load of a central system."""

    def frame(action: str, payload: object) -> bytes:
        return json.dumps([2, "19223201", action, payload], separators=(",", ":")).encode()

    def info() -> IdTagInfo:
        return IdTagInfo(status=AuthorizationStatus.ACCEPTED, parent_id_tag="FLEET")

    package_info = PackageIdTagInfo(status="Accepted", parent_id_tag="FLEET")
    bare_info = {"status": "Accepted", "parentIdTag": "FLEET"}
    reading = {"timestamp": NOW_TEXT, "sampledValue": samples(8)}
    return [
        Case(
            "BootNotification",
            frame(
                "BootNotification",
                {
                    "chargePointVendor": "VendorX",
                    "chargePointModel": "SingleSocket",
                    "chargePointSerialNumber": "CP-001-2345",
                    "chargeBoxSerialNumber": "CB-001-2345",
                    "firmwareVersion": "1.2.3-rc4",
                    "iccid": "8931080000000000000",
                    "imsi": "204080000000000",
                    "meterType": "DCM",
                    "meterSerialNumber": "M-001",
                },
            ),
            lambda: core.BootNotificationConfirmation(
                status=RegistrationStatus.ACCEPTED, current_time=NOW, interval=300
            ),
            lambda: call_result.BootNotification(NOW_TEXT, 300, "Accepted"),
            lambda: {"status": "Accepted", "currentTime": NOW, "interval": 300},
        ),
        Case(
            "Heartbeat",
            frame("Heartbeat", {}),
            lambda: core.HeartbeatConfirmation(current_time=NOW),
            lambda: call_result.Heartbeat(NOW_TEXT),
            lambda: {"currentTime": NOW},
        ),
        Case(
            "Authorize",
            frame("Authorize", {"idTag": "04E91C5A123456"}),
            lambda: core.AuthorizeConfirmation(id_tag_info=info()),
            lambda: call_result.Authorize(package_info),
            lambda: {"idTagInfo": bare_info},
        ),
        Case(
            "StartTransaction",
            frame(
                "StartTransaction",
                {"connectorId": 1, "idTag": "04E91C5A123456", "meterStart": 10_000, "timestamp": NOW_TEXT},
            ),
            lambda: core.StartTransactionConfirmation(id_tag_info=info(), transaction_id=4711),
            lambda: call_result.StartTransaction(4711, package_info),
            lambda: {"idTagInfo": bare_info, "transactionId": 4711},
        ),
        Case(
            "StatusNotification",
            frame(
                "StatusNotification",
                {"connectorId": 1, "errorCode": "NoError", "status": "Charging", "timestamp": NOW_TEXT},
            ),
            lambda: core.StatusNotificationConfirmation(),
            lambda: call_result.StatusNotification(),
            dict,
        ),
        Case(
            "MeterValues, 8 samples",
            frame("MeterValues", {"connectorId": 1, "transactionId": 4711, "meterValue": [reading]}),
            lambda: core.MeterValuesConfirmation(),
            lambda: call_result.MeterValues(),
            dict,
        ),
        Case(
            "StopTransaction, 80 samples",
            frame(
                "StopTransaction",
                {
                    "transactionId": 4711,
                    "idTag": "04E91C5A123456",
                    "meterStop": 34_000,
                    "timestamp": NOW_TEXT,
                    "reason": "EVDisconnected",
                    "transactionData": [reading] * 10,
                },
            ),
            lambda: core.StopTransactionConfirmation(id_tag_info=info()),
            lambda: call_result.StopTransaction(package_info),
            lambda: {"idTagInfo": bare_info},
        ),
    ]


def by_us(case: Case) -> bytes:
    """Our route."""
    call = parse(case.frame)
    assert isinstance(call, Call)
    decoded = decode_request(call.action, call.payload)
    assert isinstance(decoded, Decoded)
    return encode_result(call.id, encode(case.ours()))


def by_msgspec(case: Case) -> bytes:
    """Plain values and back, unchecked."""
    call = msgspec.json.decode(case.frame)
    return msgspec.json.encode([3, call[1], case.bare()])


async def by_package(case: Case) -> str:
    """What `ocpp.charge_point.ChargePoint` does to a call, without its handlers, its logging and its socket."""
    call = ocpp.messages.unpack(case.frame)
    await ocpp.messages.validate_payload(call, "1.6")
    camel_to_snake_case(call.payload)
    answer = remove_nones(snake_to_camel_case(serialize_as_dict(case.package())))
    result = call.create_call_result(answer)
    await ocpp.messages.validate_payload(result, "1.6")
    packed: str = ocpp.messages.pack(result)
    return packed


def run(seconds: float) -> list[Row]:
    """Measure for about `seconds` in all. The routes take turns of a few milliseconds."""
    return asyncio.run(_measure(seconds))


async def _measure(seconds: float) -> list[Row]:
    found, as_shipped = cases(), ocpp.messages.ASYNC_VALIDATION
    try:
        rows = [await _row(case, seconds / len(found)) for case in found]
    finally:
        ocpp.messages.ASYNC_VALIDATION = as_shipped
    return [*rows, _mean(rows)]


def _mean(rows: list[Row]) -> Row:
    """The mean message of `A_DAY`."""
    count = sum(A_DAY.values())

    def mean(value: Callable[[Row], float]) -> float:
        return sum(value(row) * A_DAY[row.message] for row in rows) / count

    return Row(
        "mean of a day",
        round(mean(lambda row: row.frame_bytes)),
        package=mean(lambda row: row.package),
        in_line=mean(lambda row: row.in_line),
        bare=mean(lambda row: row.bare),
        ours=mean(lambda row: row.ours),
    )


async def _row(case: Case, seconds: float) -> Row:
    spent: dict[str, list[float]] = {"package": [], "in_line": [], "bare": [], "ours": []}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not spent["ours"]:
        spent["bare"].append(_turn(by_msgspec, case, 200))
        spent["ours"].append(_turn(by_us, case, 200))
        for name, in_thread in (("package", True), ("in_line", False)):
            ocpp.messages.ASYNC_VALIDATION = in_thread
            began = time.perf_counter()
            for _ in range(10):
                await by_package(case)
            spent[name].append((time.perf_counter() - began) / 10 * 1e6)
    return Row(case.name, len(case.frame), **{name: median(times) for name, times in spent.items()})


def _turn(route: Callable[[Case], bytes], case: Case, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        route(case)
    return (time.perf_counter() - began) / count * 1e6


def table(rows: list[Row]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield "| message | frame, bytes | package, µs | in line, µs | bare, µs | ours, µs | faster | × bare |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        yield (
            f"| {row.message} | {row.frame_bytes} | {row.package:.0f} | {row.in_line:.0f} | {row.bare:.2f} "
            f"| {row.ours:.2f} | {row.faster_than_package:.0f} | {row.times_bare:.2f} |"
        )


class Agreement(msgspec.Struct):
    """What a run of `agree` found."""

    payloads: int = 0
    accepted: int = 0
    differences: list[tuple[str, bytes]] = []


def agree(count: int, seed: int = 1) -> Agreement:
    """Compare strict reading with the corrected schemas over `count` payloads for each request and confirmation."""
    found = Agreement()
    for action in sorted(REQUESTS):
        for name in (action, f"{action}Response"):
            fits = judge(name)
            for payload in islice(payloads(name, seed), count):
                wanted = fits(payload)
                found.payloads += 1
                found.accepted += wanted
                if isinstance(_decode(name, payload, Mode.STRICT), Decoded) is not wanted:
                    found.differences.append((name, payload))
    return found


def _decode(name: str, payload: bytes | msgspec.Raw, mode: Mode) -> object:
    action = name.removesuffix("Response")
    if name != action:
        return decode_confirmation(action, payload, mode=mode)
    sender = Direction.FROM_CHARGE_POINT
    if not DIRECTIONS[action].allows(sender):
        sender = Direction.FROM_CENTRAL_SYSTEM
    return decode_request(action, payload, mode=mode, sender=sender)


class Fuzzed(msgspec.Struct):
    """What a run of `fuzz` found. `slowest` is in milliseconds for each KB (at least one KB is counted)."""

    frames: int = 0
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    slowest: float = 0.0


def fuzz(count: int, seed: int = 1) -> Fuzzed:
    """Feed `count` frames. An exception of any kind ends the run: none may leave the code under test."""
    found = Fuzzed()
    for action, frame in islice(bodies(seed), count):
        began = time.process_time()
        outcome = parse(frame)
        said = [type(outcome).__name__]
        if isinstance(outcome, Call | CallResult):
            name = action if isinstance(outcome, Call) else f"{action}Response"
            for mode in Mode:
                judged = _decode(name, outcome.payload, mode)
                if isinstance(judged, WireError):
                    assert judged.path.startswith("$")
                    said.append(f"{mode.value}: {judged.code.value}")
                else:
                    said.append(f"{mode.value}: accepted")
        spent = (time.process_time() - began) * 1000
        found.frames += 1
        found.outcomes.update(said)
        found.slowest = max(found.slowest, spent / max(1.0, len(frame) / 1024))
    return found


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.wire_ocpp")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--agree", type=int, metavar="N")
    parser.add_argument("--fuzz", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.agree is not None:
        agreement = agree(chosen.agree, chosen.seed)
        for name, payload in agreement.differences[:20]:
            print(name, payload)
        print(
            f"{agreement.payloads:,} payloads, {agreement.accepted:,} accepted, "
            f"{len(agreement.differences)} judged otherwise than by the schema"
        )
        return 1 if agreement.differences else 0
    if chosen.fuzz is not None:
        fuzzed = fuzz(chosen.fuzz, chosen.seed)
        for outcome, times in fuzzed.outcomes.most_common():
            print(f"{times:>10,}  {outcome}")
        print(f"{fuzzed.frames:,} frames, no exception, slowest {fuzzed.slowest:.2f} ms for each KB")
        return 1 if fuzzed.slowest > 5 else 0
    for line in table(run(chosen.seconds)):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
