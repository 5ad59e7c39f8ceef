"""A job in a world: an operator who insists on it, and what must be true of it in the log."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from commands.base import Command, Meta, Refusal
from commands.job import CancelJob, FindJob, PauseJob, RequestJob, ResumeJob, RetryJob
from commands.job_items import ListItems
from domain.intents import ClearCache
from domain.job import Limits
from domain.work import RemoteCommandWork, step_id
from streams.log import LogUnavailableError
from streams.log.envelope import Reply
from tests.simulation.facts import CHARGE_POINTS, TENANT

if TYPE_CHECKING:
    from tests.simulation.checker import Facts
    from tests.simulation.processes import Process
    from tests.simulation.world import World

JOB: Final = "job-1"
BY: Final = "operator:ann"
ABOUT: Final = (*CHARGE_POINTS, "CP-NOBODY")
PATIENCE_S: Final = 120
UNHEARD: Final = "nothing was heard of it in time"


async def job_in(world: World) -> None:
    """The operator asks until there is an answer, and does something else about it meanwhile perhaps."""
    chance = Random(f"job|{world.seed}|course")
    await asyncio.sleep(chance.random() * world.shape.storm / 2)
    waits = timedelta(seconds=20 + 20 * chance.random()) if chance.random() < 0.7 else None
    limits = Limits(
        at_once=chance.choice((1, 2, 3)),
        pause_s=chance.choice((0, 0, 2)),
        stop_after=chance.choice((0, 0, 2)),
        attempts=chance.choice((1, 2)),
        patience_s=PATIENCE_S,
        wait_until=None if waits is None else world.processes["api-0"].clock() + waits,
    )
    number = 0
    while not await _tried(world, _requested(world, limits, number)):
        number += 1
    deed = chance.choice(("none", "none", "cancel", "pause"))
    await asyncio.sleep(chance.random() * world.shape.storm / 2)
    if deed == "cancel":
        await insisted(world, CancelJob(tenant=TENANT, job_id=JOB, by=BY), "cancel")
        return
    if deed == "pause":
        await insisted(world, PauseJob(tenant=TENANT, job_id=JOB, by=BY), "pause")
        await asyncio.sleep(chance.random() * world.shape.storm / 2)
    await insisted(world, RetryJob(tenant=TENANT, job_id=JOB, by=BY), "retry")
    while not _over(world):  # also where too many have failed
        await insisted(world, ResumeJob(tenant=TENANT, job_id=JOB, by=BY), f"resume-{number}")
        number += 1
        await asyncio.sleep(5.0)


def _over(world: World) -> bool:
    from tests.simulation.checker import read

    events = read(world).events.get(f"job|{TENANT}|{JOB}", [])
    return bool(events) and events[-1][1]["type"] == "job.ended.v1"


async def _requested(world: World, limits: Limits, number: int) -> bool:
    """As `application.jobs` does it: found, else listed and asked for. Whether it is there now."""
    process = world.processes["api-0"]
    listing = f"l{number}"
    work = RemoteCommandWork(command_type="clear_cache", intent=ClearCache(), expiry_s=15, by=BY)
    found = await _told(process, FindJob(tenant=TENANT, job_id=JOB, fingerprint="f"), f"find-{number}")
    if found.refusal is not Refusal.UNKNOWN:
        return found.refusal is None
    portion = ListItems(tenant=TENANT, job_id=JOB, listing=listing, portion=0, about=ABOUT, work=work)
    await _told(process, portion, f"list-{number}")
    request = RequestJob(
        tenant=TENANT,
        job_id=JOB,
        listing=listing,
        items=len(ABOUT),
        selection={"ids": len(ABOUT)},
        work=work,
        limits=limits,
        fingerprint="f",
        by=BY,
    )
    within = timedelta(seconds=work.expiry_s)
    return (await _told(process, request, f"request-{number}", within)).refusal is None


async def _told(process: Process, command: Command, id: str, within: timedelta | None = None) -> Reply:
    assert process.bus is not None
    at = process.clock()
    deadline = None if within is None else at + within
    meta = Meta(command_id=f"{JOB}|{id}", at=at, tenant=TENANT, principal=BY, deadline=deadline)
    return await process.bus.ask(command, meta)


async def insisted(world: World, command: Command, id: str) -> None:
    """Asked again until it is answered, whatever the answer is."""

    async def asked() -> bool:
        await _told(world.processes["api-0"], command, id)
        return True

    while not await _tried(world, asked()):
        pass


async def _tried(world: World, asking: Any) -> bool:
    """Through the API, which may be killed meanwhile."""
    process = world.processes["api-0"]
    if not process.ready or process.bus is None or not process.node.alive:
        asking.close()
        await asyncio.sleep(0.5)
        return False
    task = world.loop.spawn(process.node, asking)
    done, _ = await asyncio.wait({task}, timeout=12.0)
    if not done:
        return False
    try:
        return bool(task.result())
    except LogUnavailableError:
        return False


def unfinished(world: World) -> Iterator[str]:
    """A reason to wait."""
    if world.shape.job and not _over(world):
        yield f"{JOB} is not over"


def judge(world: World, facts: Facts) -> Iterator[str]:
    """Never more items out than was said, each attempt begun, issued and called once, each item ended once for each
    time that it was to be tried, by what became of its remote command; and in the end the job is over."""
    if not world.shape.job:
        return
    issued = _issued(facts)
    for attempt, times in issued.items():
        if times > 1:
            yield f"{attempt} was issued {times} times"
    calls: dict[str, int] = defaultdict(int)
    outcomes: dict[str, str] = {}
    for aggregate, events in facts.events.items():
        rest = aggregate.partition("|")[2]
        for _, event in events:
            if event["type"] == "charge_point.call_requested.v1" and event["command_id"].startswith("job-"):
                calls[event["command_id"]] += 1
            if event["type"] == "remote_command.concluded.v1" and not event.get("late"):
                outcomes[rest.partition("|")[2]] = event["status"]
    for id, times in calls.items():
        if times > 1:
            yield f"{id} was called {times} times"
    said = [event for _, event in facts.events.get(f"job|{TENANT}|{JOB}", [])]
    if not said:
        yield f"{JOB} was never there"
        return
    yield from _walked(said, outcomes)
    for aggregate, events in facts.events.items():
        if aggregate.startswith("charge_point|"):
            for key in _untold([event for _, event in events]):
                yield f"{aggregate} has connected and did not tell {key}"


def _untold(events: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Items that waited for a connection which was made."""
    awaiting: dict[tuple[str, int], str] = {}
    owed: set[tuple[str, int]] = set()
    for event in events:
        match event["type"]:
            case "charge_point.connection_awaited.v1":
                awaiting[event["item"]["listing"], event["item"]["item"]] = event["until"]
            case "charge_point.connected.v1":
                owed |= {key for key, until in awaiting.items() if until > event["received_at"]}
            case "charge_point.awaited_connection_made.v1":
                for one in event["items"]:
                    awaiting.pop((one["listing"], one["item"]), None)
                    owed.discard((one["listing"], one["item"]))
    return owed


