"""Wishes in a world: variables and reservations that an operator wants, or not any more, and what must be true."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from commands.charge_point import GiveUpReservation, Reserve, WantAvailability, WantVariables
from domain.charge_point.availability import AvailabilityWish
from domain.charge_point.wanted import PUSHES_MOST, Wish, same
from domain.intents import Availability
from domain.values import TagRef
from tests.simulation.facts import TENANT
from tests.simulation.job import insisted

if TYPE_CHECKING:
    from tests.simulation.charge_point import ChargePoint
    from tests.simulation.checker import Facts
    from tests.simulation.world import World

KEY: Final = "MeterValueSampleInterval"
LONG: Final = timedelta(hours=5)
"""The time of reservations that are given up: nothing but that ends them in a world."""


async def course(world: World) -> None:
    """The operator asks until there is an answer, whatever it is."""
    chance = Random(f"wishes|{world.seed}|course")
    for number in range(2 + chance.randrange(4)):
        await asyncio.sleep(chance.random() * world.shape.storm / 3)
        whose: dict[str, Any] = {"tenant": TENANT, "charge_point_id": chance.choice(world.charge_points).id}
        if number == 0 or chance.random() < 0.3:
            wish = Wish(key=KEY, value=chance.choice(("60", "30.0", "900")))
            await insisted(world, WantVariables(**whose, wishes=(wish,)), f"want-{number}")
            continue
        given_up = chance.random() < 0.6
        lasts = LONG if given_up else timedelta(seconds=10 + 30 * chance.random())
        if chance.random() < 0.3:
            usable = AvailabilityWish(connector_id=0, availability=chance.choice(tuple(Availability)))
            await insisted(world, WantAvailability(**whose, wish=usable), f"usable-{number}")
            continue
        reserve = Reserve(
            **whose,
            connector_id=0,
            id_tag=TagRef(key="k-nobody"),
            sealed_tag="NOBODY",
            expires_at=world.processes["api-0"].clock() + lasts,
            reference=f"r{number}",
        )
        await insisted(world, reserve, f"reserve-{number}")
        if given_up:
            await asyncio.sleep(chance.random() * world.shape.storm / 3)
            await insisted(world, GiveUpReservation(**whose, reference=f"r{number}"), f"give-up-{number}")


def unfinished(world: World) -> Iterator[str]:
    """A reason to wait; one that never hears half of what it is asked is not waited for."""
    if not world.shape.wishes:
        return
    from tests.simulation.checker import read

    facts = read(world)
    for point in world.charge_points:
        events = _events(facts, point)
        yield from (f"reservation {id} of {point.id} runs" for id in _running(point, events))
        if point.quirks.deaf:
            continue
        yield from (f"{point.id} holds {number}, which is over" for number in _held(point))
        state, _ = _wished(events)
        if state == "pending":
            yield f"what is wanted of {point.id} is pending"
        if _availability(events) == "pending":
            yield f"the availability that is wanted of {point.id} is pending"


def judge(world: World, facts: Facts) -> Iterator[str]:
    """Pushed three times at most and then shown; what is in sync is so; a reservation ends once, and what was given
    up is held by nobody."""
    if not world.shape.wishes:
        return
    for point in world.charge_points:
        events = _events(facts, point)
        yield from (f"{point.id}: {wrong}" for wrong in _walked(events))
        yield from (f"{point.id}: reservation {id} never ended" for id in _running(point, events))
        if point.quirks.deaf:
            continue
        yield from (f"{point.id} holds {number}, which is over" for number in _held(point))
        state, wanted = _wished(events)
        if state == "in_sync" and not same(wanted, point.variables[KEY]):
            yield f"{point.id} has {point.variables[KEY]}, not {wanted}, and is shown in sync"
        if wanted and state == "pending":
            yield f"{point.id} was never told {wanted}"
        if _availability(events) == "pending":
            yield f"{point.id} was never told whether it may be used"


def _events(facts: Facts, point: ChargePoint) -> list[dict[str, Any]]:
    return [event for _, event in facts.events.get(f"charge_point|{TENANT}|{point.id}", [])]


def _walked(events: list[dict[str, Any]]) -> Iterator[str]:
    pushes, told, ended = 0, 0, set()
    for event in events:
        match event["type"]:
            case "charge_point.variables_wanted.v1":
                pushes = 0
            case "charge_point.call_requested.v1" if event["intent"]["kind"] == "set_variable":
                pushes += 1
                if pushes > PUSHES_MOST:
                    yield f"pushed for the {pushes}. time"
            case "charge_point.variables_compared.v1" if event["found"][0]["state"] == "in_sync":
                pushes = 0
            case "charge_point.availability_wanted.v1":
                told = 0
            case "charge_point.call_requested.v1" if event["intent"]["kind"] == "change_availability":
                told += 1
                if told > PUSHES_MOST:
                    yield f"told for the {told}. time whether it may be used"
            case "charge_point.availability_compared.v1" if not event.get("answered"):
                told = 0 if event["state"] == "in_sync" else told
            case "charge_point.reservation_ended.v1":
                if event["reservation_id"] in ended:
                    yield f"reservation {event['reservation_id']} ended twice"
                ended.add(event["reservation_id"])


def _running(point: ChargePoint, events: list[dict[str, Any]]) -> list[str]:
    """Reservations that did not end; of one that never hears half of what it is asked, those whose time is over."""
    kinds = ("charge_point.reservation_requested.v1", "charge_point.reservation_ended.v1")
    begun, over = (
        {event["reservation_id"]: event for event in events if event["type"] == kind} for kind in kinds
    )
    return [
        id
        for id, event in begun.items()
        if id not in over and not (point.quirks.deaf and _is_long(event["received_at"], event["expires_at"]))
    ]


def _is_long(since: str, until: str) -> bool:
    return datetime.fromisoformat(until) - datetime.fromisoformat(since) > LONG / 2


def _wished(events: list[dict[str, Any]]) -> tuple[str, str]:
    """How the wish stands, and what it is."""
    state = wanted = ""
    for event in events:
        if event["type"] == "charge_point.variables_wanted.v1":
            state, wanted = "pending", event["wishes"][0]["value"]
        elif event["type"] == "charge_point.variables_compared.v1":
            state = event["found"][0]["state"]
    return state, wanted


def _availability(events: list[dict[str, Any]]) -> str:
    """How the wish stands."""
    state = ""
    for event in events:
        if event["type"] == "charge_point.availability_wanted.v1":
            state = "pending"
        elif event["type"] == "charge_point.availability_compared.v1":
            state = event["state"]
    return state


def _held(point: ChargePoint) -> list[int]:
    """What it holds for a long time: all of that was given up."""
    soon: datetime = point.now() + LONG / 2
    return sorted(number for number, until in point.held.items() if until > soon)
