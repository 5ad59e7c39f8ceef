"""A partner's app in a world: it asks for charges by START_SESSION until it is answered, and hears what became."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any, Final

from application.partner_commands import CommandAnswer, PartnerCommands, PartnerRequest
from application.remote_commands import RemoteCommandPorts
from commands.base import Meta
from domain.delivery import COMMANDS
from domain.values import TagRef
from gateway.ocpp.versions import fits
from projections.store import HUB, StoreUnavailableError
from protocols.ocpi.v2_3_0.commands import StartSession
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


def uid_of(number: int) -> str:
    """Each start has a token of its own, so that the charge point tells how often it was asked for each."""
    return f"APP-{number}"


async def app_in(world: World) -> None:
    """The app insists on each start with the same request, as whoever has heard nothing does."""
    chance = Random(f"asks|{world.seed}|course")
    for number in range(STARTS):
        await asyncio.sleep(chance.random() * world.shape.storm / STARTS)
        evse = chance.choice((None, "E1", "E2"))
        while (answer := await _tried(world, number, evse)) is None:  # noqa: ASYNC110  # virtual time
            await asyncio.sleep(0.5)
        world.answers[number] = answer
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * world.shape.storm / 2)
            again = await _tried(world, number, evse)
            if again is not None and again.result is not answer.result:
                world.violation(
                    f"asks: {uid_of(number)} was answered {answer.result}, and then {again.result}"
                )


async def _tried(world: World, number: int, evse: str | None) -> CommandAnswer | None:
    """Through the API, which may be killed meanwhile; None for no answer."""
    process = world.processes["api-0"]
    if not process.ready or process.bus is None or not process.node.alive:
        return None
    task = world.loop.spawn(process.node, _asked(process, number, evse))
    done, _ = await asyncio.wait({task}, timeout=12.0)
    if not done:
        return None
    try:
        return task.result()
    except (LogUnavailableError, StoreUnavailableError):
        return None


async def _asked(process: Process, number: int, evse: str | None) -> CommandAnswer:
    assert process.bus is not None
    vault = process.vault
    nobody: Any = None  # the token of a command is its owner's word

    async def refer(tenant: str, id_tag: str) -> TagRef:
        key = vault.token_key("RFID", id_tag)
        return TagRef(key=key, sealed=await vault.seal(vault.subject(f"tenant:{tenant}", key), id_tag))

    async def judge(url: str) -> str:
        return ""

    ports = RemoteCommandPorts(process.store, process.bus, vault, nobody, process.clock, fits)
    partner = await process.store.get(HUB, "partners", PARTNER)
    assert partner is not None
    url = f"{PARTNER_URL}/results/{uid_of(number)}"
    token = Token(
        country_code=EMSP.country_code,
        party_id=EMSP.party_id,
        uid=uid_of(number),
        type="APP_USER",
        contract_id=uid_of(number),
        issuer="TNM",
        valid=True,
        whitelist=WhitelistType.NEVER,
        last_updated=UPDATED,
    )
    return await PartnerCommands(ports, refer, judge).start(
        PartnerRequest(
            partner_id=PARTNER,
            holder=str(partner["holder"]),
            parties=frozenset({str(EMSP)}),
            sender=None,
            to=None,
            command="START_SESSION",
            response_url=url,
            meta=Meta(command_id=f"ocpi|{number}", at=process.clock(), principal=f"partner:{PARTNER}"),
        ),
        StartSession(response_url=url, token=token, location_id="LOC1", evse_uid=evse),
    )


def judge(world: World, facts: Facts) -> Iterator[str]:
    """Each start reaches a charge point once at most; of each that was accepted one result is told, always the same,
    and one that says so only where the charge point was asked."""
    if not world.shape.asks:
        return
    told: dict[str, list[str]] = {}
    for _, uid, body in world.inbox.results:
        told.setdefault(uid, []).append(body["result"])
    reached = Counter(uid for point in world.charge_points for uid in point.starts)
    for number, answer in sorted(world.answers.items()):
        uid = uid_of(number)
        if answer.result is not CommandResponseType.ACCEPTED:
            yield f"{uid} was answered {answer.result}: {answer.message}"
            continue
        if reached[uid] > 1:
            yield f"{uid} reached charge points {reached[uid]} times"
        results = told.get(uid, [])
        if len(set(results)) > 1:
            yield f"of {uid} was told {results}"
        if not results and not _given_up(facts, number):
            yield f"what became of {uid} was never told"
        if "ACCEPTED" in results and not reached[uid]:
            yield f"{uid} is said to be accepted and reached no charge point"


def _given_up(facts: Facts, number: int) -> bool:
    events = facts.events.get(f"delivery|{EMSP}|{COMMANDS}|ocpi-{number}", [])
    return bool(events) and events[-1][1]["type"] == "delivery.given_up.v1"
