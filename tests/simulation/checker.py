"""What must be true of a world after its storm, judged from its log, its read models and what outsiders saw.

It knows the format of the log and the pure views, and nothing of the engines: it has a fence, a fold and a price of
its own, all slow and simple.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from chargesphere import registry
from chargesphere.backbone import PROJECTOR, SWEEPER
from commands.base import Area, Meta
from domain.aggregate import Event
from domain.charge_point import charge_point_key, session_id
from domain.clock import CLOCKS_APART
from domain.pushes import SPACING
from projections import blocks, sample
from projections.blocks import Entry
from projections.frame import FrameRecord
from projections.frame import entry as frame_entry
from projections.moment import utc_text
from projections.store import HUB, Document, Put, Remove
from streams.deciding.decider import followed
from streams.following.sink import Sink
from streams.log import Position, Stored, TopicPartition
from streams.log.topology import FAUST, FRAMES, commands_topic, events_topic, readings_topic
from tests.simulation import asking, cpo, job, keys, location, wishes
from tests.simulation.facts import MOST_SKEW, OWN_TAG, PRICE_FLAT, PRICE_PER_KWH, ROOM, TENANT
from tests.simulation.shelf import Shelf

if TYPE_CHECKING:
    from tests.simulation.broker import Broker
    from tests.simulation.world import World

DATABASE: Final = f"ocpp_{TENANT}"
FINAL: Final = frozenset({"accepted", "rejected", "failed", "timed_out", "expired"})
BEGINS: Final = frozenset({"remote_command.requested.v1", "job.requested.v1", "foreign_session.begun.v1"})
"""Events with which an id that clients chose may begin a life anew, at a version above all before."""
FED: Final = ("placements", "credentials", "job_items", "reservations")
"""Collections that only feeds write."""
IN_FLIGHT: Final = 15.0
"""Seconds for which an answer serves, a handshake waits and clocks differ, together and some more."""
CENT: Final = Decimal("0.0001")


class Valid:
    """A decision that counts, or a reading beside. What it says is decoded once, for all worlds that have it."""

    def __init__(self, place: TopicPartition, offset: int, at: int, entry: dict[str, Any]) -> None:
        self.place = place
        self.offset = offset
        self.at = at
        self.entry = entry

    @cached_property
    def meta(self) -> Meta:
        return msgspec.convert(self.entry["meta"], Meta)

    @cached_property
    def events(self) -> list[Event]:
        """The events of a decision, or the reading."""
        said = [self.entry["event"]] if "event" in self.entry else self.entry.get("events", ())
        return [registry.EVENTS.decode(msgspec.json.encode(one)) for one in said]


@dataclass(slots=True)
class Facts:
    """The log, as anybody may read it. `readings` stand beside the events, each once, in the order of records."""

    decisions: list[Valid] = field(default_factory=list)
    by_command: dict[str, list[Valid]] = field(default_factory=dict)
    events: dict[str, list[tuple[Valid, dict[str, Any]]]] = field(default_factory=dict)
    readings: dict[str, list[tuple[Valid, dict[str, Any]]]] = field(default_factory=dict)


_decode: Any = msgspec.json.Decoder().decode


@lru_cache(maxsize=4096)
def _json(value: bytes) -> Any:
    """What a record says, to be read only: a world's are looked at many times."""
    return _decode(value)


_provisioned: dict[tuple[TopicPartition, int], tuple[Stored, Valid]] = {}
"""What stands in the log of every world, by its place and offset."""


def _valid(place: TopicPartition, stored: Stored) -> Valid:
    """What this record says."""
    known = _provisioned.get((place, stored.offset))
    if known is not None and known[0] is stored:
        return known[1]
    return Valid(place, stored.offset, stored.timestamp, _json(stored.value or b"{}"))


def know(broker: Broker) -> None:
    """What stands in the log of this broker stands in that of every world."""
    for area in Area:
        for number in range(broker.count(events_topic(area))):
            place = TopicPartition(events_topic(area), number)
            for stored in broker.partitions[place].records:
                _provisioned[place, stored.offset] = stored, _valid(place, stored)


def read(world: World) -> Facts:
    """The decisions that count: a claim makes everything void that a decider before it writes behind it."""
    facts = Facts()
    for area in Area:
        topic = events_topic(area)
        for number in range(world.broker.count(topic)):
            place = TopicPartition(topic, number)
            epoch = -1
            for stored in world.broker.partitions[place].records:
                valid = _valid(place, stored)
                entry = valid.entry
                if entry["kind"] == "claim":
                    epoch = stored.offset
                    continue
                if entry["epoch"] < epoch:
                    continue
                facts.decisions.append(valid)
                facts.by_command.setdefault(entry["meta"]["command_id"], []).append(valid)
                for event in entry.get("events", ()):
                    facts.events.setdefault(event["aggregate"], []).append((valid, event))
    _read_readings(world, facts)
    return facts


def _read_readings(world: World, facts: Facts) -> None:
    """What no decision stands behind: one record, or two of the same call."""
    topic = readings_topic(Area.CHARGE_POINT)
    for number in range(world.broker.count(topic)):
        place = TopicPartition(topic, number)
        seen: set[tuple[str, str]] = set()
        for stored in world.broker.partitions[place].records:
            entry = _json(stored.value or b"{}")
            call = (entry["meta"]["command_id"], entry["meta"]["at"])
            if call not in seen:
                seen.add(call)
                valid = Valid(place, stored.offset, stored.timestamp, entry)
                facts.readings.setdefault(entry["aggregate"], []).append((valid, entry["event"]))


