"""What one charge leaves in a decider and in Faust once it is over: ``python -m bench.leftovers``.

A charge of 60 relayed readings by remote start, its session and CDR delivered to a partner. Prints, for each of its
aggregates, the bytes of its stored state while the charge runs and once all has ended, and those of its row in
Faust's table; what a process sends follows from the policies, as it does in a running system.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bench.pricing import the_tariff
from chargesphere import registry
from commands.base import Area, Command, Meta
from commands.delivery import ReportAttempt, Want
from commands.processes import POLICIES
from commands.remote_command import Conclude, MarkSent, NoteSession, RequestRemoteCommand
from commands.session import EndSession, RecordConnector, RecordUsage, StartSession
from domain.aggregate import Event
from domain.delivery import AttemptDue
from domain.intents import RemoteStart
from domain.pricing import to_json
from domain.session import CdrIssued, End
from domain.values import Authorization, PartyId, RegisterSample, Settings, Site, TagRef, plain_json
from projections.store.sqlite import SqliteReadStore
from streams.deciding.partition import Partition
from streams.faust.rows import Change, RowProjector
from streams.log import Stored
from streams.log.envelope import CommandRecord, ReplyTo, decode_events, encode, raw

START = datetime(2024, 6, 3, 8, 0, 10, tzinfo=UTC)
SESSION = "0190b1c2-7d3e-7f4a-8b5c-6d7e8f901234"
POINT = "charge_point|demo|DE-DMO-CP0001"
EMSP = PartyId(country_code="NL", party_id="MSP")
READINGS = 60


class Deciding:
    """One partition for each area, and whatever follows from each event, at once."""

    def __init__(self) -> None:
        self.partitions: dict[Area, Partition] = {}
        self.changes: list[Change] = []
        self._offset = 0

    def decide(self, command: Command, id: str, at: datetime, *, asked: bool = False) -> None:
        """The command, and all that it leads to."""
        todo = deque([(command, id)])
        while todo:
            one, name = todo.popleft()
            meta = Meta(command_id=name, at=at, tenant="demo")
            for event in self._decided(one, meta, asked=asked and one is command):
                todo.extend(_following(event, meta))

    def _decided(self, command: Command, meta: Meta, *, asked: bool) -> Sequence[Event]:
        partition = self.partitions.setdefault(command.area, Partition(registry.RULES))
        value = CommandRecord(
            aggregate=command.aggregate_id,
            meta=meta,
            reply_to=ReplyTo(1, "boot", 1) if asked else None,
            command=raw(command),
        )
        self._offset += 1
        stored = Stored("commands", 0, self._offset, int(meta.at.timestamp() * 1000), b"", encode(value))
        decision = partition.decide(stored, meta.at)
        assert decision is not None
        events = decode_events(decision, registry.EVENTS)
        self.changes.extend(Change(event, meta) for event in events)
        return events

    def stored(self) -> dict[str, bytes]:
        """The state of each aggregate, as a checkpoint writes it."""
        ids = dict.fromkeys(change.event.originator_id for change in self.changes)
        found = {}
        for id in ids:
            for partition in self.partitions.values():
                data = partition.states.frozen(id, 1_000)
                if data is not None:
                    found[id] = data
        return found


def _following(event: Event, meta: Meta) -> list[tuple[Command, str]]:
    if isinstance(event, AttemptDue):
        report = ReportAttempt(
            to=event.to,
            module=event.module,
            object_id=event.object_id,
            attempt=event.attempt,
            begun=event.originator_version,
            outcome="delivered",
            sent=event.wanted,
            http_status=201,
            remote_url=f"https://emsp.example/ocpi/{event.module}/{event.object_id}",
        )
        return [(report, f"report|{event.originator_id}|{event.originator_version}")]
    if isinstance(event, CdrIssued):
        want = Want(
            to=EMSP,
            module="cdrs",
            object_id=event.cdr_id,
            tenant="demo",
            version=event.originator_version,
            partition=0,
            offset=1,
        )
        return [(want, f"pushes|{event.cdr_id}|{event.originator_version}")]
    return [
        (command, f"{name}|{event.originator_id}|{event.originator_version}|{step}")
        for name, policy in POLICIES.get(type(event), ())
        for step, command in enumerate(policy(event, meta))
        if command.area in (Area.SESSION, Area.DELIVERY)
    ]


def charge(deciding: Deciding) -> dict[str, bytes]:
    """Decides the whole of it; returns what is stored just before its end."""
    who: dict[str, Any] = {"tenant": "demo", "command_id": "0190b1c2-0000-7000-8000-000000000001"}
    at = START
    number = iter(range(1, 1000))

    def from_charge_point(command: Command, process: str = "charging_session") -> None:
        deciding.decide(command, f"{process}|{POINT}|{next(number)}|0", at)

    request = RequestRemoteCommand(
        **who,
        charge_point_id="DE-DMO-CP0001",
        command_type="remote_start",
        intent=RemoteStart(id_tag="s1.k.c2VhbGVk"),
        fingerprint="5f2b8c1d9e3a7f60",
        by="operator:ann",
        expires_at=at + timedelta(minutes=2),
    )
    deciding.decide(request, f"remote|demo|{who['command_id']}|5f2b8c1d9e3a7f60", at, asked=True)
    from_charge_point(MarkSent(**who, answer_by=at + timedelta(seconds=30)), "remote_command")
    from_charge_point(Conclude(**who, status="accepted", reason="Accepted"), "remote_command")
    from_charge_point(starting())
    from_charge_point(NoteSession(**who, session_id=SESSION), "remote_command")
    from_charge_point(RecordConnector(session_id=SESSION, at=at, status="Charging"))
    for count in range(1, READINGS + 1):
        at = START + timedelta(minutes=count)
        sample = RegisterSample(at=at, energy_wh=Decimal(1_000 + 183 * count), power_w=Decimal(11_000))
        from_charge_point(RecordUsage(session_id=SESSION, samples=(sample,)))
    from_charge_point(RecordConnector(session_id=SESSION, at=at, status="SuspendedEV"))
    running = deciding.stored()
    at += timedelta(minutes=1)
    end = End(at=at, meter_stop=1_000 + 183 * READINGS)
    from_charge_point(EndSession(session_id=SESSION, end=end))
    return running


def starting() -> StartSession:
    return StartSession(
        session_id=SESSION,
        tenant="demo",
        charge_point_id="DE-DMO-CP0001",
        connector_id=1,
        transaction_id=4711,
        evse_uid="DE-DMO-CP0001-1",
        evse_id="DE*DMO*E0001",
        site=Site(
            id="L1",
            name="Depot",
            address="Weg 1",
            city="Berlin",
            country="DEU",
            time_zone="Europe/Berlin",
        ),
        id_tag=TagRef(key="0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
        authorization=Authorization(
            status="Accepted",
            source="stored",
            as_of=START,
            owner=EMSP,
            holder="msp",
            cdr_token="s1.0f1e2d3c.c2VhbGVkIHRva2Vu",
            auth_method="COMMAND",
        ),
        status="Accepted",
        start=START,
        meter_start=1_000,
        settings=Settings(party=PartyId(country_code="DE", party_id="DMO")),
        tariffs=(plain_json(to_json(the_tariff())),),
    )


async def rows(changes: Sequence[Change]) -> dict[str, bytes]:
    """Of Faust's table, after all of these."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteReadStore(Path(folder))
        try:
            projector = RowProjector(store, registry.FAUST_VIEWS)
            wanted = [change for change in changes if change.event.originator_id.startswith("session|")]
            found = (await projector.project(wanted, lambda _: None)).rows
            return {id: row for id, row in found.items() if row is not None}
        finally:
            await store.close()


def main() -> None:
    """Print the table."""
    deciding = Deciding()
    running = charge(deciding)
    over = deciding.stored()
    faust = asyncio.run(rows(deciding.changes))
    print("bytes stored of                 while it runs  once it is over  of these, its state  Faust's row")
    total = [0, 0, 0, 0]
    for id, data in over.items():
        kind, _, name = id.partition("|")
        state = len(encode(msgspec.json.decode(data)["state"]))
        line = [len(running.get(id, b"")), len(data), state, len(faust.get(id, b""))]
        total = [a + b for a, b in zip(total, line, strict=True)]
        what = f"{kind} {name.split('|')[1]}" if kind == "delivery" else kind
        print(f"{what:32}{line[0]:13,}{line[1]:17,}{line[2]:21,}{line[3]:13,}")
    print(f"{'all':32}{total[0]:13,}{total[1]:17,}{total[2]:21,}{total[3]:13,}")


if __name__ == "__main__":
    main()
