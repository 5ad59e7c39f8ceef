"""A partner's app in a world: it asks for charges by START_SESSION until it is answered, and hears what became."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from application.partner_commands import CommandAnswer, PartnerCommands, PartnerRequest
from application.remote_commands import RemoteCommandPorts
from commands.base import Meta
from domain.delivery import COMMANDS
from domain.values import TagRef
from gateway.ocpp.versions import fits
from projections.store import HUB, StoreUnavailableError
from protocols.ocpi.v2_3_0.commands import StartSession, StopSession
from protocols.ocpi.v2_3_0.enums import CommandResponseType, WhitelistType
from protocols.ocpi.v2_3_0.tokens import Token
from streams.log import LogUnavailableError
from tests.simulation.facts import EMSP, PARTNER_URL, UPDATED

if TYPE_CHECKING:
    from tests.simulation.checker import Facts
    from tests.simulation.processes import Process
    from tests.simulation.world import World

STARTS: Final = 3
PARTNER: Final = "tnm"
Asking = Callable[["Process"], Coroutine[Any, Any, CommandAnswer]]


async def app_in(world: World) -> None:
    """The app insists on each command with the same request, as whoever has heard nothing does.

    Each start has a token of its own, so that the charge point tells how often it was asked for each. What the
    partner was told of as running it stops.
    """
    chance = Random(f"asks|{world.seed}|course")
    for number in range(STARTS):
        await asyncio.sleep(chance.random() * world.shape.storm / STARTS)
        evse = chance.choice((None, "E1", "E2"))
        await _insisted(world, f"APP-{number}", partial(_start, name=f"APP-{number}", evse=evse), chance)
        running = [id for _, id, body in world.inbox.sessions if body["status"] == "ACTIVE"]
        if running:
            name = f"STOP-{number}"
            await _insisted(world, name, partial(_stop, name=name, session=chance.choice(running)), chance)


async def _insisted(world: World, name: str, ask: Asking, chance: Random) -> None:
    while (answer := await _tried(world, ask)) is None:  # noqa: ASYNC110  # virtual time
        await asyncio.sleep(0.5)
    world.answers[name] = answer
    if chance.random() < 0.3:
        await asyncio.sleep(chance.random() * world.shape.storm / 2)
        again = await _tried(world, ask)
        if again is not None and again.result is not answer.result and name.startswith("APP"):
            world.violation(f"asks: {name} was answered {answer.result}, and then {again.result}")


async def _tried(world: World, ask: Asking) -> CommandAnswer | None:
    """Through the API, which may be killed meanwhile; None for no answer."""
    process = world.processes["api-0"]
    if not process.ready or process.bus is None or not process.node.alive:
        return None
    task = world.loop.spawn(process.node, ask(process))
    done, _ = await asyncio.wait({task}, timeout=12.0)
    if not done:
        return None
    try:
        return task.result()
    except (LogUnavailableError, StoreUnavailableError):
        return None


def _commands(process: Process) -> PartnerCommands:
    assert process.bus is not None
    vault = process.vault
    nobody: Any = None  # the token of a command is its owner's word

    async def refer(tenant: str, id_tag: str) -> TagRef:
        key = vault.token_key("RFID", id_tag)
        return TagRef(key=key, sealed=await vault.seal(vault.subject(f"tenant:{tenant}", key), id_tag))

    async def judge(url: str) -> str:
        return ""

    ports = RemoteCommandPorts(process.store, process.bus, vault, nobody, process.clock, fits)
    return PartnerCommands(ports, refer, judge)


async def _request(process: Process, command: str, name: str) -> PartnerRequest:
    partner = await process.store.get(HUB, "partners", PARTNER)
    assert partner is not None
    return PartnerRequest(
        partner_id=PARTNER,
        holder=str(partner["holder"]),
        parties=frozenset({str(EMSP)}),
        sender=None,
        to=None,
        command=command,
        response_url=f"{PARTNER_URL}/results/{name}",
        endpoints=(PARTNER_URL,),
        meta=Meta(command_id=f"ocpi|{name}", at=process.clock(), principal=f"partner:{PARTNER}"),
    )


async def _start(process: Process, *, name: str, evse: str | None) -> CommandAnswer:
    request = await _request(process, "START_SESSION", name)
    token = Token(
        country_code=EMSP.country_code,
        party_id=EMSP.party_id,
        uid=name,
        type="APP_USER",
        contract_id=name,
        issuer="TNM",
        valid=True,
        whitelist=WhitelistType.NEVER,
        last_updated=UPDATED,
    )
    body = StartSession(response_url=request.response_url, token=token, location_id="LOC1", evse_uid=evse)
    return await _commands(process).start(request, body)


async def _stop(process: Process, *, name: str, session: str) -> CommandAnswer:
    request = await _request(process, "STOP_SESSION", name)
    body = StopSession(response_url=request.response_url, session_id=session)
    return await _commands(process).stop(request, body)


def judge(world: World, facts: Facts) -> Iterator[str]:
    """Each start reaches a charge point once at most; of each command that was accepted one result is told, always
    the same, and one that says that a charge begins only where the charge point was asked."""
    from tests.simulation.checker import bereft

    if not world.shape.asks:
        return
    told: dict[str, list[str]] = {}
    for _, name, body in world.inbox.results:
        told.setdefault(name, []).append(body["result"])
    reached = Counter(uid for point in world.charge_points for uid in point.starts)
    for name, answer in sorted(world.answers.items()):
        starts = name.startswith("APP")
        if answer.result is not CommandResponseType.ACCEPTED:
            if starts:
                yield f"{name} was answered {answer.result}: {answer.message}"
            continue
        if starts and reached[name] > 1:
            yield f"{name} reached charge points {reached[name]} times"
        results = told.get(name, [])
        if len(set(results)) > 1:
            yield f"of {name} was told {results}"
        # Where a lost end may hold a command back for ever, no world waits for the others either.
        if not results and not _given_up(facts, name) and not bereft(world):
            yield f"what became of {name} was never told"
        if starts and "ACCEPTED" in results and not reached[name]:
            yield f"{name} is said to be accepted and reached no charge point"


def _given_up(facts: Facts, name: str) -> bool:
    events = facts.events.get(f"delivery|{EMSP}|{COMMANDS}|ocpi-{name}", [])
    return bool(events) and events[-1][1]["type"] == "delivery.given_up.v1"