def bereft(world: World) -> set[str]:
    """Aggregates for which a command of ours was lost with the servers' power and never came again, because no
    decider could see that an end was lost: what a single broker promises no more (docs/guarantees.md)."""
    gone: dict[str, str] = {}
    seen: dict[TopicPartition, list[tuple[int, int]]] = {}
    for lost in world.broker.lost:
        if lost.place.topic.startswith("chargesphere.commands."):
            command = _json(lost.value)
            if command["meta"].get("principal") != "process":
                continue
            if lost.place not in seen:
                seen[lost.place] = list(_ends_seen(world, lost.place))
            gone.pop(command["meta"]["command_id"], None)
            if not any(first <= lost.offset and at > lost.at for at, first in seen[lost.place]):
                gone[command["meta"]["command_id"]] = command["aggregate"]
    if not gone:
        return set()
    for area in world.areas:
        for number in range(world.broker.count(commands_topic(area))):
            for stored in world.broker.partitions[TopicPartition(commands_topic(area), number)].records:
                gone.pop(_json(stored.value or b"{}")["meta"]["command_id"], None)
    facts = read(world)
    return {aggregate for command, aggregate in gone.items() if command not in facts.by_command}


def _ends_seen(world: World, place: TopicPartition) -> Iterator[tuple[int, int]]:
    """When a decider said that this commands partition had lost its end, and from where on it counts anew."""
    events = TopicPartition(place.topic.replace(".commands.", ".events."), place.partition)
    for stored in world.broker.partitions[events].records:
        entry = _json(stored.value or b"{}")
        if entry["kind"] == "claim" and entry.get("commands_from", -1) >= 0:
            yield stored.timestamp, entry["commands_from"]


def undone(world: World) -> Iterator[str]:
    """What is still to be done before the world is quiet; each is a reason. The first one costs least to find."""
    for name in world.wanted:
        process = world.processes[name]
        if not process.ready:
            yield f"{name} is not up"
        elif "keys" in process.engines and not process.engines["keys"].is_current:
            yield f"{name} does not know which keys were revoked"
    yield from (f"{point.id} waits for answers" for point in world.charge_points if not point.idle)
    broker = world.broker
    groups: dict[str, list[str]] = {"decider": [commands_topic(area) for area in world.areas]}
    beside = [readings_topic(Area.CHARGE_POINT)]
    if world.shape.effects:
        told = {Area.DELIVERY, Area.SESSION}
        told |= {Area.CHARGE_POINT, Area.SESSION, Area.TOKEN} if world.shape.public else set()
        told |= {Area.CHARGE_POINT, Area.SESSION, Area.REMOTE_COMMAND} if world.shape.mqtt else set()
        groups["effects"] = [events_topic(area) for area in Area if area in told]
        groups["effects"] += beside if world.shape.public or world.shape.mqtt else []
    swept = {Area.SESSION, Area.TOKEN} if world.shape.faust else set()
    if world.shape.projectors:
        groups[PROJECTOR] = [events_topic(area) for area in world.areas if area not in swept] + beside
    if swept:
        groups[SWEEPER] = groups[FAUST] = [events_topic(area) for area in swept]
    if world.shape.frames:
        groups["frames"] = [FRAMES]
    standing = {name: broker.group(name).positions for name in groups}
    groups["processes"] = [events_topic(area) for area in world.areas]
    standing["processes"] = {
        TopicPartition(place.topic.replace(".commands.", ".events."), place.partition): followed(position)
        for place, position in standing["decider"].items()
    }
    for name, topics in groups.items():
        positions = standing[name]
        for topic in topics:
            for number in range(broker.count(topic)):
                place = TopicPartition(topic, number)
                end = broker.partitions[place].end
                position = positions.get(place)
                if end and (position is None or position.offset < end):
                    if name == "processes" and not _counting(broker.partitions[place].records, position):
                        continue
                    at = None if position is None else position.offset
                    yield f"{name} is at {at} of {end} in {topic}[{number}]"
    yield from (
        f"delivery {document['_id']} is {document['state']}"
        for document in world.shelf.live(HUB, "deliveries")
        if document["state"] not in ("delivered", "failed") and world.shape.effects
    )
    if broker.lost:
        # A position behind a lost end says nothing of the commands that were written there anew.
        yield from (f"{command} is not decided" for command in _undecided(world, read(world)))
    lost = bereft(world)
    yield from (
        f"remote command {document['_id']} is {document['status']}"
        for document in world.shelf.live(DATABASE, "commands")
        if document["status"] not in FINAL and not lost and world.shape.projectors
    )
    yield from job.unfinished(world)
    yield from cpo.unfinished(world)
    yield from wishes.unfinished(world)
    if world.shape.live:
        yield from (f"the listener has not heard {id}" for id in world.listener.missing())
    yield from (
        f"{parked.id} is parked: {parked.reason}" for name in world.wanted for parked in _parked(world, name)
    )


