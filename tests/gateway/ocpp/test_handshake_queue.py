"""Turns: so many at once, the others in order, and nobody waits in vain."""

from __future__ import annotations

import asyncio

import pytest

from gateway.ocpp.handshake_queue import Appointments, CrowdedError, Turns


async def take(turns: Turns, go: asyncio.Event, order: list[int], number: int) -> None:
    async with turns.one():
        order.append(number)
        await go.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_at_once_and_the_others_in_the_order_of_their_coming() -> None:
    turns, go, order = Turns(2), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(take(turns, go, order, number)) for number in range(5)]
    await settle()
    assert order == [0, 1]
    go.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_a_queue_that_is_full_refuses_at_once() -> None:
    turns, go = Turns(1, most_waiting=1), asyncio.Event()
    tasks = [asyncio.create_task(take(turns, go, [], number)) for number in range(2)]
    await settle()
    with pytest.raises(CrowdedError):
        await take(turns, go, [], 2)
    go.set()
    await asyncio.gather(*tasks)
    await take(turns, go, [], 3)


async def test_nobody_waits_for_longer_than_is_allowed_and_the_next_one_gets_the_turn() -> None:
    turns, go = Turns(1, longest_wait=0.15), asyncio.Event()
    holder = asyncio.create_task(take(turns, go, [], 0))
    await settle()
    with pytest.raises(CrowdedError):
        await take(turns, go, [], 1)
    go.set()
    await holder
    await take(turns, go, [], 2)


async def test_slow_turns_shorten_the_queue() -> None:
    turns = Turns(1, longest_wait=0.4)
    before = turns.per_second
    go = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, go.set)
    await take(turns, go, [], 0)
    assert turns.per_second < before


async def test_a_turn_that_fails_is_over() -> None:
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            async with turns.one():
                raise ValueError("broken")


def test_appointments_come_one_after_another_and_are_not_saved_up() -> None:
    appointments = Appointments()
    assert [appointments.next(100.0, 2.0) for _ in range(3)] == [100.5, 101.0, 101.5]
    assert appointments.next(200.0, 2.0) == 200.5
    assert appointments.next(150.0, 2.0) == 201.0
