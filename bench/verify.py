"""After the kills: the log read from its beginning, and held against what charge points were answered.

What enters: a log and a store that nobody writes to any more, and what witnesses heard. What leaves: problems, each
one line, and counts. It reads only.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench.options import TENANT
from bench.witness import Heard, Witness
from chargesphere import registry
from chargesphere.demo.ocpp_link import tag_status
from commands.base import Area
from projections.store import HUB, Document, Query, ReadStore, every
from projections.store.sqlite import SqliteReadStore
from streams.following.parking import Parking
from streams.following.replay import facts, facts_of, places, readings_places
from streams.log import Log, TopicPartition
from streams.log.envelope import Decision, decode_command
from streams.log.ranges import stretch
from streams.log.topology import commands_topic
from streams.projecting.projector import Projector
from streams.projecting.rebuild import Rebuild

COLLECTIONS = sorted(
    {view.collection for view in registry.VIEWS} | {"samples", "credentials", "stories", "audit"}
)


@dataclass
class Findings:
    """`problems` is empty where every promise was kept."""

    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def problem(self, kind: str, text: str) -> None:
        self.counts[f"problems: {kind}"] += 1
        if self.counts[f"problems: {kind}"] <= 5:
            self.problems.append(f"{kind}: {text}")


@dataclass
class History:
    """What stands in the log: admitted decisions by command id, the first of each, every command by its id, and the
    readings beside the events as whose they are with the reading."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    commands: dict[str, tuple[str, msgspec.Raw]] = field(default_factory=dict)
    readings: list[tuple[str, msgspec.Raw]] = field(default_factory=list)
    largest: int = 0


async def read_history(log: Log, found: Findings) -> History:
    """Every command has its decision, and no command id two."""
    history = History()
    for area in Area:
        for place in places(log, [area]):
            decided: set[int] = set()
            async with contextlib.aclosing(facts(log, place)) as batches:
                async for batch in batches:
                    for fact in batch:
                        decided.add(fact.decision.command_offset)
                        _remember(history, fact.decision, found)
                        size = sum(len(bytes(event)) for event in fact.decision.events)
                        history.largest = max(history.largest, size)
            source = TopicPartition(commands_topic(area), place.partition)
            async with contextlib.aclosing(stretch(log, source)) as commands:
                async for stored_batch in commands:
                    for stored in stored_batch:
                        record = decode_command(stored)
                        found.counts["commands in the log"] += 1
                        history.commands.setdefault(
                            record.meta.command_id, (record.aggregate, record.command)
                        )
                        if stored.offset not in decided:
                            text = (
                                f"{source.topic}[{source.partition}]@{stored.offset} {record.meta.command_id}"
                            )
                            found.problem("a command without a decision", text)
    async with contextlib.aclosing(facts_of(log, readings_places(log, Area))) as batches:
        async for batch in batches:
            history.readings += [(fact.aggregate, fact.decision.events[0]) for fact in batch]
    found.counts["readings beside the events"] = len(history.readings)
    found.counts["decisions in the log"] = len(history.decisions)
    found.counts["largest decision, bytes"] = history.largest
    return history


def _remember(history: History, decision: Decision, found: Findings) -> None:
    id = decision.meta.command_id
    known = history.decisions.get(id)
    if known is None:
        history.decisions[id] = decision
    elif decision.command in registry.RULES.recognised:
        # Known again by what it says: it may be answered otherwise, and has its effect once.
        if known.events and decision.events:
            found.problem("two decisions with an effect", id)
    elif known.reply.result != decision.reply.result or known.reply.refusal != decision.reply.refusal:
        found.problem("two decisions that differ", id)
    elif decision.events:
        found.problem("one command decided twice", id)


def check_answers(heard: Sequence[Heard], history: History, found: Findings) -> None:
    """Every answer that followed from a decision says what the decision in the log says."""
    starts: dict[tuple[str, int, str, int], Decision] = {}
    stops: dict[tuple[str, int, str, int], Decision] = {}
    for id, decision in history.decisions.items():
        parts = id.split("|")
        if parts[0] == "start" and parts[1] == TENANT:
            starts[parts[2], int(parts[3]), parts[5], int(parts[6])] = decision
        elif parts[0] == "stop" and parts[1] == TENANT:
            stops[parts[2], int(parts[3]), parts[4], int(parts[5])] = decision
    noted = _noted(history)
    for one in heard:
        found.counts[f"answers: {one.action}"] += 1
        request: Any = one.request
        match one.action:
            case "StartTransaction":
                key = (
                    one.charge_point_id,
                    request.connector_id,
                    _instant(request.timestamp),
                    request.meter_start,
                )
                _compare(one, starts.get(key), found)
            case "StopTransaction":
                key = (
                    one.charge_point_id,
                    request.transaction_id,
                    _instant(request.timestamp),
                    request.meter_stop,
                )
                _compare(one, stops.get(key), found)
            case "MeterValues":
                mark = f"meter|{one.charge_point_id}|{request.meter_value[0]['timestamp']}"
                if mark not in noted:
                    found.problem("acknowledged MeterValues that are not in the log", mark)
            case "StatusNotification":
                mark = f"status|{one.charge_point_id}|{request.connector_id}|{request.status}|"
                if mark + _instant(request.timestamp) not in noted:
                    found.problem("an acknowledged StatusNotification that is not in the log", mark)