def _counting(records: Sequence[Stored], position: Position | None) -> bool:
    """Whether a decision that counts stands from here on: one that had lost the partition may write behind those,
    and no process is given that."""
    offset, epoch = (0, -1) if position is None else (position.offset, int(position.note or -1))
    for stored in records:
        if stored.offset >= offset:
            entry = _json(stored.value or b"{}")
            if entry["kind"] == "claim":
                epoch = stored.offset
            elif entry["epoch"] >= epoch:
                return True
    return False


def _parked(world: World, name: str) -> list[Any]:
    return [
        parked
        for engine in world.processes[name].engines.values()
        for owner in (engine, getattr(getattr(engine, "follower", engine), "sink", None))
        for parked in getattr(owner, "parked", ())
        if isinstance(owner, Sink)
    ]


def check(world: World) -> None:
    """Note everything that is wrong."""
    facts = read(world)
    for judge in (
        _versions,
        _commands,
        _deadlines,
        _replies,
        _order,
        _charges,
        _tags,
        _partner,
        _documents,
        _blocks,
        _letters,
        _halted,
        _connections,
        _public,
        _live,
        _mqtt,
        _quota,
        _keys,
        _job,
        _asks,
        _location,
        _cpo,
        _wishes,
    ):
        for wrong in judge(world, facts):
            world.violation(f"{judge.__name__.strip('_')}: {wrong}")


def _keys(world: World, facts: Facts) -> Iterator[str]:
    """No key opens anything longer than its bound after its admin was told that it is revoked."""
    yield from keys.too_late(world)


def _asks(world: World, facts: Facts) -> Iterator[str]:
    return asking.judge(world, facts)


def _job(world: World, facts: Facts) -> Iterator[str]:
    return job.judge(world, facts)


def _location(world: World, facts: Facts) -> Iterator[str]:
    return location.judge(facts)


def _cpo(world: World, facts: Facts) -> Iterator[str]:
    return cpo.judge(world, facts)


def _wishes(world: World, facts: Facts) -> Iterator[str]:
    return wishes.judge(world, facts)


def _versions(world: World, facts: Facts) -> Iterator[str]:
    for aggregate, events in facts.events.items():
        before = 0
        for _, event in events:
            version = event["version"]
            begins = event["type"] in BEGINS and version > before
            if version != before + 1 and not begins:
                yield f"{aggregate} has the versions {[event['version'] for _, event in events]}"
                break
            before = version


def _commands(world: World, facts: Facts) -> Iterator[str]:
    """Every command has been decided, and none has had its effect twice."""
    for undecided in _undecided(world, facts):
        yield f"{undecided} was never decided"
    for command, decisions in facts.by_command.items():
        effective = [valid for valid in decisions if valid.entry.get("events")]
        if len(effective) > 1:
            yield f"{command} had its effect {len(effective)} times: {effective[0].entry['command']}"
        for valid in decisions:
            refusal = valid.entry["reply"].get("refusal")
            if refusal == "failed":
                yield f"{command} failed: {valid.entry['reply'].get('message')}"


def _undecided(world: World, facts: Facts) -> Iterator[str]:
    """The commands in the log on which there is no decision."""
    for area in Area:
        topic = commands_topic(area)
        for number in range(world.broker.count(topic)):
            for stored in world.broker.partitions[TopicPartition(topic, number)].records:
                command = _json(stored.value or b"{}")["meta"]["command_id"]
                if command not in facts.by_command:
                    yield f"{command} in {topic}[{number}]@{stored.offset}"


def _deadlines(world: World, facts: Facts) -> Iterator[str]:
    """Whoever still waits is not told that it is too late; and what came to the log when it was too late by any clock
    is refused, unless it was decided before."""
    for asked in world.asked:
        if asked.reply is not None and asked.reply.refusal == "expired" and asked.answered_at < asked.until:
            yield f"{asked.command_id} expired {asked.until - asked.answered_at:.3f} s before its time"
    latest = CLOCKS_APART.total_seconds() + ("skew" in world.shape.faults) * MOST_SKEW
    for area in Area:
        topic = commands_topic(area)
        for number in range(world.broker.count(topic)):
            for stored in world.broker.partitions[TopicPartition(topic, number)].records:
                if b'"deadline"' not in (stored.value or b""):
                    continue
                meta = _json(stored.value or b"")["meta"]
                deadline = _instant(meta["deadline"])
                if deadline is None or stored.timestamp / 1000 < deadline.timestamp() + latest:
                    continue
                for valid in facts.by_command.get(meta["command_id"], ()):
                    entry = valid.entry
                    late = entry["command_offset"] == stored.offset and not entry.get("repeat")
                    if late and entry["reply"].get("refusal") != "expired":
                        yield f"{meta['command_id']} came after its deadline and was decided: {entry['command']}"


def _replies(world: World, facts: Facts) -> Iterator[str]:
    """What was answered or acknowledged stands in the log, as it was answered."""
    lost = {one.value for one in world.broker.lost}
    gone = {_json(value)["meta"]["command_id"] for value in lost if b'"command_id"' in value}
    beside = {valid.entry["meta"]["command_id"] for found in facts.readings.values() for valid, _ in found}
    for asked in world.asked:
        decisions = facts.by_command.get(asked.command_id)
        if asked.beside:
            if asked.command_id not in beside and asked.command_id not in gone:
                yield f"{asked.command_id} was acknowledged and stands beside no events"
            continue
        if decisions is None:
            if asked.command_id not in gone:
                yield f"{asked.command_id} was acknowledged and is not in the log"
            continue
        if asked.reply is None:
            continue
        said = _json(msgspec.json.encode(asked.reply))
        if not any(_same(said, valid.entry["reply"]) for valid in decisions):
            yield f"{asked.command_id} was answered {said}, the log says {decisions[0].entry['reply']}"


