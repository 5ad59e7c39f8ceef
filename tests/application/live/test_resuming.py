"""The law of bookmarks: whatever is told, cut, taken slowly, forgotten by memory or moved to another process, a
listener hears everything of its tenant since its first bookmark, in the order of each partition, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from application.live.events import Wanted
from application.live.fanout import Fanout
from streams.log.topology import PUBLIC
from tests.application.live.public_log import Listener, PublicLog, fanout_of
from tests.laws import tried

TELL = st.tuples(
    st.just("tell"),
    st.sampled_from(("demo", "acme", "")),
    st.sampled_from(tuple(PUBLIC)),
    st.integers(0, 2),
)
STEP = st.one_of(
    TELL,
    TELL,
    TELL,
    st.tuples(st.just("take"), st.integers(0, 3)),
    st.tuples(st.just("cut"), st.integers(0, 3), st.integers(0, 1)),
    st.tuples(st.just("pause"), st.integers(1, 20)),
    st.tuples(st.just("kill"), st.integers(0, 1)),
)
SMALL = {"waiting": 2, "kept": 3, "turn": 4, "near": 2}


@given(
    st.lists(STEP, max_size=60),
    st.integers(1, 3),
    st.sampled_from((SMALL, {}, {"kept": 0, "near": 0}, {"waiting": 1, "turn": 1, "near": 1})),
    st.sampled_from((1, 500)),
)
@examples(max_examples=tried(600), deadline=None)
def test_a_listener_hears_everything_of_its_tenant_and_nothing_else(
    steps: list[Any], partitions: int, bounds: dict[str, int], at_once: int
) -> None:
    asyncio.run(_tried(steps, partitions, bounds, at_once))


async def _tried(steps: list[Any], partitions: int, bounds: dict[str, int], at_once: int) -> None:
    log = PublicLog(partitions)
    log.most_at_once = at_once
    fanouts = [fanout_of(log, **bounds), fanout_of(log, **bounds)]
    listeners = [Heard(tenant) for tenant in ("demo", "demo", "acme", "")]
    for number, one in enumerate(listeners):
        await one.connect(fanouts[number % 2])
    told: list[tuple[str, str, int, str]] = []
    for kind, *what in steps:
        if kind == "tell":
            tenant, topic, number = what
            partition = number % partitions
            told.append((tenant, topic, partition, log.tell(tenant, topic, partition)))
        elif kind == "take":
            await listeners[what[0]].take()
        elif kind == "cut":
            await listeners[what[0]].connect(fanouts[what[1]])
        elif kind == "pause":
            for _ in range(what[0]):
                await asyncio.sleep(0)
        else:
            await fanouts[what[0]].close()
            fanouts[what[0]] = fanout_of(log, **bounds)
    for one in listeners:
        own = [id for tenant, _, _, id in told if tenant == one.tenant]
        async with asyncio.timeout(20):
            while not set(own) <= set(one.ids):
                await one.take()
                if one.at.subscription.ended:
                    await one.connect(fanouts[0])
                await asyncio.sleep(0)
        assert set(one.ids) == set(own)
        for topic in PUBLIC:
            for partition in range(partitions):
                inside = [
                    id for tenant, *place, id in told if tenant == one.tenant and place == [topic, partition]
                ]
                assert [id for id in dict.fromkeys(one.ids) if id in inside] == inside
    for fanout in fanouts:
        await fanout.close()
    assert log.open_readers == 0


class Heard:
    """A client: it forgets what it has not wholly taken when it is cut, and comes back with the last id."""

    at: Listener

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.ids: list[str] = []
        self.last: str | None = None

    async def connect(self, fanout: Fanout) -> None:
        if self.last is not None:
            self.at.subscription.close()
        self.at = await Listener(fanout, Wanted(self.tenant, people=True)).begin(self.last)
        if self.last is None:
            self.last = self.at.subscription.bookmark

    async def take(self) -> None:
        for event in await self.at.subscription.next(0.0):
            if id := msgspec.json.decode(event.data).get("id"):
                self.ids.append(id)
            self.last = event.id
        self.last = self.at.subscription.bookmark or self.last
