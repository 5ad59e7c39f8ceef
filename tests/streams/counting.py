"""Read models of the counters, for the projector's tests; and facts about them, straight into a log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from commands.base import Area, Meta
from domain.aggregate import Event
from projections.base import Feed, Target, View
from projections.store import HUB, Document, Insert, Write
from streams.log import Log, Record
from streams.log.envelope import Claim, Decision, Reply, encode, raw, record
from streams.log.layout import Layout
from streams.log.topology import events_topic
from tests.streams.counter import Added, Counter

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
UNLUCKY = 13


def target(event: Event, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


class Faulty:
    """A projection that raises at an unlucky amount until it is mended."""

    def __init__(self) -> None:
        self.mended = False

    def evolve(self, document: Document | None, event: Event, meta: Meta) -> Document | None:
        assert isinstance(event, Added)
        if event.amount == UNLUCKY and not self.mended:
            raise ValueError("unlucky")
        total = (document or {"total": 0})["total"]
        assert isinstance(total, int)
        return {"total": total + event.amount}

    @property
    def view(self) -> View:
        return View("counters", Counter.kind, "counters", target, self.evolve, dense=True)


def additions(event: Event, meta: Meta) -> Sequence[Write]:
    id = f"{event.originator_id}|{event.originator_version}"
    return [Insert(HUB, "additions", id, {"command": meta.command_id})]


FEED = Feed("additions", Counter.kind, additions)


def added(name: str, version: int, amount: int, epoch: int = 0) -> Decision:
    id = f"counter|{name}"
    event = Added(
        originator_id=id,
        originator_version=version,
        timestamp=BEGIN + timedelta(seconds=version),
        amount=amount,
    )
    return Decision(
        command="counter.add.v1",
        command_offset=version,
        epoch=epoch,
        meta=Meta(command_id=f"{name}-{version}", at=event.timestamp, tenant="t"),
        reply=Reply(aggregate=id, version=version),
        events=[raw(event)],
    )


async def write(log: Log, *decisions: Decision) -> None:
    """Each goes to its aggregate's partition."""
    for decision in decisions:
        key = decision.reply.aggregate
        await log.append(
            events_topic(Area.CHARGE_POINT), Layout().partition_of(key), [record(key, decision, "t")]
        )


async def claim(log: Log, name: str) -> int:
    [epoch] = await log.append(
        events_topic(Area.CHARGE_POINT),
        Layout().partition_of(f"counter|{name}"),
        [Record(None, encode(Claim(owner="somebody")))],
    )
    return epoch