def _same(said: Mapping[str, Any], stands: Mapping[str, Any]) -> bool:
    names = ("version", "result", "refusal", "message")
    return all((said.get(name) or None) == (stands.get(name) or None) for name in names)


def _order(world: World, facts: Facts) -> Iterator[str]:
    """If A was answered before B was asked, A stands before B."""
    by_aggregate: dict[str, list[tuple[float, float, int, str]]] = defaultdict(list)
    for asked in world.asked:
        decisions = facts.by_command.get(asked.command_id)
        if decisions and len(decisions) == 1 and not asked.told:
            by_aggregate[asked.aggregate].append(
                (asked.asked_at, asked.answered_at, decisions[0].offset, asked.command_id)
            )
    for aggregate, entries in by_aggregate.items():
        for asked_at, _, offset, command in entries:
            for _, answered_at, other, before in entries:
                if answered_at < asked_at and other > offset:
                    yield f"{before} was answered before {command} was asked, and stands behind it: {aggregate}"


def _charges(world: World, facts: Facts) -> Iterator[str]:
    """Each charge once, with its energy and its money, whatever happened on the way."""
    for point in world.charge_points:
        events = facts.events.get(charge_point_key(TENANT, point.id), [])
        by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for _, event in events:
            by_name[event["type"]].append(event)
        beside = [event for _, event in facts.readings.get(charge_point_key(TENANT, point.id), ())]
        started = by_name["charge_point.transaction_started.v1"]
        for charge in point.charges:
            if charge.start is None or charge.start.answer is None:
                continue
            if "transactionId" not in charge.start.answer:
                yield f"{point.id}: a start was answered {charge.start.answer}"
                continue
            mine = [
                event
                for event in started
                if event["meter_start"] == charge.meter_start
                and datetime.fromisoformat(event["occurred_at"]) == charge.started_at
            ]
            if len(mine) != 1:
                yield f"{point.id}: {len(mine)} transactions began at {charge.meter_start} Wh"
                continue
            number = charge.start.answer["transactionId"]
            if mine[0]["transaction_id"] != number:
                yield f"{point.id}: answered transaction {number}, the log has {mine[0]['transaction_id']}"
            yield from _charge(world, facts, point, charge, number)
        for said in point.said:
            if _was_lost(world, said):
                continue
            if said.action == "MeterValues" and said.answer is not None and said.times == 1:
                at = said.payload["meterValue"][0]["timestamp"]
                found = sum(
                    _instant(event.get("occurred_at")) == _instant(at)
                    for event in (*by_name["charge_point.meter_values_recorded.v1"], *beside)
                )
                if found != 1:
                    yield f"{point.id}: a reading of {at} that was said once stands {found} times in the log"
            if said.action == "StatusNotification" and said.answer is not None and said.times == 1:
                at = said.payload["timestamp"]
                found = sum(
                    _instant(event.get("occurred_at")) == _instant(at)
                    and event["connector_id"] == said.payload["connectorId"]
                    for event in by_name["charge_point.status_reported.v1"]
                )
                if found != 1:
                    yield f"{point.id}: a status of {at} that was said once stands {found} times in the log"


def _was_lost(world: World, said: Any) -> bool:
    """Whether the servers lost with their power what they had acknowledged of this message."""
    if not world.broker.lost or said.action not in ("MeterValues", "StatusNotification"):
        return False
    payload = said.payload
    at = payload["timestamp"] if "timestamp" in payload else payload["meterValue"][0]["timestamp"]
    return any(at.encode() in lost.value for lost in world.broker.lost)


def _mark_was_lost(world: World, session: str) -> bool:
    """Whether the servers lost with their power a command that said up to where readings beside the events were
    carried: then nobody looks for those behind it (ADR 19)."""
    said = (session.encode(), b"charge_point.record_meter_values")
    return any(all(one in lost.value for one in said) for lost in world.broker.lost)


