"""The public topics: events of the log enter, CloudEvents that outsiders may rely on leave.

What enters: charge point, session and token events, as a sink of its own. What leaves: one record for each
event that is public, keyed by its aggregate, at least once and in order for each aggregate; `ce_id` is the same
whenever it is told again. The position moves after the append. An event that cannot be told parks its aggregate: the
contract promises every event. The others are told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

from commands.base import Area
from domain.aggregate import EventRegistry
from domain.session import CdrWithheld
from projections.public import TOLD, cloud_event
from streams.following.facts import Fact
from streams.following.sink import MOST_IN_ALL, Sink
from streams.log import Log, Record, TopicPartition, append_size
from streams.log.envelope import select_events
from streams.log.topology import PUBLIC

logger = logging.getLogger(__name__)

AREAS = (Area.CHARGE_POINT, Area.SESSION, Area.TOKEN)
WITHHELD = "withheld"
APPEND_BYTES = 500_000
GATHER_S = 0.25
"""Under load outsiders are told this much later, in fewer and larger appends."""


class PublicTopics:
    """`sink` is what it does with facts. `counts` holds how many records were appended, by topic, and of CDRs
    `withheld`."""

    def __init__(self, log: Log, events: EventRegistry) -> None:
        self._log = log
        self._events = events
        self.sink = Sink(
            log,
            "public",
            AREAS,
            self._handle,
            readings=True,
            gather=GATHER_S,
            most_in_all=MOST_IN_ALL,
        )
        self.counts: dict[str, int] = dict.fromkeys((*PUBLIC, WITHHELD), 0)

    async def _handle(self, place: TopicPartition, facts: Sequence[Fact]) -> None:
        out: dict[tuple[str, int], list[Record]] = {}
        withheld = 0
        for fact in facts:
            for event in select_events(fact.decision, self._events, TOLD):
                told = cloud_event(event, fact.decision.meta)
                withheld += isinstance(event, CdrWithheld)
                if told is not None:
                    record = Record(told.key.encode(), told.data, told.headers)
                    out.setdefault((told.topic, self._log.layout.partition_of(told.key)), []).append(record)
        appends = [self._append(topic, partition, records) for (topic, partition), records in out.items()]
        if len(appends) == 1:
            await appends[0]
        elif appends:
            await asyncio.gather(*appends)
        self.counts[WITHHELD] += withheld

    async def _append(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        for chunk in chunks(records):
            await self._log.append_patiently(PUBLIC[topic], partition, chunk)
            self.counts[topic] += len(chunk)


def chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records in order, in appends of about half a megabyte."""
    begin = size = 0
    for index, record in enumerate(records):
        length = append_size((record,))
        if index > begin and size + length > APPEND_BYTES:
            yield records[begin:index]
            begin, size = index, 0
        size += length
    if begin < len(records):
        yield records[begin:]
