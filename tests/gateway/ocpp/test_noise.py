"""Whatever a charge point sends: it gets an answer that is a frame, or none, and the next heartbeat is answered."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.ocpp.fakes import Client, world
from tests.laws import tried

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
actions = st.sampled_from(
    ["Heartbeat", "StartTransaction", "StopTransaction", "MeterValues", "Authorize", "X"]
)
calls = st.tuples(st.just(2), st.text(min_size=1, max_size=36), actions, json_values).map(json.dumps)
noise = st.one_of(st.text(max_size=40), json_values.map(json.dumps), calls)


@settings(max_examples=tried(40), deadline=None)
@given(st.lists(noise, max_size=6))
def test_noise_is_survived_J_12_J_13_J_17(frames: list[str]) -> None:
    asyncio.run(_say(frames))


async def _say(frames: list[str]) -> None:
    async with world() as w, w.connected() as cp:
        for frame in frames:
            await cp.socket.send(frame)
        await cp.socket.send('[2,"the last one","Heartbeat",{}]')
        assert await _until(cp, "the last one") == [3, "the last one"]


async def _until(cp: Client, id: str) -> object:
    while True:
        kind, found, *_ = await cp.frame()
        assert kind in (3, 4)
        if found == id:
            return [kind, found]