def _charge(world: World, facts: Facts, point: Any, charge: Any, number: int) -> Iterator[str]:
    id = session_id(TENANT, point.id, number)
    if f"session|{id}" in bereft(world):
        return
    if charge.stop is None or charge.stop.answer is None:
        return
    if charge.start.answer.get("idTagInfo", {}).get("status") != "Accepted":
        # The tag could not be looked up: nobody was promised anything, and nobody pays.
        return
    energy = charge.meter_stop - charge.meter_start
    ended = [
        event
        for _, event in facts.events.get(f"session|{id}", ())
        if event["type"] in ("session.ended.v1", "session.end_corrected.v1")
    ]
    if not ended or Decimal(str(ended[-1]["energy_wh"])) != energy:
        said = ended[-1]["energy_wh"] if ended else "no end"
        yield f"{id} has {said} Wh in the log, it charged {energy} Wh"
    if world.shape.projectors:
        document = _one(world.shelf, DATABASE, "sessions", id)
        if document is None:
            yield f"{point.id}: the session {id} of transaction {number} is in no list"
        elif document["status"] != "completed" or document["energy_wh"] != energy:
            yield f"{id} is {document['status']} with {document['energy_wh']} Wh, it charged {energy} Wh"
    told = {
        (_instant(sample["at"]), Decimal(sample["energy_wh"]))
        for _, event in facts.events.get(f"session|{id}", ())
        for sample in event.get("samples", ())
    }
    for said in point.said:
        if said.action != "MeterValues" or said.charge is not charge or said.answer is None:
            continue
        value = said.payload["meterValue"][0]
        sample = (_instant(value["timestamp"]), Decimal(value["sampledValue"][0]["value"]))
        if sample not in told and not (_was_lost(world, said) or _mark_was_lost(world, id)):
            yield f"{id} was never told of the reading of {value['timestamp']}"
    issued = [
        event
        for _, event in facts.events.get(f"session|{id}", ())
        if event["type"] == "session.cdr_issued.v1"
    ]
    corrected = sum(event["type"] == "session.end_corrected.v1" for event in ended)
    if len(issued) != 1 + 2 * corrected:
        yield f"{id} has {len(issued)} CDRs, and its end was corrected {corrected} times"
        return
    cdr = issued[-1]["cdr"]
    if any("no tariff" in warning for warning in issued[-1].get("warnings", ())):
        # The read store was away when it began: it costs nothing, and says so.
        return
    cost = PRICE_FLAT + Decimal(energy) / 1000 * PRICE_PER_KWH
    cost = cost.quantize(CENT, ROUND_HALF_UP).normalize()
    said = Decimal(repr(cdr["total_cost"]["excl_vat" if "excl_vat" in cdr["total_cost"] else "before_taxes"]))
    if abs(said - cost) > CENT:
        yield f"{id} costs {said}, by the slow model {cost}"


_OVER: Final = frozenset(f"charge_point.transaction_{how}.v1" for how in ("stopped", "superseded", "closed"))


def _tags(world: World, facts: Facts) -> Iterator[str]:
    """Where a tag charges at one charge point at a time: a start that was told at once was answered as the tag's log
    says, and not Accepted while the tag was charging elsewhere by such a start; once all charges are over nobody has
    the tag."""
    told_at_once: set[tuple[str, int]] = set()
    lost = bereft(world)
    claims: dict[str, list[Valid]] = defaultdict(list)
    for valid in facts.decisions:
        if valid.entry["command"] == "tag.claim.v1" and not valid.entry["reply"].get("refusal"):
            claims[valid.entry["meta"]["principal"].removeprefix("charge_point:")].append(valid)
    for point in world.charge_points:
        since = offset = 0.0
        here: set[int] = set()
        for valid, event in facts.events.get(charge_point_key(TENANT, point.id), []):
            if event["type"] == "charge_point.connected.v1":
                since = datetime.fromisoformat(event["received_at"]).timestamp()
            elif event["type"] == "charge_point.clock_offset_noted.v1":
                offset = event["seconds"]
            elif event["type"] == "charge_point.transaction_started.v1" and world.shape.exclusive:
                began = datetime.fromisoformat(event["occurred_at"]).timestamp() - offset
                received = datetime.fromisoformat(event["received_at"]).timestamp()
                answers = {
                    bool(claim.entry["reply"]["result"].get("elsewhere"))
                    for claim in claims[point.id]
                    if valid.at - 120_000 <= claim.at <= valid.at
                }
                kept = began <= since or received - began > 120
                if event["status"] == "ConcurrentTx" and True not in answers and not here:
                    yield f"{point.id}: transaction {event['transaction_id']} was refused for nothing"
                elif event["status"] == "Accepted" and not kept and False not in answers:
                    yield f"{point.id}: transaction {event['transaction_id']} was let through unasked"
                if event["status"] == "Accepted":
                    here.add(event["transaction_id"])
                    if not kept:
                        told_at_once.add((point.id, event["transaction_id"]))
            elif event["type"] in _OVER:
                here.discard(event["transaction_id"])
    charging = [
        (charge, charge.start, charge.stop)
        for point in world.charge_points
        for charge in point.charges
        if (point.id, charge.transaction_id) in told_at_once and charge.start and charge.stop
    ]
    for (one, begun, stopped), (other, start, _) in itertools.permutations(charging, 2):
        first, second = begun.answered_at, start.asked_at
        apart = one.charge_point != other.charge_point and one.tag == other.tag and not world.shape.months
        if apart and first < second < first + 100 and start.answered_at < stopped.asked_at:
            yield f"{other.charge_point}: transaction {other.transaction_id} began while {one.charge_point} charged"
    for aggregate, events in facts.events.items():
        if not aggregate.startswith("tag|"):
            continue
        holding: dict[str, str] = {}
        for _, event in events:
            if event["type"] == "tag.held.v1":
                holding[event["session_id"]] = event["charge_point_id"]
            elif event["type"] == "tag.freed.v1":
                holding.pop(event["session_id"], None)
        for session, point_id in holding.items():
            if aggregate not in lost:
                yield f"{aggregate} is held for {session} of {point_id}, which is over"


