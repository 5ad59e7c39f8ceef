"""A message that nothing holds up is handed over without a task; one that is held up waits as Faust lets it wait."""

from __future__ import annotations

import asyncio

import pytest

from streams.faust_transport import HandingOver


@pytest.fixture
async def consumer() -> HandingOver:
    return HandingOver()


async def test_a_message_that_nothing_holds_up_is_handed_over_here_and_now(consumer: HandingOver) -> None:
    by: list[object] = []

    async def delivery() -> None:
        by.append(asyncio.current_task())

    result = await consumer.wait_first(delivery(), asyncio.Event().wait())

    assert by == [asyncio.current_task()]
    assert not result.stopped


async def test_a_message_that_is_held_up_is_handed_over_once_there_is_room(consumer: HandingOver) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    queue.put_nowait(1)
    handing = asyncio.create_task(consumer.wait_first(queue.put(2), asyncio.Event().wait()))
    assert await queue.get() == 1
    result = await handing

    assert queue.get_nowait() == 2
    assert not result.stopped


async def test_when_partitions_move_a_message_that_is_held_up_is_given_up(consumer: HandingOver) -> None:
    given_up = asyncio.Event()
    moved = asyncio.Event()

    async def delivery() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            given_up.set()

    handing = asyncio.create_task(consumer.wait_first(delivery(), moved.wait()))
    moved.set()
    await handing
    await asyncio.wait_for(given_up.wait(), 5)


async def test_what_a_delivery_raises_is_raised(consumer: HandingOver) -> None:
    async def at_once() -> None:
        raise KeyError("at once")

    async def later() -> None:
        await asyncio.sleep(0)
        raise KeyError("later")

    with pytest.raises(KeyError, match="at once"):
        await consumer.wait_first(at_once(), asyncio.Event().wait())
    with pytest.raises(KeyError, match="later"):
        await consumer.wait_first(later(), asyncio.Event().wait())
