"""Decisions of the log become MQTT messages, at least once, in order for each charge point.

What enters: charge point, session and remote command events, as a sink of its own. What leaves: messages of
`projections.mqtt`, acknowledged by the broker before the position moves. What it must remember of an aggregate it
keeps in a database of its own beside the read models, which no rebuild drops. It never disturbs anybody: while the
broker is away its position stands still, and nobody else's. Nor does it tell history: what had happened before MQTT
was switched on is remembered only (`gateway.mqtt.beginning`), unless it was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence
from datetime import UTC

import msgspec

from commands.base import Area, Meta
from domain.aggregate import Event, EventRegistry, kind_of
from gateway.mqtt.beginning import Beginning
from gateway.mqtt.connection import Broker, BrokerAwayError, BrokerConnection, Outgoing
from projections.moment import utc_text
from projections.mqtt import (
    TOLD,
    VIEWS,
    ChargePointView,
    Message,
    View,
    id_of,
    remembered,
    status_message,
    tell,
)
from projections.store import (
    Document,
    Put,
    Query,
    ReadStore,
    StoreError,
    StoreRejectedError,
    StoreUnavailableError,
    expiry,
)
from streams.following.facts import Fact, TransientError
from streams.following.sink import MOST_IN_ALL, Gained, Handle, Sink
from streams.log import Log, TopicPartition
from streams.log.envelope import select_events
from streams.log.layout import Layout
from streams.log.topology import events_topic
from streams.projecting.writer import StoreWriter

logger = logging.getLogger(__name__)

DATABASE = "chargesphere_mqtt"
KEEP_S = 86_400
"""How long the view of what has ended is kept, so that an event told again tells the same."""

CACHED = 50_000
AREAS = (Area.CHARGE_POINT, Area.SESSION, Area.REMOTE_COMMAND)


class Publisher:
    """`sink` is what it does with facts, while `run` keeps the connection. `counts` holds what was told, and
    `connection` how the broker is.

    `tell_history`: also what had happened before MQTT was switched on.
    """

    def __init__(
        self,
        log: Log,
        store: ReadStore,
        events: EventRegistry,
        connection: BrokerConnection,
        *,
        tell_history: bool = False,
    ) -> None:
        self.connection = connection
        self._log = log
        self._store = store
        self.beginning = Beginning(log, store, DATABASE)
        self._tell_history = tell_history
        self.teller = Teller(store, events, connection, self.beginning)
        self.sink = sink_of(
            log, self.teller, self._tell, gained=None if tell_history else self.beginning.gained
        )

    @property
    def counts(self) -> dict[str, int]:
        return {**self.teller.counts, **self.connection.counts}

    async def _tell(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        """Waits for the broker, however long it is away; the connection says so, once."""
        wait = 0.05
        while True:
            if not self.connection.connected.is_set():
                self.teller.counts["waited"] += 1
                await self.connection.connected.wait()
            try:
                return await self.teller.handle(place, facts)
            except BrokerAwayError:
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def run(self) -> None:
        await self._prepare()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.connection.run())
            tasks.create_task(self._retell_after_losses())
            tasks.create_task(self._begin())

    async def ready(self) -> None:
        """Raises where it is not known yet from where on this process tells: what happens now may not be told."""
        if not (self._tell_history or self.beginning.known.is_set()):
            raise RuntimeError("it is not known yet from where on MQTT tells")

    async def _begin(self) -> None:
        """Where all that was there before has been taken in, each charge point's status is told as it is then."""
        while True:
            await self.beginning.awaited.wait()
            await self.connection.connected.wait()
            if reached := frozenset(self.beginning.reached(self.sink.positions)):
                try:
                    await self.teller.retell(reached, self._log.layout)
                    await self.beginning.begun(reached)
                except (StoreError, TransientError) as error:
                    logger.warning("the status as it is now is not told yet: %s", error)
            await asyncio.sleep(0.25)

    async def _retell_after_losses(self) -> None:
        """A broker that comes back may have lost what it retained: the status of each charge point is told anew."""
        await self.connection.connected.wait()
        while True:
            await self.connection.away.wait()
            said = False
            while True:
                await self.connection.connected.wait()
                try:
                    await self.teller.retell(frozenset(self.sink.positions), self._log.layout)
                    break
                except (StoreError, TransientError) as error:
                    if not said and not isinstance(error, BrokerAwayError):
                        said = True
                        logger.warning("the retained status is not told anew yet: %s", error)
                    await asyncio.sleep(1.0)

    async def _prepare(self) -> None:
        while True:
            try:
                await self._store.ensure(
                    [expiry(DATABASE, _collection(kind), "done_at", KEEP_S) for kind in VIEWS]
                )
                return
            except StoreUnavailableError:
                await asyncio.sleep(1.0)