def _partner(world: World, facts: Facts) -> Iterator[str]:
    """Each CDR arrives, always the same; the last session that arrives is its newest."""
    if not world.shape.effects:
        return
    bodies: dict[str, dict[str, Any]] = {}
    for _, id, body in world.inbox.cdrs:
        if bodies.setdefault(id, body) != body:
            yield f"the CDR {id} arrived with two bodies"
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, id, body in world.inbox.sessions:
        sessions[id].append(body)
    yield from _asked(world)
    for point in world.charge_points:
        for charge in point.charges:
            answer = charge.start.answer if charge.start is not None else None
            if not answer or "transactionId" not in answer or charge.tag == OWN_TAG:
                continue
            if charge.stop is None or charge.stop.answer is None:
                continue
            id = session_id(TENANT, point.id, answer["transactionId"])
            if any(id in aggregate for aggregate in bereft(world)):
                continue
            if answer.get("idTagInfo", {}).get("status") != "Accepted":
                continue
            if id not in bodies:
                yield f"the CDR of {id} never arrived"
            told = sessions.get(id, [])
            if not told or told[-1]["status"] != "COMPLETED":
                yield f"the last of {len(told)} sessions {id} that arrived is not its end"
            updates = [_instant(session["last_updated"]) for session in told]
            for before, after in itertools.pairwise(updates):
                if before is not None and after is not None and after < before:
                    yield f"the session {id} of {after} arrived after that of {before}"
            document = _one(world.shelf, HUB, "sessions", id)
            if told and document is not None:
                session: Any = document["session"]
                newest = session["last_updated"]
                if _instant(told[-1]["last_updated"]) != _instant(newest):
                    yield f"the last session {id} that arrived is of {told[-1]['last_updated']}, it is of {newest}"


def _asked(world: World) -> Iterator[str]:
    """A CDR is sent once its session's end was answered; what runs is told every 30 s at most; a partner that asks to
    be left alone is."""
    ended: set[str] = set()
    told: dict[tuple[int, str], float] = {}
    bodies: dict[str, dict[str, Any]] = {}
    silences: list[tuple[float, float]] = []
    began: set[str] = set()
    for asked in sorted(world.inbox.asked, key=lambda one: one.begun):
        disturbed = "freeze" in world.shape.faults
        if not disturbed and any(since < asked.begun < until for since, until in silences):
            yield f"{asked.id} was sent at {asked.begun:.3f} though the partner had asked for silence"
        if asked.http_status == 429:
            silences.append((asked.answered, asked.answered + int(asked.retry_after) - 0.001))
        if asked.module == "sessions":
            if asked.body["status"] == "COMPLETED":
                if asked.http_status is not None:
                    ended.add(asked.id)
            elif asked.id in began and asked.body != bodies[asked.id]:
                # The same again is told by who takes its partition anew, where that was not reported (ADR 22).
                life = id(asked.sender), asked.id
                if asked.begun - told.get(life, -1e9) < SPACING["sessions"].total_seconds() - MOST_SKEW:
                    yield f"{asked.id} was told {asked.begun - told[life]:.3f} s after it was told before"
            if asked.http_status == 200:
                told[id(asked.sender), asked.id] = asked.answered
            began.add(asked.id)
            bodies[asked.id] = asked.body
        elif not cpo.ours(asked.body) or asked.body.get("credit"):
            continue  # another CPO's waits for nothing of ours
        elif asked.module == "cdrs" and asked.id not in ended and asked.body["session_id"] not in ended:
            yield f"the CDR {asked.id} was sent before the end of its session"


def _documents(world: World, facts: Facts) -> Iterator[str]:
    """Every document equals a fold of the log."""
    if not world.shape.projectors:
        return
    expected = Shelf()
    documents: dict[tuple[str, str, str], tuple[Any, Any, Document | None, int]] = {}
    views: dict[str, list[Any]] = defaultdict(list)
    feeds: dict[str, list[Any]] = defaultdict(list)
    for view in registry.VIEWS:
        views[view.kind].append(view)
    for feed in registry.FEEDS:
        feeds[feed.kind].append(feed)
    writes: list[Any] = []
    for valid in facts.decisions:
        meta = valid.meta
        for event in valid.events:
            kind = event.originator_id.partition("|")[0]
            for view in views[kind]:
                target = view.target(event, meta)
                key = (target.db, view.collection, target.id)
                before = documents.get(key)
                document = before[2] if before is not None else None
                after = view.evolve(None if document is None else dict(document), event, meta)
                documents[key] = (view, target, after, event.originator_version)
            for feed in feeds[kind]:
                writes.extend(feed.writes(event, meta))
    for (db, collection, id), (view, target, document, version) in documents.items():
        if document is None:
            writes.append(Remove(db, collection, id, version))
            continue
        body = {name: value for name, value in document.items() if name not in view.keep}
        writes.append(Put(db, collection, id, version, body, view.keep))
        if view.also is not None:
            writes.extend(view.also(target, body, version))
    expected.apply(writes)
    for db in (HUB, DATABASE):
        for collection in sorted({view.collection for view in registry.VIEWS} | set(FED)):
            here = {str(document["_id"]): document for document in world.shelf.live(db, collection)}
            there = {str(document["_id"]): document for document in expected.live(db, collection)}
            for id in sorted(here.keys() | there.keys()):
                if here.get(id) != there.get(id):
                    yield f"{db}/{collection}/{id} {_difference(here.get(id), there.get(id))}"