def _issued(facts: Facts) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for aggregate, events in facts.events.items():
        if aggregate.startswith("job_items|"):
            for _, event in events:
                if event["type"] == "job_items.issued.v1":
                    for one in event["items"]:
                        found[step_id(one["listing"], one["item"], one["attempt"])] += 1
    return found


def _walked(events: list[dict[str, Any]], outcomes: dict[str, str]) -> Iterator[str]:
    first = events[0]
    out: dict[int, int] = {}
    attempts: dict[int, int] = defaultdict(int)
    ended: dict[int, bool] = {}
    cancelled = over = False
    for event in events:
        if over and event["type"] != "job.retried.v1":
            yield f"{event['type']} after the end"
        match event["type"]:
            case "job.items_begun.v1":
                for one in event["items"]:
                    item, attempt = one["item"], one["attempt"]
                    if item in out or item in ended or attempt != attempts[item] + 1 or cancelled:
                        yield f"item {item} began for the {attempt}. time, out {out}, ended {ended}"
                    out[item] = attempts[item] = attempt
                if len(out) > first["limits"].get("at_once", 1):
                    yield f"{len(out)} items were out at once"
            case "job.items_ended.v1":
                for item in event["items"]:
                    if item in ended:
                        yield f"item {item} ended twice"
                    ended[item] = event.get("succeeded", False)
                    id = step_id(first["listing"], item, out.pop(item, attempts[item]))
                    known = event.get("reason") == UNHEARD or event.get("waited", False)
                    if not known and ended[item] != (outcomes.get(id) == "accepted"):
                        yield f"item {item} ended with {ended[item]}, {id} is {outcomes.get(id)}"
            case "job.item_tried_in_vain.v1":
                id = step_id(first["listing"], event["item"], out.pop(event["item"]))
                if outcomes.get(id) == "accepted" and event.get("reason") != UNHEARD:
                    yield f"item {event['item']} was tried in vain, {id} is accepted"
            case "job.item_waited.v1":
                out.pop(event["item"]["item"])
            case "job.retried.v1":
                for item in event["items"]:
                    del ended[item]
                over = False
            case "job.cancelled.v1":
                cancelled = True
            case "job.ended.v1":
                over = True
                expected = "cancelled" if cancelled else "done" if all(ended.values()) else "failed"
                if event["status"] != expected or out:
                    yield f"it ended as {event['status']}, not as {expected}, with {out} out"
                if not cancelled and len(ended) != first["items"]:
                    yield f"of {first['items']} items {sorted(ended)} ended"
    if not over:
        yield "it is not over"
