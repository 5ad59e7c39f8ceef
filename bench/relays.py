"""What one relay of meter values costs a session that has charged for long: ``python -m bench.relays [ROUNDS]``.

Prints the CPU time of a decision, that of the copy of its state which the decider takes before it, and the bytes of
the state and of the event. Times are the mean of a round of 20, the best of so many rounds.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from bench.pricing import the_tariff
from commands.base import Meta
from commands.session import ROUTES, RecordUsage, StartSession
from domain.pricing import to_json
from domain.session import Session
from domain.values import Authorization, PartyId, RegisterSample, Settings, Site, TagRef, plain_json

LENGTHS = (60, 960, 2880)
ROUND = 20
EVERY = timedelta(seconds=30)
START = datetime(2024, 6, 3, 0, 0, 10, tzinfo=UTC)


class Relayed(NamedTuple):
    """Milliseconds and bytes."""

    decision_ms: float
    copy_ms: float
    state: int
    event: int


def sample(number: int) -> RegisterSample:
    """11 kW for an hour, then 22 kW for an hour, by turns."""
    hours, rest = divmod(number, 240)
    wh = hours * 33_000 + (92 * rest if rest < 120 else 11_040 + 183 * (rest - 120))
    watts = Decimal(11_000 if rest < 120 else 22_000)
    return RegisterSample(at=START + number * EVERY, energy_wh=Decimal(wh), power_w=watts)


def relay(samples: tuple[RegisterSample, ...]) -> RecordUsage:
    """The command that brings them."""
    return RecordUsage(session_id="s1", samples=samples)


def measured(length: int, rounds: int) -> Relayed:
    """One sample a relay, after so many samples."""
    session = Session.blank("session|s1")
    begin = StartSession(
        session_id="s1",
        tenant="demo",
        charge_point_id="CP1",
        connector_id=1,
        transaction_id=1,
        evse_uid="E1",
        site=Site(id="L1", name="L", time_zone="Europe/Berlin"),
        id_tag=TagRef(key="k"),
        authorization=Authorization(status="Accepted", source="stored", as_of=START),
        status="Accepted",
        start=START,
        meter_start=0,
        settings=Settings(party=PartyId(country_code="DE", party_id="DMO")),
        tariffs=(plain_json(to_json(the_tariff())),),
    )
    meta = Meta(command_id="x", at=START)
    ROUTES[StartSession].handler(session, begin, meta)
    for first in range(1, length + 1, 60):
        command = relay(tuple(sample(number) for number in range(first, min(first + 60, length + 1))))
        ROUTES[RecordUsage].handler(session, command, meta)
    session.collect_events()
    decision_ms, copy_ms, state, event = [], [], b"", b""
    for first in range(length + 1, length + rounds * ROUND + 1, ROUND):
        commands = [relay((sample(number),)) for number in range(first, first + ROUND)]
        begun = time.process_time()
        for command in commands:
            ROUTES[RecordUsage].handler(session, command, meta)
            [event] = [msgspec.json.encode(one) for one in session.collect_events()]
        decided = time.process_time()
        for _ in commands:
            state = msgspec.json.encode(session.state)
        copied = time.process_time()
        decision_ms.append(1000 * (decided - begun) / ROUND)
        copy_ms.append(1000 * (copied - decided) / ROUND)
    return Relayed(min(decision_ms), min(copy_ms), len(state), len(event))


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print("samples before  decision, ms  copy of the state, ms  state, bytes  event, bytes")
    for length in LENGTHS:
        one = measured(length, rounds)
        print(f"{length:14,}{one.decision_ms:14.2f}{one.copy_ms:23.2f}{one.state:14,}{one.event:14,}")


if __name__ == "__main__":
    main()
