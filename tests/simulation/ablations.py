"""Safeguards taken away one at a time, in the test only, and the world that shows what is lost without each.

`ABLATIONS` is the table of docs/guarantees.md: the rule that a safeguard holds, how it is taken away, the nemeses
under which that is missed, and in how many worlds. A change of the product makes all worlds others, so the known seed
is only where looking begins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console

from commands.base import Accepted, Rejected
from commands.charge_point import models, transactions
from commands.delivery import timer_due as delivery_timer
from domain.aggregate import kind_of
from domain.charge_point.state import ChargePointState
from domain.delivery import Delivery
from gateway.mqtt.publisher import Teller
from gateway.ocpi.sender import OcpiSender
from gateway.ocpp import exchange, outbound
from projections.store import Put
from streams import (
    checkpoints,
    claims,
    decider,
    envelope,
    faust_rows,
    follower,
    partition,
    processes,
    projector,
    public,
    states,
)
from streams.backlog import Backlog
from streams.follower import Fact
from streams.log import LogUnavailable, Position, Record
from streams.portions import append_all
from streams.topology import PUBLIC

SPAN: Final = 300
"""Seeds that are looked at before it is said that nobody misses a safeguard."""
ENOUGH: Final = 8
say = Console(soft_wrap=True, highlight=False, markup=False).print
Patch = tuple[object, str, Any]


@dataclass(frozen=True, slots=True)
class Ablation:
    """One safeguard. Without it something is lost in one of `one_in` worlds, first found at `seed`; None: in none.

    `shape` is what the worlds must have, beside what their seeds draw, so that this is often.
    """

    name: str
    rule: str
    removed: Callable[[], list[Patch]]
    faults: tuple[str, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)
    one_in: int | None = None
    seed: int | None = None


@contextlib.contextmanager
def without(ablation: Ablation) -> Iterator[None]:
    """Inside, this safeguard does not exist."""
    patches = ablation.removed()
    before = [
        (owner, name, owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name))
        for owner, name, _ in patches
    ]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


# -- the log and the decider ---------------------------------------------------------------------------------------


def _no_fence() -> list[Patch]:
    def admit(self: Any, stored: Any) -> Any:
        entry = envelope.decode_entry(stored)
        if isinstance(entry, envelope.Claim):
            self.epoch = max(self.epoch, stored.offset)
            return None
        return entry

    return [(envelope.Fence, "admit", admit)]


def _no_read_back() -> list[Patch]:
    async def decide_all(self: Any, lane: Any, part: Any, taken: Any, now: Any) -> None:
        found = [d for stored in taken if (d := part.decide(stored, now)) is not None]
        if found:
            records = [envelope.record(d.reply.aggregate, d, d.meta.tenant) for d in found]
            await append_all(self._log, lane.places.events.topic, lane.places.events.partition, records)
            for one in found:
                self._emit(one)

    return [(decider.Decider, "_decide_all", decide_all)]


def _no_new_claim_after_a_failure() -> list[Patch]:
    whole = decider.Decider._decide_all

    async def decide_all(self: Any, lane: Any, part: Any, taken: Any, now: Any) -> None:
        with contextlib.suppress(LogUnavailable):
            await whole(self, lane, part, taken, now)

    return [(decider.Decider, "_decide_all", decide_all)]


def _no_fold_up_to_the_claim() -> list[Patch]:
    async def fold(self: Any, places: Any, part: Any, until: int, position: int) -> list[Any]:
        part.folded = until + 1
        return []

    return [(claims.Claims, "_fold", fold)]


def _no_command_ids() -> list[Patch]:
    return [(states.Entry, "remember", lambda self, command_id, reply: None)]


def _no_decided_offset() -> list[Patch]:
    whole = partition.Partition.decide

    def decide(self: Any, stored: Any, now: Any) -> Any:
        self.decided_through = min(self.decided_through, stored.offset - 1)
        return whole(self, stored, now)

    return [(partition.Partition, "decide", decide)]


def _no_replies_after_a_claim() -> list[Patch]:
    whole = claims.Claims._fold

    async def fold(self: Any, *arguments: Any) -> list[Any]:
        await whole(self, *arguments)
        return []

    return [(claims.Claims, "_fold", fold)]


def _mark_before_its_states() -> list[Patch]:
    async def write(self: Any, records: Sequence[Any]) -> None:
        if self._saving is not None:
            mark = Record(checkpoints.CHECKPOINT_KEY, envelope.encode(self._saving.mark))
            records = [mark, *records]
        async with self._one_at_a_time:
            for one in records:
                await append_all(self._log, self._place.topic, self._place.partition, [one])

    return [(checkpoints.Saver, "_write", write)]


def _states_of_whoever_wrote_last() -> list[Patch]:
    whole = partition.Partition.load

    def load(self: Any, data: bytes) -> int:
        whole(self, data)
        return 2**62

    return [(partition.Partition, "load", load)]


def _unreadable_state_is_a_blank_one() -> list[Patch]:
    def entry(self: Any, id: str) -> Any:
        known = self._hot.get(id)
        if known is not None:
            return known
        data = self._cold.pop(id, None)
        try:
            made = self._thaw(data) if data is not None else None
        except states.UnreadableStateError:
            made = None
        if made is None:
            made = states.Entry(self._registry.aggregate(kind_of(id)).blank(id))
        self._hot[id] = made
        return made

    return [(states.States, "entry", entry)]


def _silence_is_the_end() -> list[Patch]:
    async def short(log: Any, place: Any, start: int = 0, end: int | None = None) -> Any:
        if end is None:
            end = (await log.ends([place]))[place]
        at = max(start, (await log.beginnings([place]))[place])
        if at >= end:
            return
        reader, silent = log.reader(), 0
        try:
            await reader.assign({place: at})
            while at < end and silent < 3:
                batch = [s for s in (await reader.poll(1.0)).get(place, ()) if s.offset < end]
                silent = 0 if batch else silent + 1
                if batch:
                    at = batch[-1].offset + 1
                    yield batch
        finally:
            await reader.close()

    return [(claims, "stretch", short)]


def _a_lost_end_is_not_looked_for() -> list[Patch]:
    async def cut(self: Any, places: Any, part: Any) -> None:
        return None

    return [(claims.Claims, "_cut", cut)]


def _nothing_is_sent_again() -> list[Patch]:
    async def again(self: Any, target: Any, since: Any) -> None:
        return None

    return [(processes.Processes, "again", again)]


def _going_back_is_not_seen() -> list[Patch]:
    def offer(self: Any, batch: Sequence[Any]) -> None:
        self._offered = max(self._offered, batch[-1].offset + 1)
        self._queue.extend(batch)
        self.wake()

    return [(Backlog, "offer", offer)]


def _timers_are_not_asked_again() -> list[Patch]:
    return [(partition.Partition, "ask_again", lambda self, timers: None)]


def _deadlines_do_not_count() -> list[Patch]:
    whole = partition.Partition.decide

    def decide(self: Any, stored: Any, now: Any) -> Any:
        return whole(self, stored, datetime.min.replace(tzinfo=UTC))

    return [(partition.Partition, "decide", decide)]


# -- followers, processes, read models -----------------------------------------------------------------------------


def _caches_outlive_their_partition() -> list[Patch]:
    whole = projector.Projector._load

    async def load(self: Any, work: Any, cache: Any) -> None:
        before = dict(cache)
        await whole(self, work, cache)
        cache.update(before)

    return [
        (projector.Projector, "forget", lambda self, place: None),
        (projector.Projector, "_load", load),
    ]


def _what_was_not_written_stays_in_the_cache() -> list[Patch]:
    whole = projector.Projector._apply

    async def apply(self: Any, place: Any, batch: Any, told: Any, cache: Any) -> Any:
        kept = dict(cache)
        try:
            return await whole(self, place, batch, told, cache)
        except BaseException:
            batch.writes = {}
            cache.update(kept)
            raise

    return [
        (projector.Projector, "_apply", apply),
        (projector.Projector, "forget", lambda self, place: None),
    ]


def _gaps_are_applied_over() -> list[Patch]:
    whole = projector.Projector._project

    def project(self: Any, work: Any, cache: Any) -> Any:
        for _, event, meta in work:
            for view in self._views.get(kind_of(event.originator_id), ()):
                db, id = view.target(event, meta)
                key = (db, view.collection, id)
                version, document = cache[key]
                if document is not None and event.originator_version > version + 1:
                    cache[key] = (event.originator_version - 1, document)
        return whole(self, work, cache)

    return [
        (projector.Projector, "_project", project),
        (projector.Projector, "forget", lambda self, place: None),
    ]


def _any_write_applies() -> list[Patch]:
    from tests.simulation import shelf

    whole = shelf._Collection.apply

    def apply(self: Any, write: Any) -> bool:
        held = self.held.get(write.id)
        if held is not None and isinstance(write, Put):
            self.held[write.id] = shelf._Held(-1, held.live, held.document)
        return whole(self, write)

    return [(shelf._Collection, "apply", apply)]


def _positions_move_before_the_work() -> list[Patch]:
    whole = follower.Follower._take

    async def take(self: Any, place: Any, lane: Any, taken: Any) -> None:
        lane.position = taken[-1].offset + 1
        await whole(self, place, lane, taken)

    return [(follower.Follower, "_take", take)]


def _positions_forget_the_epoch() -> list[Patch]:
    async def commit(self: Any, member: Any) -> None:
        moved = {
            place: Position(lane.position)
            for place, lane in self._lanes.items()
            if lane.position > lane.done and not lane.halted
        }
        if moved:
            await member.commit(moved)
            for place, position in moved.items():
                if place in self._lanes:
                    self._lanes[place].done = position.offset

    return [(follower.Follower, "_commit", commit)]


def _what_raises_is_skipped() -> list[Patch]:
    async def park(self: Any, lane: Any, parked: Any) -> None:
        return None

    return [(follower.Follower, "_park", park)]


def _parked_in_memory_only() -> list[Patch]:
    async def park(self: Any, lane: Any, parked: Any) -> None:
        lane.parked[parked.aggregate] = parked

    return [(follower.Follower, "_park", park)]


def _nobody_sweeps() -> list[Patch]:
    whole = projector.Projector.handle

    async def handle(self: Any, place: Any, facts: Sequence[Fact]) -> None:
        if not self._sweeping:
            await whole(self, place, facts)

    return [(projector.Projector, "handle", handle)]


def _faust_applies_over_gaps() -> list[Patch]:
    whole = faust_rows.RowProjector.project

    async def project(self: Any, changes: Any, held: Any) -> Any:
        filled = []
        for change in changes:
            filled.append(change)
            id, version = change.event.originator_id, change.event.originator_version
            data = held(id)
            if data is not None:
                row = faust_rows._decoder.decode(data)
                if version > row.version + 1:
                    row.version = version - 1
                    fresh = faust_rows._encoder.encode(row)
                    before, held = (
                        held,
                        (lambda one, id=id, fresh=fresh, before=held: fresh if one == id else before(one)),
                    )
                    del before
        return await whole(self, filled, held)

    async def resynchronised(self: Any, changes: Any, rows: Any) -> dict[str, Any]:
        return {}

    return [
        (faust_rows.RowProjector, "project", project),
        (faust_rows.RowProjector, "_resynchronised", resynchronised),
    ]


def _positions_of_processes_move_first() -> list[Patch]:
    async def handle(self: Any, place: Any, batch: Sequence[Fact]) -> None:
        out: Any = defaultdict(list)
        self._commands(batch, out)

        async def send() -> None:
            for target, records in out.items():
                with contextlib.suppress(LogUnavailable):
                    await append_all(self._log, target.topic, target.partition, records)

        asyncio.create_task(send())  # noqa: RUF006

    return [(processes.Processes, "_handle", handle)]


def _public_records_are_not_waited_for() -> list[Patch]:
    async def append(self: Any, topic: str, number: int, records: Any) -> None:
        async def send() -> None:
            with contextlib.suppress(LogUnavailable):
                await self._log.append(PUBLIC[topic], number, records)

        asyncio.create_task(send())  # noqa: RUF006

    return [(public.PublicTopics, "_append", append)]


def _mqtt_does_not_wait_for_its_broker() -> list[Patch]:
    async def publish(self: Any, place: Any, messages: Any) -> None:
        async def send() -> None:
            with contextlib.suppress(Exception):
                await self._broker.publish(messages, set())

        asyncio.create_task(send())  # noqa: RUF006

    return [(Teller, "_publish", publish)]


# -- the edges and what is told ------------------------------------------------------------------------------------


def _told_calls_have_no_number() -> list[Patch]:
    return [(ChargePointState, "was_told", lambda self, call: False)]


def _starts_have_no_content_key() -> list[Patch]:
    def key(command: Any) -> str:
        return str(uuid.uuid4())

    return [(transactions, "start_key", key)]


def _told_is_answered_before_it_is_durable() -> list[Patch]:
    async def tell(self: Any, command: Any, *, correlation_id: str = "") -> None:
        meta, bus = self.meta(correlation_id), self.connection.services.bus

        async def send() -> None:
            with contextlib.suppress(LogUnavailable):
                await bus.tell(command, meta)

        asyncio.create_task(send())  # noqa: RUF006

    return [(exchange.Exchange, "tell", tell)]


def _starts_are_answered_without_the_log() -> list[Patch]:
    whole = exchange.Exchange.ask

    async def ask(self: Any, command: Any, reply: Any, **options: Any) -> Any:
        try:
            return await whole(self, command, reply, **options)
        except exchange.LogAwayError:
            if isinstance(command, models.StartTransaction):
                return models.Started(transaction_id=999, session_id="", status="Accepted")
            raise

    return [(exchange.Exchange, "ask", ask)]


def _timers_of_calls_ask_the_clock() -> list[Patch]:
    whole = outbound.Outbound._expire

    def expire(self: Any, message_id: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = self._timer.when() if self._timer is not None else 0.0
        if loop.time() >= deadline:
            whole(self, message_id)

    return [(outbound.Outbound, "_expire", expire)]


def _attempts_are_not_leased() -> list[Patch]:
    whole = OcpiSender.send

    async def send(self: Any, job: Any, content: Any, correlation_id: str) -> Any:
        clock, self._clock = self._clock, lambda: datetime.min.replace(tzinfo=UTC)
        try:
            return await whole(self, job, content, correlation_id)
        finally:
            self._clock = clock

    from streams import deliveries

    async def wait(self: Any, event: Any, content: Any, correlation_id: str, within: Any) -> Any:
        try:
            return await self._sender.send(event, content, correlation_id)
        except Exception as error:
            return deliveries.Outcome("refused", reason=str(error))

    return [(OcpiSender, "send", send), (deliveries.Deliveries, "_send", wait)]


def _lost_attempts_are_not_repeated() -> list[Patch]:
    from chargesphere import nouns

    def timer(delivery: Delivery, command: Any, meta: Any) -> Accepted | Rejected:
        if delivery.state.phase == "in_flight":
            return Accepted()
        return delivery_timer(delivery, command, meta)

    return [(nouns.RULES, "timers", {**nouns.RULES.timers, "delivery": timer})]


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(
        "no fence",
        "Stale deciders' records never count",
        _no_fence,
        ("zombie",),
        shape={"deciders": 2, "pace": 0.3, "lasting": 1.6},
        one_in=12,
        seed=1,
    ),
    Ablation(
        "answered before the read-back",
        "A decision is answered only once it was read back",
        _no_read_back,
        ("zombie", "members"),
        shape={
            "deciders": 2,
            "charges": 3,
            "storm": 10.0,
            "pace": 0.3,
            "lasting": 1.6,
            "victims": ("decider",),
        },
        one_in=8,
        seed=1,
    ),
    Ablation(
        "no new claim after a failed append",
        "An append of unknown outcome leads back to a claim",
        _no_new_claim_after_a_failure,
        ("weather",),
        one_in=3,
        seed=0,
    ),
    Ablation(
        "no fold up to the claim",
        "A decider decides on everything before its claim",
        _no_fold_up_to_the_claim,
        ("crash", "members"),
        one_in=2,
        seed=0,
    ),
    Ablation(
        "no command ids",
        "A repeat gets the first decision's reply",
        _no_command_ids,
        ("crash",),
        shape={"operators": True, "pace": 0.3, "victims": ("decider",)},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "decided offsets do not count",
        "A command at or below the highest decided offset was decided",
        _no_decided_offset,
        ("step", "weather"),
    ),
    Ablation(
        "no replies after a claim",
        "Who takes a partition over answers what its holder had decided",
        _no_replies_after_a_claim,
        ("crash", "step", "weather"),
    ),
    Ablation(
        "the mark before its states",
        "A checkpoint's mark stands behind its states",
        _mark_before_its_states,
        ("step",),
        shape={"checkpoint_every": 0.3, "pace": 0.2, "victims": ("decider",), "places": ("state",)},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "states of whoever wrote last",
        "States of a decider that had lost the partition are not trusted",
        _states_of_whoever_wrote_last,
        ("compact", "zombie"),
    ),
    Ablation(
        "an unreadable state is blank",
        "A state that cannot be read is folded from the log",
        _unreadable_state_is_a_blank_one,
        ("rust",),
        shape={"checkpoint_every": 0.5, "hot": 1, "pace": 0.3},
        one_in=4,
        seed=1,
    ),
    Ablation(
        "silence is the end",
        "A topic has been read when the reader's position says so",
        _silence_is_the_end,
        ("compact", "stall", "step"),
    ),
    Ablation(
        "a lost end is not looked for",
        "Commands count anew where their topic has lost its end",
        _a_lost_end_is_not_looked_for,
        ("power",),
        one_in=1,
        seed=0,
    ),
    Ablation(
        "nothing is sent again",
        "What processes had sent into a lost end is sent again",
        _nothing_is_sent_again,
        ("power", "crash"),
    ),
    Ablation(
        "going back is not seen",
        "A log that gives again what it gave has lost its end",
        _going_back_is_not_seen,
        ("power",),
        shape={"pace": 0.5},
        one_in=30,
        seed=1,
    ),
    Ablation(
        "timers are not asked again",
        "A timer that could not be told is told later",
        _timers_are_not_asked_again,
        ("full", "weather"),
        shape={
            "projectors": 1,
            "effects": 1,
            "pace": 0.2,
            "lasting": 2.0,
            "severity": 3.0,
            "targets": ("partner",),
        },
        one_in=30,
        seed=15,
    ),
    Ablation(
        "deadlines do not count",
        "What comes after its deadline is refused",
        _deadlines_do_not_count,
        ("weather", "crash", "cut"),
    ),
    Ablation(
        "caches outlive their partition",
        "What is known of a partition's documents ends with it",
        _caches_outlive_their_partition,
        ("freeze",),
        shape={"projectors": 2, "storm": 10.0, "pace": 0.2, "lasting": 1.3, "victims": ("projector",)},
        one_in=30,
        seed=7,
    ),
    Ablation(
        "what was not written stays cached",
        "A write that was not made is forgotten",
        _what_was_not_written_stays_in_the_cache,
        ("weather",),
        shape={"projectors": 1, "pace": 0.4, "severity": 3.0, "targets": ("store",), "longest_calm": 100.0},
        one_in=4,
        seed=4,
    ),
    Ablation(
        "gaps are applied over",
        "An event is applied to the version before it only",
        _gaps_are_applied_over,
        ("members",),
        shape={"projectors": 1},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "any write applies",
        "An older write never replaces a newer one",
        _any_write_applies,
        ("freeze", "members", "weather"),
    ),
    Ablation(
        "positions before the work",
        "A follower's position moves after its work",
        _positions_move_before_the_work,
        ("down", "crash"),
        shape={"projectors": 1, "pace": 0.3, "victims": ("projector",), "targets": ("store",)},
        one_in=4,
        seed=7,
    ),
    Ablation(
        "positions without their epoch",
        "The epoch travels with the position",
        _positions_forget_the_epoch,
        ("zombie", "crash"),
    ),
    Ablation(
        "what raises is skipped",
        "A fact on which a follower raises parks its aggregate",
        _what_raises_is_skipped,
        ("poison",),
        one_in=2,
        seed=0,
    ),
    Ablation(
        "parked in memory only",
        "What is parked stays so over restarts",
        _parked_in_memory_only,
        ("poison", "crash"),
        shape={"pace": 0.5, "longest_calm": 100.0},
        one_in=1,
        seed=0,
    ),
    Ablation(
        "nobody sweeps",
        "The sweeper repairs what Faust skipped",
        _nobody_sweeps,
        ("crash",),
        shape={
            "faust": True,
            "faust_skips": 0.4,
            "projectors": 1,
            "effects": 1,
            "pace": 0.3,
            "longest_calm": 100.0,
        },
        one_in=1,
        seed=0,
    ),
    Ablation(
        "Faust applies over gaps",
        "Faust leaves to the sweeper what is not the next version",
        _faust_applies_over_gaps,
        ("crash",),
        shape={"faust": True, "faust_skips": 0.4, "projectors": 1, "effects": 1, "pace": 0.3},
        one_in=2,
        seed=0,
    ),
    Ablation(
        "processes do not wait for their appends",
        "What follows from a fact is durable before its position moves",
        _positions_of_processes_move_first,
        ("full",),
        shape={"pace": 0.2, "lasting": 2.0},
        one_in=2,
        seed=1,
    ),
    Ablation(
        "public records are not waited for",
        "Public topics: in order, nothing left out",
        _public_records_are_not_waited_for,
        ("weather",),
        shape={
            "public": True,
            "projectors": 1,
            "effects": 1,
            "pace": 0.4,
            "severity": 3.0,
            "targets": ("log",),
        },
        one_in=4,
        seed=4,
    ),
    Ablation(
        "MQTT is not waited for",
        "MQTT: nothing is lost while the broker is away",
        _mqtt_does_not_wait_for_its_broker,
        ("down",),
        shape={"mqtt": True, "projectors": 1, "effects": 1, "pace": 0.4},
        one_in=3,
        seed=6,
    ),
    Ablation(
        "told calls have no number",
        "A told call that is said again has one effect",
        _told_calls_have_no_number,
        ("weather",),
    ),
    Ablation(
        "starts have no content key",
        "A repeated start gets the first answer (START-6)",
        _starts_have_no_content_key,
        ("down", "weather"),
    ),
    Ablation(
        "told before it is durable",
        "What is acknowledged is in the log",
        _told_is_answered_before_it_is_durable,
        ("full",),
        shape={"pace": 0.2, "lasting": 2.0},
        one_in=3,
        seed=1,
    ),
    Ablation(
        "starts are answered without the log",
        "Log away: transactions are not answered",
        _starts_are_answered_without_the_log,
        ("down",),
        shape={"pace": 0.4, "lasting": 4.0, "targets": ("log",)},
        one_in=12,
        seed=3,
    ),
    Ablation(
        "a call's timer asks the clock",
        "A call that is never answered keeps no other waiting",
        _timers_of_calls_ask_the_clock,
        (),
    ),
    Ablation(
        "attempts are not leased",
        "No older object lands at a partner after a newer one",
        _attempts_are_not_leased,
        ("freeze", "weather"),
    ),
    Ablation(
        "lost attempts are not repeated",
        "An attempt that was lost with its process is repeated",
        _lost_attempts_are_not_repeated,
        ("step",),
        shape={
            "projectors": 1,
            "effects": 1,
            "charges": 2,
            "pace": 0.1,
            "victims": ("effects",),
            "places": ("partner",),
        },
        one_in=12,
        seed=6,
    ),
)


def hit(ablation: Ablation, seed: int) -> str:
    """What is lost in this world without the safeguard; nothing where something is wrong with it too."""
    from tests.simulation.world import World

    with without(ablation):
        outcome = World(seed, faults=ablation.faults, wanted=ablation.shape).run()
    if not outcome.violations or World(seed, faults=ablation.faults, wanted=ablation.shape).run().violations:
        return ""
    return outcome.violations[0]


def first_hit(ablation: Ablation) -> tuple[int, str] | None:
    """A seed under which the safeguard is missed, the known one first, and what is lost; None: none of the span."""
    known = () if ablation.seed is None else (ablation.seed,)
    for seed in (*known, *range(SPAN)):
        lost = hit(ablation, seed)
        if lost:
            return seed, lost
    return None


def measured(ablation: Ablation, seeds: int) -> tuple[int, list[tuple[int, str]]]:
    """In how many worlds it was looked for, and where it was missed: up to `ENOUGH` times."""
    found: list[tuple[int, str]] = []
    for seed in range(seeds):
        lost = hit(ablation, seed)
        if lost:
            found.append((seed, lost))
        if len(found) == ENOUGH:
            return seed + 1, found
    return seeds, found


def main() -> int:
    """Each safeguard, or those whose names hold a WORD, is taken away until that is missed; exits with 1 where it
    never is. With --seeds it is said how often: in 1 of so many worlds."""
    from tests.simulation.world import prepare

    parser = argparse.ArgumentParser(prog="python -m tests.simulation.ablations")
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--seeds", type=int, help="look at so many seeds, and say how often each is missed")
    options = parser.parse_args()
    prepare()
    unmissed = 0
    for ablation in ABLATIONS:
        if options.words and not any(word in ablation.name for word in options.words):
            continue
        if options.seeds:
            count, hits = measured(ablation, options.seeds)
            where = f"1 in {round(count / len(hits))}, first {hits[0][0]}" if hits else f"none of {count}"
            lost = hits[0][1] if hits else ""
        elif ablation.one_in is None:
            continue
        else:
            found = first_hit(ablation)
            unmissed += found is None
            where, lost = (str(found[0]), found[1]) if found else (f"none of {SPAN}", "")
        under = ", ".join(ablation.faults) or "calm"
        say(f"| {ablation.rule} | {ablation.name} | {under} | {where} | {lost[:110]} |")
    return 1 if unmissed else 0


if __name__ == "__main__":
    sys.exit(main())
