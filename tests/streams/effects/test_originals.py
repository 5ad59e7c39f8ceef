"""A CDR is found in the read model, and where that is behind in the fact that issued it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chargesphere import registry
from commands.base import Area
from domain.delivery import AttemptDue
from projections.store import HUB, Put
from projections.store.sqlite import SqliteReadStore
from streams.effects.originals import Originals
from streams.log import TopicPartition
from streams.log.envelope import DamagedRecordError, record
from streams.log.layout import Layout
from streams.log.sqlite.log import SqliteLog
from streams.log.topology import events_topic
from tests.domain.golden import golden
from tests.projections.facts import MSP, NOON, SESSION, decision, ended, meta, priced

PLACE = TopicPartition(events_topic(Area.SESSION), Layout().partition_of(f"session|{SESSION}"))


def due(offset: int, **changes: Any) -> AttemptDue:
    return AttemptDue(
        originator_id=f"delivery|{MSP}|cdrs|{SESSION}",
        originator_version=2,
        timestamp=NOON,
        **{
            "to": MSP,
            "module": "cdrs",
            "object_id": SESSION,
            "tenant": "demo",
            "attempt": 1,
            "wanted": 3,
            "partition": PLACE.partition,
            "offset": offset,
            "lease": NOON + timedelta(seconds=30),
            **changes,
        },
    )


@pytest.fixture
async def issued(embedded: SqliteLog) -> int:
    """The offset of a fact by a decider that was not the first one."""
    late = msgspec.structs.replace(decision(ended(2, 600, 4200), priced(3, 600), meta=meta()), epoch=7)
    [offset] = await embedded.append(*PLACE, [record(f"session|{SESSION}", late, "demo")])
    return offset


def originals(log: SqliteLog, store: SqliteReadStore) -> Originals:
    return Originals(log, registry.EVENTS, registry.DELIVERED, store)


async def test_what_the_read_model_has_not_got_is_found_in_the_fact_that_issued_it(
    embedded: SqliteLog, read_store: SqliteReadStore, issued: int
) -> None:
    content = await originals(embedded, read_store).find(due(issued))
    cdr: Any = content.document["cdr"]
    assert (content.version, cdr["id"], cdr["total_energy"]) == (3, SESSION, 4.2)


async def test_what_the_read_model_has_is_found_there(
    embedded: SqliteLog, read_store: SqliteReadStore, issued: int
) -> None:
    await read_store.apply([Put(HUB, "cdrs", SESSION, 4, {"cdr": {"id": "of the read model"}})])
    content = await originals(embedded, read_store).find(due(issued))
    cdr: Any = content.document["cdr"]
    assert (content.version, cdr["id"]) == (4, "of the read model")


async def test_of_a_cdr_that_a_cpo_posted_the_fact_is_found_too(
    embedded: SqliteLog, read_store: SqliteReadStore
) -> None:
    event = registry.EVENTS.decode(golden("foreign_cdr", "foreign_cdr.posted.v1"))
    [offset] = await embedded.append(*PLACE, [record(event.originator_id, decision(event, meta=meta()), "")])
    content = await originals(embedded, read_store).find(due(offset, object_id="FR*CPO|c1"))
    cdr: Any = content.document["cdr"]
    assert (content.version, cdr["id"], content.document["cdr_token"]) == (1, "C1", "s1.9f2c.BBBB")
    with pytest.raises(DamagedRecordError, match="issues no"):
        await originals(embedded, read_store).find(due(offset, object_id="C1"))


async def test_a_fact_that_issues_another_cdr_is_no_original(
    embedded: SqliteLog, read_store: SqliteReadStore, issued: int
) -> None:
    with pytest.raises(DamagedRecordError, match="issues no other"):
        await originals(embedded, read_store).find(due(issued, object_id="other"))
