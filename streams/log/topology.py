"""The names and shapes of the log's topics. Kept for ever."""

from __future__ import annotations

from datetime import timedelta

from commands.base import Area
from streams.log import TopicSpec
from streams.log.layout import Layout

PREFIX = "chargesphere"
DAY_MS = 86_400_000
RETENTION = timedelta(days=30)
"""How long commands and frames are kept, and what is over is remembered (ADR 16)."""

LOG_TIME = {"message.timestamp.type": "LogAppendTime"}
"""A record's time is that at which the log took it, by the log's clock."""

REPLIES = f"{PREFIX}.replies"
DOWNLINKS = f"{PREFIX}.downlinks"
FRAMES = f"{PREFIX}.frames"
DEAD = f"{PREFIX}.dead"
TOPOLOGY = f"{PREFIX}.topology"
FAUST = f"{PREFIX}-faust"
"""The id of the Faust application; it sees only topics that exist when it starts, its own changelogs included."""
OBSERVED = (Area.CHARGE_POINT,)
"""The areas that have readings beside their events."""
FAUST_TABLES = {Area.SESSION: "session-documents", Area.TOKEN: "token-documents"}
PUBLIC = {
    "sessions": f"{PREFIX}.public.sessions.v1",
    "cdrs": f"{PREFIX}.public.cdrs.v1",
    "tokens": f"{PREFIX}.public.tokens.v1",
    "charge-points": f"{PREFIX}.public.charge-points.v1",
    "meter-values": f"{PREFIX}.public.meter-values.v1",
}


def commands_topic(area: Area) -> str:
    return f"{PREFIX}.commands.{area.value}"


def events_topic(area: Area) -> str:
    return f"{PREFIX}.events.{area.value}"


def readings_topic(area: Area) -> str:
    """Facts of the area's aggregates that nobody decides, beside its events: same key, same partition."""
    return f"{PREFIX}.readings.{area.value}"


def state_topic(area: Area) -> str:
    return f"{PREFIX}.state.{area.value}"


def topology_topic() -> TopicSpec:
    """Where it stands how many partitions the others have (`streams.log.founding`)."""
    return TopicSpec(TOPOLOGY, 1)


def topics(layout: Layout) -> tuple[TopicSpec, ...]:
    """Every topic of this release: events and readings for ever, commands and frames 30 days, state compacted."""
    count = layout.partitions
    month = RETENTION // timedelta(milliseconds=1)
    each = [
        spec
        for area in Area
        for spec in (
            TopicSpec(commands_topic(area), count, retention_ms=month, settings=LOG_TIME),
            TopicSpec(events_topic(area), count),
            TopicSpec(state_topic(area), count, compacted=True),
        )
    ]
    return (
        *each,
        *(TopicSpec(readings_topic(area), count, settings=LOG_TIME) for area in OBSERVED),
        TopicSpec(FRAMES, count, retention_ms=month),
        TopicSpec(REPLIES, count, retention_ms=DAY_MS),
        TopicSpec(DOWNLINKS, count, retention_ms=DAY_MS),
        TopicSpec(DEAD, 1, compacted=True),
        topology_topic(),
        *(TopicSpec(name, count) for name in PUBLIC.values()),
        *(TopicSpec(f"{FAUST}-{table}-changelog", count, compacted=True) for table in FAUST_TABLES.values()),
    )
