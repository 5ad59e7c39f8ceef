"""The load generator against a central system of a few lines: the mix, the clock, and what it calls an error."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.clients import CYCLE, MIX, CallOutcome, Fleet, Share
from bench.closed import bare_server
from bench.sockets import HandshakeRefusedError, Socket, open_socket
from tests.demo.fakes import CentralSystem


@pytest.fixture
async def system() -> AsyncIterator[CentralSystem]:
    system = CentralSystem()
    system.passwords = {}
    async with system.serving():
        yield system


def share(system: CentralSystem, count: int = 10, charging: float = 0.5) -> Share:
    url = system.url.removesuffix("/ocpp/demo")
    return Share((url,), "demo", "B", 0, count, charging, ("T0", "T1"), 500.0, 1)


async def drive(fleet: Fleet, rate: float, seconds: float) -> CallOutcome:
    return await fleet.run(rate, asyncio.get_running_loop().time(), 0.0, seconds)


async def test_a_hundred_messages_hold_two_whole_charges() -> None:
    assert Counter(MIX) == {"MeterValues": 60, "Heartbeat": 26, "charge": 14}


async def test_every_message_is_sent_answered_and_counted(system: CentralSystem) -> None:
    system.open = True
    fleet = Fleet(share(system))
    await asyncio.wait_for(fleet.connect(), 10)
    outcome = await asyncio.wait_for(drive(fleet, 200, 1.0), 20)
    await fleet.close()

    counted = {action: len(array("d", data)) for action, data in outcome.seconds.items()}
    assert outcome.sent == 200 and outcome.errors == {} and outcome.late == 0
    assert sum(counted.values()) >= 195
    assert {"Heartbeat", "MeterValues", "Authorize", "StartTransaction", "StopTransaction"} <= set(counted)
    stops = system.of("StopTransaction")
    assert len({stop["transactionId"] for stop in stops}) == len(stops), "no charge is stopped twice"
    assert all("transactionId" in meter for meter in system.of("MeterValues"))


async def test_in_a_closed_loop_each_message_follows_on_the_answer_before_it(system: CentralSystem) -> None:
    """Two charge points, each in charges of twelve messages, one of which is out at a time."""
    system.open = True
    fleet = Fleet(share(system, count=2, charging=0.0))
    await asyncio.wait_for(fleet.connect(), 10)
    begin = asyncio.get_running_loop().time()
    outcome = await asyncio.wait_for(fleet.closed(begin, 0.0, 1.0), 20)
    await fleet.close()

    assert outcome.errors == {} and outcome.late == 0
    counted = {action: len(array("d", data)) for action, data in outcome.seconds.items()}
    assert counted["StopTransaction"] > 0
    of_a_charge = Counter(action for action, _ in CYCLE)
    begun = [Counter(action for action, _ in CYCLE[:answered]) for answered in range(len(CYCLE))]
    possible = []
    for one, other in itertools.product(begun, repeat=2):
        charges = (sum(counted.values()) - one.total() - other.total()) / len(CYCLE)
        possible.append(
            {action: n * charges + one[action] + other[action] for action, n in of_a_charge.items()}
        )
    assert counted in possible, "whole charges, and of each charge point the first messages of one more"
    meters: list[Any] = system.of("MeterValues")
    assert all(len(meter["meterValue"][0]["sampledValue"]) == 4 for meter in meters)


async def test_a_bare_server_answers_a_whole_charge() -> None:
    with bare_server() as url:
        fleet = Fleet(Share((url,), "demo", "B", 0, 1, 0.0, ("T0",), 500.0, 1))
        await asyncio.wait_for(fleet.connect(), 10)
        outcome = await asyncio.wait_for(fleet.closed(asyncio.get_running_loop().time(), 0.0, 0.5), 20)
        await fleet.close()

    assert outcome.errors == {} and outcome.answered > len(CYCLE)


async def test_a_slow_answer_delays_what_is_due_after_it_and_is_counted_so(system: CentralSystem) -> None:
    """No coordinated omission: one answer of 0.5 s shows in every message that was due meanwhile."""
    system.open = True
    fleet = Fleet(share(system, count=1, charging=0.0))
    await asyncio.wait_for(fleet.connect(), 10)
    system.slow_once = 0.5
    outcome = await asyncio.wait_for(drive(fleet, 20, 1.0), 20)
    await fleet.close()

    seconds = [value for data in outcome.seconds.values() for value in array("d", data)]
    assert outcome.sent == 20
    assert sum(value > 0.1 for value in seconds) >= 6


async def test_a_lost_connection_is_an_error_and_comes_back(system: CentralSystem) -> None:
    system.open = True
    fleet = Fleet(share(system, count=1, charging=0.0))
    await asyncio.wait_for(fleet.connect(), 10)
    await system.until(lambda: len(system.of("BootNotification")) == 1)
    await system.drop()
    await system.until(lambda: len(system.of("BootNotification")) == 2)
    await fleet.close()

    assert fleet.disconnects == 1


async def test_who_is_refused_comes_back_when_it_is_told_to_until_it_is_taken(system: CentralSystem) -> None:
    system.open = True
    refusals = iter((HandshakeRefusedError(503, 0.3), HandshakeRefusedError(503, 0.2)))
    loop = asyncio.get_running_loop()
    tried: list[float] = []

    async def grudging(*args: Any, **options: Any) -> Socket:
        tried.append(loop.time())
        refusal = next(refusals, None)
        if refusal is not None:
            raise refusal
        return await open_socket(*args, **options)

    fleet = Fleet(share(system, count=1, charging=0.0), grudging)
    await asyncio.wait_for(fleet.connect(), 10)
    await fleet.close()

    assert fleet.refusals == {"HTTP 503": 2}
    assert tried[1] - tried[0] >= 0.3 and tried[2] - tried[1] >= 0.2


async def test_a_refused_handshake_says_its_status(system: CentralSystem) -> None:
    with pytest.raises(HandshakeRefusedError, match="401"):
        await open_socket(f"{system.url}/B1", lambda _: None, lambda: None)
