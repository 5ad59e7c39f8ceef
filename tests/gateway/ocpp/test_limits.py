"""Buckets, paces and shares."""

from __future__ import annotations

import asyncio

import pytest

from gateway.ocpp import Options
from gateway.ocpp.limits import Buckets, Guesses, Paces, Shares
from tests.gateway.ocpp.fakes import World


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(rate=1, burst=2)
    assert [buckets.take("a", 0) for _ in range(3)] == [True, True, False]
    assert not buckets.take("a", 0.5)
    assert buckets.take("a", 1.0)
    assert buckets.take("b", 1.0)


def test_a_bucket_is_full_while_nothing_of_it_is_used() -> None:
    buckets = Buckets(rate=1, burst=2)
    assert buckets.full("a", 0)
    buckets.take("a", 0)
    assert not buckets.full("a", 0.5)
    buckets.give_back("a", 0.5)
    assert buckets.full("a", 0.5)


def test_the_bucket_used_longest_ago_is_forgotten_first() -> None:
    buckets = Buckets(rate=0, burst=1, most=2)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)


GUESSES = Options(
    guesses_per_charge_point=0.2,
    guess_burst=10,
    guesses_per_address=1,
    address_guess_burst=20,
    reserve_per_address=0.001,
    address_reserve=5,
)


def may(guesses: Guesses, charge_point: str, address: str, now: float = 0) -> bool:
    return guesses.take(charge_point, address, now) is not None


def test_ten_guesses_at_a_charge_point_then_one_in_five_seconds_from_wherever() -> None:
    guesses = Guesses(GUESSES)
    assert [may(guesses, "demo|CP-1", f"a{n}") for n in range(11)] == [True] * 10 + [False]
    assert [may(guesses, "demo|CP-1", "b", seconds) for seconds in (4.9, 5.0, 5.1)] == [False, True, False]


def test_an_address_that_tried_too_often_still_has_a_try_where_nobody_guessed() -> None:
    guesses = Guesses(GUESSES)
    for n in range(20):
        assert may(guesses, f"demo|T-{n % 4}", "nat")
    assert not may(guesses, "demo|T-0", "nat")
    assert may(guesses, "demo|CP-1", "nat")
    assert may(guesses, "demo|CP-1", "elsewhere")


def test_who_tries_one_password_at_each_of_many_charge_points_is_held_up_too() -> None:
    guesses = Guesses(GUESSES)
    assert [may(guesses, f"demo|T-{n}", "nat") for n in range(26)] == [True] * 25 + [False]
    assert may(guesses, "demo|T-26", "elsewhere")


def test_a_chosen_word_costs_an_address_as_much_as_ten_keys() -> None:
    guesses = Guesses(GUESSES)
    assert [guesses.take(f"demo|T-{n}", "nat", 0, heavy=True) is not None for n in range(3)] == [
        True,
        True,
        False,
    ]
    assert may(guesses, "demo|T-9", "nat"), "what is left of the reserve is enough for a key"


@pytest.mark.parametrize("before", [0, 20])
def test_a_try_that_is_given_back_is_none(before: int) -> None:
    guesses = Guesses(GUESSES)
    for n in range(before):
        assert may(guesses, f"demo|T-{n}", "a")
    for _ in range(100):
        guess = guesses.take("demo|CP-1", "a", 0)
        assert guess is not None
        guess.give_back(0)


def test_who_repeats_itself_uses_up_nobody_elses_tries() -> None:
    guesses = Guesses(GUESSES)
    assert [guesses.may_repeat("demo|CP-1", "a", 0) for _ in range(11)] == [True] * 10 + [False]
    assert guesses.may_repeat("demo|CP-1", "b", 0)
    assert may(guesses, "demo|CP-1", "a")


async def test_a_tenants_messages_are_spread_to_its_rate() -> None:
    tenant = World().tenant(messages_per_second=10.0)
    paces = Paces()
    waits = [paces.wait(tenant, 0.0) for _ in range(22)]
    assert waits == pytest.approx([*[0.0] * 20, 0.1, 0.2])
    assert paces.wait(World().tenant(messages_per_second=0.0), 0.0) == 0.0


async def test_one_tenants_storm_waits_and_does_not_hold_up_another() -> None:
    w = World()
    small, other = w.tenant("small", worker_pool_size=1), w.tenant("other", queue_enabled=False)
    shares = Shares()
    held = [shares.of(small) for _ in range(Shares.EACH)]
    for place in held:
        await place.__aenter__()
    waiting = asyncio.create_task(shares.of(small).__aenter__())
    async with shares.of(other):
        await asyncio.sleep(0)
        assert not waiting.done()
    await held[0].__aexit__(None, None, None)
    await waiting


async def test_a_tenants_share_is_that_of_its_pool_and_follows_it() -> None:
    w, shares = World(), Shares()
    for size in (2, 3, 1):
        tenant = w.tenant("demo", worker_pool_size=size)
        for _ in range(size * Shares.EACH):
            await asyncio.wait_for(shares.of(tenant).__aenter__(), 1)
        waiting = asyncio.create_task(shares.of(tenant).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