def _blocks(world: World, facts: Facts) -> Iterator[str]:
    """Every block holds what a fold of the log holds, each reading and frame once, and there are no others."""
    if not world.shape.projectors:
        return
    expected: dict[tuple[str, str, str], Document] = {}
    lanes: dict[tuple[str, str, str], Document] = {}

    def fold(place: TopicPartition, offset: int, entries: Sequence[Entry]) -> None:
        by_lane: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            own, kept = entry.list.span(entry.at), entry.list.span(entry.kept_from)
            source = f"{place.topic.removeprefix('chargesphere.')}-{place.partition}"
            by_lane[entry.db, entry.list.collection, f"{utc_text(own)}|{utc_text(kept)}|{source}"].append(
                entry
            )
        for lane, some in by_lane.items():
            text = ",".join(entry.text for entry in some)
            block = lanes.get(lane)
            if block is None or len(str(block["entries"])) + 1 + len(text) > blocks.BLOCK_SIZE:
                until = datetime.fromisoformat(lane[2].split("|")[1]) + timedelta(
                    minutes=some[0].list.minutes
                )
                block = lanes[lane] = {"kept_from": utc_text(until), "keys": [], "entries": ""}
                block["_id"] = id = f"{lane[2]}|{offset:016d}"
                expected[lane[0], lane[1], id] = block
            times = [str(utc_text(entry.at)) for entry in some]
            block["first_at"] = min([*times, str(block.get("first_at", times[0]))])
            block["last_at"] = max([*times, str(block.get("last_at", ""))])
            block["keys"] = list(dict.fromkeys([*block["keys"], *(k for e in some for k in e.keys)]))  # type: ignore[misc]
            block["entries"] = f"{block['entries']},{text}" if block["entries"] else text
            block["version"] = offset

    for valid in facts.decisions:
        where = f"{valid.place.topic.removeprefix('chargesphere.')}-{valid.place.partition}-{valid.offset}"
        found = [
            entry
            for event in valid.events
            for one in registry.BLOCKS
            if one.kind == event.originator_id.partition("|")[0]
            for entry in one.entries(event, valid.meta, where)
        ]
        fold(valid.place, valid.offset, found)
    for number in range(world.broker.count(readings_topic(Area.CHARGE_POINT))):
        place = TopicPartition(readings_topic(Area.CHARGE_POINT), number)
        for stored in world.broker.partitions[place].records:
            # Second records too: who reads the list sees one of them.
            one_reading = _json(stored.value or b"{}")
            event = registry.EVENTS.decode(msgspec.json.encode(one_reading["event"]))
            meta = msgspec.convert(one_reading["meta"], Meta)
            where = f"{place.topic.removeprefix('chargesphere.')}-{number}-{stored.offset}"
            fold(place, stored.offset, sample.BLOCKS.entries(event, meta, where))
    collections = ["samples"]
    if world.shape.frames and not any(lost.place.topic == FRAMES for lost in world.broker.lost):
        collections.append("frames")
        for number in range(world.broker.count(FRAMES)):
            place = TopicPartition(FRAMES, number)
            for stored in world.broker.partitions[place].records:
                record = msgspec.json.decode(stored.value or b"", type=FrameRecord)
                fold(
                    place,
                    stored.offset,
                    [frame_entry(record, stored.value or b"", f"{number}-{stored.offset}")],
                )
    for collection in collections:
        here = {str(document["_id"]): document for document in world.shelf.live(DATABASE, collection)}
        there = {id: document for (db, name, id), document in expected.items() if name == collection}
        for id in sorted(here.keys() | there.keys()):
            if here.get(id) != there.get(id):
                yield f"{DATABASE}/{collection}/{id} {_difference(here.get(id), there.get(id))}"


def _letters(world: World, facts: Facts) -> Iterator[str]:
    for letter in world.shelf.live(HUB, "dead_letters"):
        yield f"{letter['document']} is parked: {letter['reason']}"


def _halted(world: World, facts: Facts) -> Iterator[str]:
    for name in world.wanted:
        for engine_name, engine in world.processes[name].engines.items():
            for owner in (engine, getattr(engine, "follower", None)):
                for place, why in getattr(owner, "halted", {}).items():
                    yield f"{name}: {engine_name} halts at {place.topic}[{place.partition}]: {why}"


def _connections(world: World, facts: Facts) -> Iterator[str]:
    """The log knows of each connection that a gateway holds, and takes no other for the present one."""
    if not world.shape.projectors:
        return
    for node, gateway in world.gateways():
        for connection in gateway.registry:
            if not connection.is_open:
                continue
            document = _one(world.shelf, DATABASE, "charge_points", connection.key[1])
            known: Any = (document or {}).get("connection") or {}
            if known.get("epoch") != connection.epoch:
                yield f"{node} holds {connection.prefix}, the log knows {known}"