def _compare(one: Heard, decision: Decision | None, found: Findings) -> None:
    name = f"{one.charge_point_id} {one.action} {one.request}"[:200]
    if decision is None:
        found.problem("an answer without a decision", name)
        return
    result = msgspec.json.decode(decision.reply.result)
    expected = (result.get("transaction_id"), result.get("status") or "Accepted")
    if (getattr(one.answer, "transaction_id", None), tag_status(one.answer)) != expected:
        found.problem("an answer that contradicts its decision", f"{name}: {one.answer}, log {expected}")


def _noted(history: History) -> set[str]:
    """The records of the record path that were decided or need no decision, by their content."""
    noted = set()
    for aggregate, raw in history.readings:
        values = msgspec.json.decode(raw)["values"]
        noted.add(f"meter|{aggregate.rpartition('|')[2]}|{values[0]['timestamp']}")
    for id, (aggregate, raw) in history.commands.items():
        if id not in history.decisions:
            continue
        charge_point_id = aggregate.rpartition("|")[2]
        command = msgspec.json.decode(raw)
        if command["type"] == "charge_point.record_meter_values.v1":
            noted.add(f"meter|{charge_point_id}|{command['values'][0]['timestamp']}")
        elif command["type"] == "charge_point.report_status.v1" and command.get("timestamp"):
            at = _instant(command["timestamp"])
            noted.add(f"status|{charge_point_id}|{command['connector_id']}|{command['status']}|{at}")
    return noted


def _instant(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def check_bills(witness: Witness, history: History, found: Findings) -> None:
    """One CDR for each charge at the eMSP, and each charge has one."""
    by_key: dict[tuple[str, int], str] = {}
    for id, decision in history.decisions.items():
        parts = id.split("|")
        if parts[0] == "start" and parts[1] == TENANT and decision.reply.refusal is None:
            result = msgspec.json.decode(decision.reply.result)
            by_key[parts[2], result["transaction_id"]] = str(result["session_id"])
    for text in witness.emsp.violations:
        found.problem("at the eMSP", text)
    for device in witness.devices:
        for charge in device.charges:
            found.counts["charges"] += 1
            if not charge.finished or charge.transaction_id is None:
                found.problem("a charge that did not end", f"{device.identity}/{charge.transaction_id}")
                continue
            session = by_key.get((device.identity, charge.transaction_id))
            if session is None or session.lower() not in witness.emsp.cdrs:
                found.problem("a charge without a CDR", f"{device.identity}/{charge.transaction_id}")
    found.counts["CDRs at the eMSP"] = len(witness.emsp.cdrs)
    if len(witness.emsp.cdrs) > found.counts["charges"]:
        found.problem("more CDRs than charges", str(len(witness.emsp.cdrs)))


async def check_read_models(log: Log, store: ReadStore, folder: Path, found: Findings) -> None:
    """Every read model equals what the log folds to, in a store of its own."""
    fresh = SqliteReadStore(folder / "folded")
    try:
        projector = Projector(
            fresh, registry.EVENTS, registry.VIEWS, registry.FEEDS, registry.BLOCKS, stories=registry.told
        )
        await Rebuild(log, projector).go_on()
        for parked in projector.parked:
            found.problem("a document that cannot be folded", "/".join(parked))
        for database in await fresh.databases():
            for collection in COLLECTIONS:
                await _same(database, collection, fresh, store, found)
        for id, waiting in (await Parking(log).all()).items():
            found.problem("parked", f"{id}: {waiting.reason}")
        letters = await store.count(Query(HUB, "dead_letters"))
        if letters:
            found.problem("dead letters", str(letters))
    finally:
        await fresh.close()


async def _same(database: str, collection: str, fresh: ReadStore, store: ReadStore, found: Findings) -> None:
    expected, stored = await _all(fresh, database, collection), await _all(store, database, collection)
    found.counts["documents compared"] += len(expected)
    name = f"{database}.{collection}"
    for id in expected.keys() - stored.keys():
        found.problem("a document is missing", f"{name} {id}")
    for id in stored.keys() - expected.keys():
        found.problem("a document that the log does not know", f"{name} {id}")
    for id in expected.keys() & stored.keys():
        if expected[id] != stored[id]:
            found.problem("a document differs", f"{name} {id}: {_difference(expected[id], stored[id])}")


def _difference(expected: Mapping[str, object], stored: Mapping[str, object]) -> str:
    fields = sorted(k for k in expected.keys() | stored.keys() if expected.get(k) != stored.get(k))
    return ", ".join(
        f"{k}: log {str(expected.get(k))[:60]}, store {str(stored.get(k))[:60]}" for k in fields[:3]
    )


async def _all(store: ReadStore, database: str, collection: str) -> dict[str, Document]:
    query = Query(database, collection, limit=500)
    return {str(document["_id"]): document async for document in every(store, query)}
