"""What stands in a safeguard's place when it is taken away, in the test only.

Each function names what is no more, and gives the patches that make it so: whose attribute, its name, its new value.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from application.keys import LogKeys
from application.live.fanout import Fanout
from application.live.recent import Recent
from application.partner_commands import PartnerCommands
from application.quota import LogQuota
from commands import foreign_cdr, foreign_session
from commands import location as location_commands
from commands import pushes as pushes_commands
from commands.base import Accepted, Rejected, Route
from commands.charge_point import configuring, models, presence, readings, transactions
from commands.delivery import timer_due as delivery_timer
from commands.fleet import CountChargePoint
from commands.foreign_cdr import PostForeignCdr
from commands.foreign_session import PatchForeignSession
from commands.job_items import IssueItems
from commands.tenant import CountPart
from domain import location as location_domain
from domain import outbox
from domain.aggregate import kind_of
from domain.charge_point import wanted
from domain.charge_point.reservation import Reservation
from domain.charge_point.state import ChargePointState
from domain.delivery import Delivery
from domain.fleet import ChargePointCounted, Counts
from domain.foreign_cdr import ForeignCdr
from domain.job import JobState
from domain.job_items import JobItemsIssued
from domain.owed import posted
from domain.pushes import Pushes
from domain.tag import TagClaimed
from domain.tenant import PartCounts, TenantFleetCounted
from domain.values import JobItem
from gateway.mqtt.publisher import Teller
from gateway.ocpp import inbound_call, outbound
from gateway.ocpp.v16 import handlers
from projections import blocks as projected_blocks
from projections.store import Put
from protocols.ocpi.types import to_date_time
from streams.deciding import checkpoints, claims, decider, feed, partition, processes, states
from streams.effects import desk, gate, public, pushes
from streams.effects.target import request
from streams.faust import rows as faust_rows
from streams.following import follower, group, parking, sink
from streams.following.backlog import Backlog
from streams.following.facts import Fact
from streams.following.readings import Readings
from streams.following.sink import Standing
from streams.log import LogUnavailableError, Position, Record, envelope, ranges
from streams.log.batching import append_all
from streams.log.topology import PUBLIC
from streams.projecting import blocks, projector

Patch = tuple[object, str, Any]


# -- the log and the decider ---------------------------------------------------------------------------------------


def no_fence() -> list[Patch]:
    def admit(self: Any, stored: Any) -> Any:
        entry = envelope.decode_entry(stored)
        if isinstance(entry, envelope.Claim):
            self.epoch = max(self.epoch, stored.offset)
            return None
        return entry.decision if isinstance(entry, envelope.Reading) else entry

    return [(envelope.Fence, "admit", admit)]


def acks_prove_whatever_their_offset() -> list[Patch]:
    async def prove(self: Any, place: Any, part: Any, offset: int) -> None:
        """As if nobody else ever appended."""

    return [(decider.Decider, "_prove", prove)]


def no_new_claim_after_a_failure() -> list[Patch]:
    whole = decider.Decider._decide_all

    async def decide_all(self: Any, lane: Any, part: Any, taken: Any, now: Any) -> None:
        with contextlib.suppress(LogUnavailableError):
            await whole(self, lane, part, taken, now)

    return [(decider.Decider, "_decide_all", decide_all)]


def no_fold_up_to_the_claim() -> list[Patch]:
    async def fold(self: Any, places: Any, part: Any, until: int, position: int) -> list[Any]:
        part.folded = until + 1
        return []

    return [(claims.Claims, "_fold", fold)]


def no_command_ids() -> list[Patch]:
    return [(states.Entry, "remember", lambda self, command_id, reply: None)]


def calls_are_not_known_by_their_ids() -> list[Patch]:
    class Nothing(dict[str, datetime]):
        def __contains__(self, key: object) -> bool:
            return False

    return [(ChargePointState, "asked", property(lambda self: Nothing(), lambda self, value: None))]


def no_decided_offset() -> list[Patch]:
    whole = partition.Partition.decide

    def decide(self: Any, stored: Any, now: Any) -> Any:
        self.decided_through = min(self.decided_through, stored.offset - 1)
        return whole(self, stored, now)

    return [(partition.Partition, "decide", decide)]


def no_replies_after_a_claim() -> list[Patch]:
    whole = claims.Claims._fold

    async def fold(self: Any, *arguments: Any) -> list[Any]:
        await whole(self, *arguments)
        return []

    return [(claims.Claims, "_fold", fold)]


def mark_before_its_states() -> list[Patch]:
    async def write(self: Any, records: Sequence[Any]) -> None:
        if self._saving is not None:
            mark = Record(checkpoints.CHECKPOINT_KEY, envelope.encode(self._saving.mark))
            records = [mark, *records]
        async with self._one_at_a_time:
            for one in records:
                await append_all(self._log, self._place.topic, self._place.partition, [one])

    return [(checkpoints.Saver, "_write", write)]


def states_of_whoever_wrote_last() -> list[Patch]:
    whole = partition.Partition.load

    def load(self: Any, key: bytes, data: bytes) -> int:
        whole(self, key, data)
        return 2**62

    return [(partition.Partition, "load", load)]


def lives_begin_at_one() -> list[Patch]:
    return [(partition, "_numbered_from", lambda aggregate, made, number: list(made))]


def nothing_is_looked_up_after_all() -> list[Patch]:
    def may_be_forgotten(self: Any, entry: Any, command: Any, meta: Any) -> bool:
        return False

    return [(partition.Partition, "_may_be_forgotten", may_be_forgotten)]


def old_causes_count_as_young() -> list[Patch]:
    def may_be_forgotten(self: Any, entry: Any, command: Any, meta: Any) -> bool:
        known = entry.aggregate.exists or entry.looked_up
        return bool(entry.aggregate.ends and not known and command.after_all)

    return [(partition.Partition, "_may_be_forgotten", may_be_forgotten)]


def processes_have_no_floor() -> list[Patch]:
    async def floor(self: Any, place: Any, first: Any) -> Any:
        return processes._Floor(first.received_at, 0)

    return [(processes.Processes, "_floor", floor)]


def what_changed_meanwhile_is_forgotten_too() -> list[Patch]:
    return [(states.States, "is_still", lambda self, ended: True)]


def gone_by_whoever_wrote_last() -> list[Patch]:
    whole = partition.Partition.load

    def load(self: Any, key: bytes, data: bytes) -> int:
        epoch = whole(self, key, data)
        return 2**62 if data.startswith(b'{"v":1,"epoch":') and b'"gone":' in data else epoch

    return [(partition.Partition, "load", load)]


def a_fold_forgets_on_its_way() -> list[Patch]:
    whole = partition.Partition.fold

    def fold(self: Any, stored: Any) -> Any:
        decision = whole(self, stored)
        for ended in self.states.take_over(self.forgotten_before):
            self.forget(ended.id)
        return decision

    return [(partition.Partition, "fold", fold)]


def unreadable_state_is_a_blank_one() -> list[Patch]:
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


def silence_is_the_end() -> list[Patch]:
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

    return [(claims, "stretch", short), (ranges, "stretch", short)]


def folds_take_any_version() -> list[Patch]:
    whole = partition.Partition.fold

    def fold(self: Any, stored: Any) -> Any:
        entry = envelope.decode_entry(stored)
        if isinstance(entry, envelope.Decision) and entry.epoch >= self.fence.epoch and entry.events:
            event = self.rules.events.decode(entry.events[0])
            aggregate = self.states.entry(event.originator_id).aggregate
            aggregate.version = max(aggregate.version, event.originator_version - 1)
        return whole(self, stored)

    return [(partition.Partition, "fold", fold)]


def a_lost_end_is_not_looked_for() -> list[Patch]:
    async def cut(self: Any, places: Any, part: Any) -> None:
        return None

    return [(claims.Claims, "_cut", cut)]


def nothing_is_sent_again() -> list[Patch]:
    async def again(self: Any, target: Any, since: Any) -> None:
        return None

    return [(processes.Processes, "again", again)]


def going_back_is_not_seen() -> list[Patch]:
    def offer(self: Any, batch: Sequence[Any]) -> None:
        self._offered = max(self._offered, batch[-1].offset + 1)
        self._queue.extend(batch)
        self.wake()

    return [(Backlog, "offer", offer)]


def compacted_topics_are_read_to_an_end_of_once() -> list[Patch]:
    async def newest(log: Any, place: Any, end: int | None = None) -> dict[bytes, Any]:
        found: dict[bytes, Any] = {}
        async with contextlib.aclosing(ranges.stretch(log, place, 0, end)) as batches:
            async for batch in batches:
                found.update((stored.key or b"", stored) for stored in batch)
        return found

    return [(claims, "newest", newest), (parking, "newest", newest)]


def timers_are_not_asked_again() -> list[Patch]:
    return [(partition.Partition, "ask_again", lambda self, timers: None)]


def deadlines_do_not_count() -> list[Patch]:
    whole = partition.Partition.decide

    def decide(self: Any, stored: Any, now: Any) -> Any:
        return whole(self, stored, datetime.min.replace(tzinfo=UTC))

    return [(partition.Partition, "decide", decide)]


def clocks_count_to_the_millisecond() -> list[Patch]:
    return [(partition, "CLOCKS_APART", timedelta())]


# -- followers, processes, read models -----------------------------------------------------------------------------


def caches_outlive_their_partition() -> list[Patch]:
    whole = projector.Projector._load

    async def load(self: Any, work: Any, cache: Any) -> None:
        before = dict(cache)
        await whole(self, work, cache)
        cache.update(before)

    return [
        (projector.Projector, "forget", lambda self, place: None),
        (projector.Projector, "_load", load),
    ]


def what_was_not_written_stays_in_the_cache() -> list[Patch]:
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


def a_write_broken_off_is_believed() -> list[Patch]:
    """As in the release in which a write under way was never made where its partition was lost and the store away."""
    whole = projector.Projector._apply

    async def apply(self: Any, place: Any, batch: Any, told: Any, cache: Any) -> Any:
        try:
            return await whole(self, place, batch, told, cache)
        except asyncio.CancelledError:
            batch.writes = {}
            raise

    return [(projector.Projector, "_apply", apply), *caches_outlive_their_partition()]


def gaps_are_applied_over() -> list[Patch]:
    whole = projector.Projector._project

    def project(self: Any, batch: Any, work: Any, cache: Any) -> Any:
        for _, event, meta in work:
            for view in self._views.get(kind_of(event.originator_id), ()):
                db, id = view.target(event, meta)
                key = (db, view.collection, id)
                version, document = cache[key]
                if document is not None and event.originator_version > version + 1:
                    cache[key] = (event.originator_version - 1, document)
        return whole(self, batch, work, cache)

    return [
        (projector.Projector, "_project", project),
        (projector.Projector, "forget", lambda self, place: None),
    ]


def any_write_applies() -> list[Patch]:
    from tests.simulation import shelf

    whole = shelf._Collection.apply

    def apply(self: Any, write: Any) -> bool:
        held = self.held.get(write.id)
        if held is not None and isinstance(write, Put):
            self.held[write.id] = shelf._Held(-1, held.live, held.document)
        return whole(self, write)

    return [(shelf._Collection, "apply", apply)]


def positions_move_before_the_work() -> list[Patch]:
    whole = sink.Sink._take

    async def take(self: Any, place: Any, lane: Any, taken: Any) -> None:
        lane.at = lane.at._replace(offset=taken[-1].offset + 1)
        await whole(self, place, lane, taken)

    return [(sink.Sink, "_take", take)]


def positions_forget_the_epoch() -> list[Patch]:
    def position(self: Any, place: Any, standings: Any) -> Position:
        return Position(standings[self.sink.name].offset)

    return [(follower.Follower, "_position", position)]


def sinks_forget_the_epoch() -> list[Patch]:
    whole = group.Group._position

    def position(self: Any, place: Any, standings: Any) -> Position:
        return whole(self, place, {name: at._replace(epoch=-1) for name, at in standings.items()})

    return [(group.Group, "_position", position)]


def sinks_share_the_foremost_position() -> list[Patch]:
    whole = group.Group._position

    def position(self: Any, place: Any, standings: Any) -> Position:
        foremost = max(standings.values())
        return whole(self, place, dict.fromkeys(standings, foremost))

    return [(group.Group, "_position", position)]


def notes_forget_who_is_behind() -> list[Patch]:
    """And who is not in a note begins where the group is, not at the beginning of the log."""
    whole, standings = group.Group._position, group.Group._standings

    def position(self: Any, place: Any, at: Any) -> Position:
        foremost = max(at.values())
        told = whole(self, place, {name: one for name, one in at.items() if one == foremost})
        return told._replace(offset=foremost.offset)

    def read(self: Any, place: Any, told: Position) -> Any:
        found = standings(self, place, told)
        return {sink.name: Standing(told.offset, -1) for sink in self.sinks if told.note} | found

    return [(group.Group, "_position", position), (group.Group, "_standings", read)]


def what_a_sink_let_go_of_is_gone() -> list[Patch]:
    def let_go(self: Any) -> None:
        for _ in range((len(self._queue) + 1) // 2):
            self._queue.pop()

    return [(Backlog, "let_go", let_go)]


def nobody_reads_what_stands_before_the_common_reading() -> list[Patch]:
    whole = sink.Sink.gain

    def gain(self: Any, starts: Any) -> None:
        whole(self, starts)
        for place in starts:
            self.lanes[place].backlog.clear()

    return [(sink.Sink, "gain", gain)]


def what_raises_is_skipped() -> list[Patch]:
    async def park(self: Any, lane: Any, parked: Any) -> None:
        return None

    return [(sink.Sink, "_park", park)]


def parked_in_memory_only() -> list[Patch]:
    async def park(self: Any, lane: Any, parked: Any) -> None:
        lane.parked[parked.aggregate] = parked

    return [(sink.Sink, "_park", park)]


def nobody_sweeps() -> list[Patch]:
    whole = projector.Projector.handle

    async def handle(self: Any, place: Any, facts: Sequence[Fact]) -> None:
        if not self._sweeping:
            await whole(self, place, facts)

    return [(projector.Projector, "handle", handle)]


def faust_applies_over_gaps() -> list[Patch]:
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


def processes_begin_at_the_claim() -> list[Patch]:
    whole = feed.Feed.begin

    async def begin(self: Any, place: Any, position: Position, claim: Any) -> None:
        await whole(self, place, Position(claim.offset, position.note), claim)

    return [(feed.Feed, "begin", begin)]


def positions_of_processes_move_first() -> list[Patch]:
    async def handle(self: Any, place: Any, batch: Sequence[Fact]) -> None:
        out: Any = defaultdict(list)
        await self._commands(batch, out)

        async def send() -> None:
            for target, records in out.items():
                with contextlib.suppress(LogUnavailableError):
                    await append_all(self._log, target.topic, target.partition, records, patiently=True)

        asyncio.create_task(send())  # noqa: RUF006

    return [(processes.Processes, "_handle", handle)]


def public_records_are_not_waited_for() -> list[Patch]:
    async def append(self: Any, topic: str, number: int, records: Any) -> None:
        async def send() -> None:
            with contextlib.suppress(LogUnavailableError):
                await self._log.append_patiently(PUBLIC[topic], number, records)

        asyncio.create_task(send())  # noqa: RUF006

    return [(public.PublicTopics, "_append", append)]


def a_full_listener_is_passed_over() -> list[Patch]:
    return [(Fanout, "_fall_behind", lambda self, subscription, index, offset: None)]


def who_was_behind_joins_without_what_is_in_memory() -> list[Patch]:
    return [(Recent, "__iter__", lambda self: iter(()))]


def mqtt_does_not_wait_for_its_broker() -> list[Patch]:
    async def publish(self: Any, place: Any, messages: Any) -> None:
        async def send() -> None:
            with contextlib.suppress(Exception):
                await self._broker.publish(messages, set())

        asyncio.create_task(send())  # noqa: RUF006

    return [(Teller, "_publish", publish)]


def second_records_of_readings_count() -> list[Patch]:
    return [(envelope.Fence, "_known", lambda self, reading: False)]


# -- the edges and what is told ------------------------------------------------------------------------------------


def starts_claim_no_tag() -> list[Patch]:
    """That a tag charges is known from its transactions alone."""
    return [(TagClaimed, "apply", lambda self, aggregate: None)]


def told_calls_have_no_number() -> list[Patch]:
    return [(ChargePointState, "was_told", lambda self, call: False)]


def readings_beside_are_carried_by_nothing() -> list[Patch]:
    def told(self: Any, carried: Any) -> None:
        self.carried, self.due_at = carried, carried.until

    return [
        (readings.Running, "add", lambda self, offset, reading: None),
        (readings.Running, "told", told),
    ]


def nobody_reads_what_was_left_beside() -> list[Patch]:
    async def behind(self: Any, charge_point: str, transaction_id: int, carried: Any) -> list[Any]:
        return []

    return [(Readings, "behind", behind)]


def starts_have_no_content_key() -> list[Patch]:
    return [(transactions, "start_key", lambda command: str(uuid.uuid4()))]


def starts_have_no_id_of_their_content() -> list[Patch]:
    return [(handlers, "start_id", lambda command: f"start|{uuid.uuid4()}")]


def told_is_answered_before_it_is_durable() -> list[Patch]:
    async def tell(self: Any, command: Any, *, correlation_id: str = "") -> None:
        meta, bus = self.meta(correlation_id), self.connection.services.bus

        async def send() -> None:
            with contextlib.suppress(LogUnavailableError):
                await bus.tell(command, meta)

        asyncio.create_task(send())  # noqa: RUF006

    return [(inbound_call.InboundCall, "tell", tell)]


def starts_are_answered_without_the_log() -> list[Patch]:
    whole = inbound_call.InboundCall.ask

    async def ask(self: Any, command: Any, reply: Any, **options: Any) -> Any:
        try:
            return await whole(self, command, reply, **options)
        except inbound_call.LogAwayError:
            if isinstance(command, models.StartTransaction):
                return models.StartReply(transaction_id=999, session_id="", status="Accepted")
            raise

    return [(inbound_call.InboundCall, "ask", ask)]


def timers_of_calls_ask_the_clock() -> list[Patch]:
    whole = outbound.Outbound._expire

    def expire(self: Any, message_id: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = self._timer.when() if self._timer is not None else 0.0
        if loop.time() >= deadline:
            whole(self, message_id)

    return [(outbound.Outbound, "_expire", expire)]


def nobody_waits_after_a_gain() -> list[Patch]:
    return [(desk.Desk, "may_send", property(lambda self: True))]


def pushes_need_no_proof() -> list[Patch]:
    return [(desk.Desk, "is_proven", property(lambda self: True))]


def epochs_of_accounts_are_not_checked() -> list[Patch]:
    from chargesphere import registry

    def report(account: Any, command: Any, meta: Any) -> Any:
        held = msgspec.structs.replace(command, epoch=account.state.epoch)
        return pushes_commands.report(account, held, meta)

    routes: dict[Any, Any] = {**registry.RULES.routes, pushes_commands.Report: Route(Pushes, report)}
    return [(registry.RULES, "routes", routes)]


def positions_pass_what_is_not_told() -> list[Patch]:
    at = property(lambda self: self.at)
    return [(outbox.Outbox, "position", at), (outbox.Outbox, "through", at)]


def what_waits_is_not_named() -> list[Patch]:
    whole = outbox.Outbox.news

    def news(self: Any) -> Any:
        found = whole(self)
        self.reported(found)
        return outbox.News(through=found.through)

    return [(outbox.Outbox, "news", news)]


def who_is_behind_is_not_noted() -> list[Patch]:
    whole = outbox.Outbox._fall_behind

    def fall_behind(self: Any, to: str) -> None:
        whole(self, to)
        self.behind[to] = self.at

    return [(outbox.Outbox, "_fall_behind", fall_behind)]


def spacing_is_forgotten() -> list[Patch]:
    return [(outbox.Outbox, "_earliest", lambda self, key, urgent, now: now)]


def a_retry_after_is_not_kept() -> list[Patch]:
    async def hold(self: Any, key: str, seconds: float) -> None:
        return

    async def patient(*given: Any) -> Any:
        return dataclasses.replace(await request(*given), retry_after=0.0)

    return [(gate.LocalGate, "hold", hold), (pushes, "request", patient)]


def cdrs_wait_for_no_session() -> list[Patch]:
    whole = outbox.Outbox.owe

    def owe(self: Any, owed: Any, *rest: Any, **options: Any) -> Any:
        return (*whole(self, owed, *rest, **options), *owed.cdrs)

    return [(outbox.Outbox, "owe", owe)]


def lost_attempts_are_not_repeated() -> list[Patch]:
    from chargesphere import registry

    def timer(delivery: Delivery, command: Any, meta: Any) -> Accepted | Rejected:
        if delivery.state.phase == "in_flight":
            return Accepted()
        return delivery_timer(delivery, command, meta)

    return [(registry.RULES, "timers", {**registry.RULES.timers, "delivery": timer})]


# -- blocks --------------------------------------------------------------------------------------------------------


def blocks_are_not_read_first() -> list[Patch]:
    async def read(self: Any, held: Any, begun: Any) -> None:
        return

    return [(blocks.BlockWriter, "_read", read)]


def positions_pass_what_is_kept_back() -> list[Patch]:
    return [(blocks.BlockWriter, "unwritten", lambda self, place: None)]


def what_was_taken_before_is_taken_again() -> list[Patch]:
    def fold(self: Any, held: Any, lane: Any, entries: Any, spot: Any) -> None:
        block = held.lanes.get(lane)
        if block is None or not block.has_room(entries):
            block = held.lanes[lane] = projected_blocks.Block.begin(lane, entries[0], spot.offset)
        version, block.version = block.version, -1
        block.add(entries, spot.offset)
        block.version = max(version, spot.offset)
        held.changed[block.id] = block
        held.first = held.first or (spot.offset, spot.epoch)

    return [(blocks.BlockWriter, "_fold", fold)]


def partitions_that_went_are_folded_on() -> list[Patch]:
    whole = blocks.BlockWriter.held

    def held(self: Any, place: Any) -> Any:
        found = whole(self, place)
        kept = self.__dict__.setdefault("_ever", {})
        return kept.setdefault(place, found)

    def forget(self: Any, place: Any) -> None:
        return

    return [(blocks.BlockWriter, "held", held), (blocks.BlockWriter, "forget", forget)]


# -- the quota -----------------------------------------------------------------------------------------------------


def _decided_by(command: type[Any], handler: Any) -> list[Patch]:
    """This command is decided by another function."""
    whole = partition.Rules.handler
    return [
        (partition.Rules, "handler", lambda self, one: handler if type(one) is command else whole(self, one))
    ]


def strangers_are_let_in_unasked() -> list[Patch]:
    async def take(self: Any, tenant: str) -> bool:
        return True

    return [(LogQuota, "take", take)]


def a_count_alone() -> list[Patch]:
    """One more or one less for whatever is told; what knows a repeat is its id, as long as that is remembered."""

    def count(fleet: Any, command: Any, meta: Any) -> Any:
        before, one = fleet.state.counts, 1 if command.member.registered else -1
        automatic = before.automatic + one * command.charge_point_id.startswith("NEW-")
        counts = Counts(charge_points=before.charge_points + one, automatic=automatic)
        id, member = command.charge_point_id, command.member
        fleet.trigger(ChargePointCounted, meta.at, charge_point_id=id, member=member, counts=counts)
        return Accepted()

    return _decided_by(CountChargePoint, count)


def a_late_word_of_a_charge_point_counts() -> list[Patch]:
    def count(fleet: Any, command: Any, meta: Any) -> Any:
        id, member = command.charge_point_id, command.member
        if fleet.state.members.get(id) != member:
            counts = fleet.state.counts_with(id, member)
            fleet.trigger(ChargePointCounted, meta.at, charge_point_id=id, member=member, counts=counts)
        return Accepted()

    return _decided_by(CountChargePoint, count)


def a_late_word_of_a_part_counts() -> list[Patch]:
    def count_part(tenant: Any, command: Any, meta: Any) -> Any:
        state, part = tenant.state, PartCounts(version=command.version, counts=command.counts)
        if state.fleet.get(command.part) != part:
            counts = state.counts_with(command.part, command.counts)
            tenant.trigger(TenantFleetCounted, meta.at, part=command.part, part_counts=part, counts=counts)
        return Accepted()

    return _decided_by(CountPart, count_part)


# -- keys ----------------------------------------------------------------------------------------------------------


def what_was_known_of_keys_counts_for_ever() -> list[Patch]:
    return [(LogKeys, "is_current", property(lambda self: self._as_of is not None))]


def keys_are_heard_from_the_end_on() -> list[Patch]:
    whole = LogKeys._begin

    async def begin(self: Any, reader: Any) -> Any:
        fences = await whole(self, reader)
        await reader.assign(await self._log.ends(list(fences)))
        return fences

    return [(LogKeys, "_begin", begin)]


def what_is_read_of_a_key_counts_whatever_was_heard() -> list[Patch]:
    async def key(self: Any, key_id: str) -> Any:
        await self._be_current()
        if key_id not in self._keys and (document := await self._reading.get(key_id)) is not None:
            self._keys[key_id] = document
        return self._keys.get(key_id)

    return [(LogKeys, "_key", key)]


# -- what is wanted of a charge point --------------------------------------------------------------------------------


def pushes_have_no_end() -> list[Patch]:
    return [(wanted, "PUSHES_MOST", 1000), (configuring, "PUSHES_MOST", 1000)]


def what_it_may_hold_is_left_to_it() -> list[Patch]:
    return [(Reservation, "to_give_up", property(lambda self: self.cancelling and self.runs))]


# -- jobs ----------------------------------------------------------------------------------------------------------


def portions_issue_whatever_they_hear() -> list[Patch]:
    def issue(portion: Any, command: Any, meta: Any) -> Any:
        state = portion.state
        items = tuple(
            JobItem(
                job_id=state.job_id,
                listing=state.listing,
                item=one.item,
                attempt=one.attempt,
                about=state.about[one.item - state.first],
            )
            for one in command.items
        )
        values = {"items": items, "begun_at": command.begun_at, "work": state.work}
        portion.trigger(JobItemsIssued, meta.at, tenant=state.tenant, **values)
        return Accepted()

    return _decided_by(IssueItems, issue)


def any_outcome_is_of_the_attempt_that_is_out() -> list[Patch]:
    return [(JobState, "is_out", lambda self, item, attempt: item in self.out)]


def a_connection_tells_nobody() -> list[Patch]:
    return [(presence, "tell_who_waits", lambda charge_point, at: None)]


# -- partners ------------------------------------------------------------------------------------------------------


def requests_of_partners_are_no_identity() -> list[Patch]:
    whole = PartnerCommands.start

    async def start(self: Any, request: Any, body: Any) -> Any:
        meta = msgspec.structs.replace(request.meta, command_id=f"ocpi|{uuid.uuid4()}")
        return await whole(self, dataclasses.replace(request, meta=meta), body)

    return [(PartnerCommands, "start", start)]


# -- locations -----------------------------------------------------------------------------------------------------


def a_part_makes_the_whole_as_new_as_itself() -> list[Patch]:
    lift = location_domain._lift

    def lifted(state: Any, last_updated: str) -> None:
        lift(state, last_updated)
        state.own_at = to_date_time(last_updated)

    return [(location_domain, "_lift", lifted)]


def an_older_push_of_an_evse_counts() -> list[Patch]:
    return [(location_commands, "_own_at", lambda state, evse: datetime.min.replace(tzinfo=UTC))]


# -- what CPOs push ------------------------------------------------------------------------------------------------


def each_patch_is_a_new_one() -> list[Patch]:
    def patch(session: Any, command: Any, meta: Any) -> Any:
        new = msgspec.structs.replace(command, fingerprint=f"{command.fingerprint}|{meta.command_id}")
        return foreign_session.patch(session, new, meta)

    return _decided_by(PatchForeignSession, patch)


def older_states_are_applied() -> list[Patch]:
    def patch(session: Any, command: Any, meta: Any) -> Any:
        if session.state.last_updated is not None:
            session.state.last_updated = command.last_updated
        return foreign_session.patch(session, command, meta)

    return _decided_by(PatchForeignSession, patch)


def a_cdr_of_others_is_wanted_beside_its_fact() -> list[Patch]:
    """In a task of its own, after a while: its fact is handled before."""

    async def hand_on(self: Any, desk: Any, fact: Any, events: Any) -> None:
        if (cdr := posted(events, fact.offset)) is not None:
            to, meta = cdr[0], fact.decision.meta

            async def later() -> None:
                await asyncio.sleep(8.0)
                await self._want(desk, to, cdr[1], meta.tenant, meta.correlation_id)

            desk.tasks.append(asyncio.create_task(later()))

    return [(pushes.Pushes, "_hand_on", hand_on)]


def the_last_cdr_counts() -> list[Patch]:
    def post(cdr: Any, command: Any, meta: Any) -> Any:
        blank = ForeignCdr.blank(cdr.id)
        known = cdr.exists and cdr.state.fingerprint == command.fingerprint
        outcome = foreign_cdr.post(cdr if known or not cdr.exists else blank, command, meta)
        made: Sequence[Any] = blank.collect_events()
        for event in made:
            values = {name: getattr(event, name) for name in event.__struct_fields__[4:]}
            cdr.trigger(type(event), meta.at, **values)
        return outcome

    return _decided_by(PostForeignCdr, post)