def _public(world: World, facts: Facts) -> Iterator[str]:
    """Every event of the contract is told, in order for each aggregate; repeats keep their ids."""
    if not world.shape.public:
        return
    told: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for place, partition in world.broker.partitions.items():
        if place.topic.startswith("chargesphere.public."):
            for stored in partition.records:
                id, _, ordinal = dict(stored.headers)["ce_id"].decode().rpartition("|")
                told[f"{place.topic}|{id}"].append(tuple(map(int, ordinal.split("."))))
    for key, ordinals in told.items():
        versions = list(dict.fromkeys(ordinal for ordinal in ordinals if len(ordinal) == 1))
        if versions != sorted(versions):
            yield f"{key} was told in the order {versions}"
    from projections.public import cloud_event
    from streams.log.topology import PUBLIC

    for valid in facts.decisions:
        for event in valid.events:
            public = cloud_event(event, valid.meta)
            if public is None:
                continue
            aggregate = event.originator_id
            key = f"{PUBLIC[public.topic]}|{aggregate}"
            if (event.originator_version,) not in told.get(key, ()):
                yield f"version {event.originator_version} of {aggregate} was not told in public"
    for aggregate, found in facts.readings.items():
        for _, reading in found:
            call = (reading["call"]["epoch"], reading["call"]["number"])
            if call not in told.get(f"{PUBLIC['meter-values']}|{aggregate}", ()):
                yield f"the reading {call} of {aggregate} was not told in public"


def _live(world: World, facts: Facts) -> Iterator[str]:
    """A listener hears everything since its first bookmark, in the order of each key, and of no gap."""
    if not world.shape.live:
        return
    listener = world.listener
    yield from (f"{id} was not heard" for id in listener.missing())
    heard = dict.fromkeys(listener.heard)
    for place, ids in listener.told().items():
        there = dict.fromkeys(ids)
        ordered = [id for id in heard if id in there]
        if ordered != [id for id in there if id in heard]:
            yield f"{place.topic}[{place.partition}] was heard in the order {ordered}"
    if listener.gaps:
        yield f"{listener.gaps} gaps were told, and nothing was lost"


def _mqtt(world: World, facts: Facts) -> Iterator[str]:
    """Every start and end of a session is told, and every reading."""
    if not world.shape.mqtt:
        return
    told: dict[str, set[str]] = defaultdict(set)
    readings = {
        (message["charge_point_id"], message["data"]["readings"][0]["timestamp"])
        for topic, _, payload in world.published
        if topic.endswith("/meter_value") and payload
        for message in [_json(payload)]
    }
    for aggregate, found in facts.readings.items():
        for valid, _ in found:
            [reading] = valid.events
            at = utc_text(reading.happened_at)
            if (aggregate.rpartition("|")[2], at) not in readings:
                yield f"the reading of {at} of {aggregate} was not told by MQTT"
    for topic, _, payload in world.published:
        if topic.endswith("/session") and payload:
            message = _json(payload)
            told[message["session_id"]].add(message["event_type"])
    for aggregate, events in facts.events.items():
        if not aggregate.startswith("session|"):
            continue
        for _, event in events:
            wanted = {"session.started.v1": "session_started", "session.ended.v1": "session_stopped"}.get(
                event["type"]
            )
            if wanted and wanted not in told[aggregate.partition("|")[2]]:
                yield f"{wanted} of {aggregate} was not told by MQTT"


@dataclass(slots=True)
class Registered:
    """The tenant's charge points: who is registered, who of these took itself in, and when that was, in ms."""

    all: set[str] = field(default_factory=set)
    automatic: set[str] = field(default_factory=set)
    taken_in: list[tuple[str, int]] = field(default_factory=list)


def registered(facts: Facts) -> Registered:
    """Who is, by the charge points' own facts."""
    found = Registered()
    for aggregate, events in facts.events.items():
        kind, _, id = aggregate.partition("|")
        id = id.rpartition("|")[2]
        if kind != "charge_point":
            continue
        for valid, event in events:
            if event["type"] == "charge_point.registered.v1":
                found.all.add(id)
                if event.get("automatic"):
                    found.automatic.add(id)
                    found.taken_in.append((id, valid.at))
            elif event["type"] == "charge_point.removed.v1":
                found.all.discard(id)
                found.automatic.discard(id)
    return found


def _quota(world: World, facts: Facts) -> Iterator[str]:
    """The tenant has counted each of its charge points once, and nobody took itself in for whom there was no room
    long before: only those that are in flight may be too many."""
    counts = [
        (valid.at, event["counts"])
        for valid, event in facts.events.get(f"tenant|{TENANT}", ())
        if event["type"] == "tenant.fleet_counted.v1"
    ]
    found, last = registered(facts), counts[-1][1]
    said = (last.get("charge_points", 0), last.get("automatic", 0))
    if said != (len(found.all), len(found.automatic)) and not bereft(world):
        yield f"the tenant counts {said}, there are {sorted(found.all)}, by themselves {sorted(found.automatic)}"
    for id, at in found.taken_in:
        start = at - IN_FLIGHT * 1000
        since = [0, *(one.get("automatic", 0) for when, one in counts if when < start)][-1]
        window = [since, *(one.get("automatic", 0) for when, one in counts if start <= when <= at)]
        if min(window) >= ROOM:
            yield f"{id} was taken in, and for {IN_FLIGHT:g} s there had been no room: {window}"


def _one(shelf: Shelf, db: str, collection: str, id: str) -> Document | None:
    return shelf.get_many(db, collection, [id]).get(id)


def _instant(text: object) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if isinstance(text, str) else None


def _difference(here: Document | None, there: Document | None) -> str:
    if here is None or there is None:
        return "is not in the log" if there is None else "is missing"
    names = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    return "; ".join(f"{name} is {here.get(name)!r}, a fold is {there.get(name)!r}"[:160] for name in names)