class Teller:
    """What the publisher does with one batch, without any loop of its own."""

    def __init__(
        self, store: ReadStore, events: EventRegistry, broker: Broker, beginning: Beginning | None = None
    ) -> None:
        self._store = store
        self._beginning = beginning
        self._writer = StoreWriter(store)
        self._events = events
        self._broker = broker
        self._views: OrderedDict[str, View | None] = OrderedDict()
        self._locks: dict[TopicPartition, asyncio.Lock] = {}
        self._acknowledged: dict[TopicPartition, set[str]] = {}
        self.counts = {"told": 0, "waited": 0, "failed": 0}

    async def handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        """Tell one batch; raises TransientError with the batch to be handed over again, whose acknowledged
        messages are then not repeated."""
        begin = 0 if self._beginning is None else self._beginning.of(place)
        async with self._lock(place):
            await self._handle(place, [fact for fact in facts if fact.offset < begin], silent=True)
            await self._handle(place, [fact for fact in facts if fact.offset >= begin])

    async def _handle(self, place: TopicPartition, facts: Sequence[Fact], *, silent: bool = False) -> None:
        work = [
            (event, fact.decision.meta)
            for fact in facts
            for event in select_events(fact.decision, self._events, TOLD)
        ]
        if not work:
            return
        views = await self._load(remembered(event for event, _ in work))
        messages, changed = self._fold(work, views)
        if not silent:
            await self._publish(place, [_outgoing(message) for message in messages])
        await self._remember([_put(id, view) for id, view in changed.items()])
        self._acknowledged.pop(place, None)
        for id, view in changed.items():
            self._views[id] = view
        while len(self._views) > CACHED:
            self._views.popitem(last=False)

    async def _remember(self, puts: Sequence[Put]) -> None:
        """One that the store refuses is said, and is remembered by this process alone; the others are kept."""
        try:
            await self._writer.apply(puts)
        except StoreRejectedError as error:
            if len(puts) == 1:
                logger.error("what MQTT was told of %s is not remembered: %s", puts[0].id, error)
                self.counts["failed"] += 1
                return
            for put in puts:
                await self._remember([put])

    async def retell(self, places: Collection[TopicPartition], layout: Layout) -> None:
        """Tell the status of every charge point of these partitions, as it is now, in order with what is handled."""
        cursor: str | None = None
        topic = events_topic(Area.CHARGE_POINT)
        while True:
            query = Query(DATABASE, _collection(ChargePointView.kind), limit=500, cursor=cursor)
            page = await self._store.find(query)
            found: dict[TopicPartition, set[str]] = {}
            for document in page.items:
                id = str(document["_id"])
                place = TopicPartition(topic, layout.partition_of(id))
                if place in places:
                    found.setdefault(place, set()).add(id)
            await asyncio.gather(*(self._retell(place, ids) for place, ids in found.items()))
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _retell(self, place: TopicPartition, ids: set[str]) -> None:
        async with self._lock(place):
            messages: list[Outgoing] = []
            for id, view in (await self._load(ids)).items():
                if isinstance(view, ChargePointView) and view.done_at is None:
                    messages.append(_outgoing(status_message(view, id_of(id, str(view.version), "status"))))
            await self._broker.publish(messages, set())

    def _lock(self, place: TopicPartition) -> asyncio.Lock:
        return self._locks.setdefault(place, asyncio.Lock())

    def forget(self, place: TopicPartition) -> None:
        """This partition comes or goes: what is known of aggregates is read anew."""
        self._views.clear()
        self._acknowledged.pop(place, None)
        if self._beginning is not None:
            self._beginning.forget([place])

    def _fold(
        self, work: Sequence[tuple[Event, Meta]], views: dict[str, View | None]
    ) -> tuple[list[Message], dict[str, View]]:
        messages: list[Message] = []
        changed: dict[str, View] = {}
        for event, meta in work:
            id = event.originator_id
            before = views.get(id)
            try:
                after, told = tell(before, event, meta)
            except Exception:
                # A mistake of ours in one event must not keep all others of its partition from being told.
                logger.exception("version %d of %s is not told by MQTT", event.originator_version, id)
                self.counts["failed"] += 1
                continue
            messages.extend(told)
            if after is not None and after is not before:
                views[id] = changed[id] = after
        return messages, changed

    async def _publish(self, place: TopicPartition, messages: Sequence[Outgoing]) -> None:
        """All in order; what was acknowledged before a failure is not sent again with the batch."""
        acknowledged = self._acknowledged.setdefault(place, set())
        left = [message for message in messages if message.event_id not in acknowledged]
        before = len(acknowledged)
        try:
            await self._broker.publish(left, acknowledged)
        except BrokerAwayError:
            self.counts["waited"] += 1
            raise
        finally:
            self.counts["told"] += len(acknowledged) - before

    async def _load(self, ids: set[str]) -> dict[str, View | None]:
        views: dict[str, View | None] = {}
        wanted: dict[str, set[str]] = {}
        for id in ids:
            if id in self._views:
                self._views.move_to_end(id)
                views[id] = self._views[id]
            else:
                wanted.setdefault(kind_of(id), set()).add(id)
        for kind, missing in wanted.items():
            try:
                found = await self._store.get_many(DATABASE, _collection(kind), missing)
            except StoreUnavailableError as error:
                raise TransientError(str(error)) from error
            for id in missing:
                views[id] = self._views[id] = _view(kind, found.get(id))
        return views


def sink_of(log: Log, teller: Teller, handle: Handle, *, gained: Gained | None = None) -> Sink:
    """MQTT's. What a teller remembers of a partition ends when it comes or goes: another node may have gone further
    meanwhile."""
    return Sink(
        log,
        "mqtt",
        AREAS,
        handle,
        readings=True,
        gained=gained,
        forget=teller.forget,
        most_in_all=MOST_IN_ALL,
    )


_encoder = msgspec.json.Encoder()


def _outgoing(message: Message) -> Outgoing:
    payload = b"" if message.payload is None else _encoder.encode(message.payload)
    return Outgoing(message.topic, payload, message.event_id, message.retain)


def _collection(kind: str) -> str:
    return f"{kind}s"


def _view(kind: str, document: Document | None) -> View | None:
    return None if document is None else msgspec.convert(document, VIEWS[kind], str_keys=True)


def _put(id: str, view: View) -> Put:
    document = msgspec.to_builtins(view, str_keys=True)
    document.pop("version", None)
    if view.done_at is not None:
        document["done_at"] = utc_text(view.done_at.astimezone(UTC))
    return Put(DATABASE, _collection(kind_of(id)), id, view.version, document)
