"""A CPO in a world: it pushes sessions and CDRs of an eMSP's token, again where nothing was answered, in any order.

What must be true of them: the newest state stands and arrives, no period twice, and each CDR once and as it was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from application.vault import StoreKeys, Vault
from commands.base import Command, Meta, Refusal
from commands.foreign_cdr import PostForeignCdr
from commands.foreign_session import PatchForeignSession, PutForeignSession
from domain.bearer import Bearer
from domain.foreign_cdr import CdrCheck
from domain.values import JSONObject, PartyId
from projections.store import HUB
from protocols.ocpi.types import to_date_time, write_date_time
from streams.log import LogUnavailableError
from streams.log.envelope import Reply
from tests.simulation.facts import EMSP, MASTER_KEY
from tests.simulation.store import SimReadStore

if TYPE_CHECKING:
    from tests.simulation.checker import Facts
    from tests.simulation.processes import Process
    from tests.simulation.world import World

CPO: Final = PartyId(country_code="FR", party_id="CPO")
SOURCE: Final = "cpo@1"
BEGAN: Final = to_date_time("2026-03-01T10:00:00Z")
AGAIN_S: Final = 12.0
UID: Final = "ROAMER"


@dataclass(slots=True)
class Charge:
    """One charge at the CPO's: what is the newest of it, and whether all that was said was answered."""

    id: str
    newest: str = ""
    ids: list[str] = field(default_factory=list)
    over: bool = False


def at(minute: int) -> str:
    return write_date_time(BEGAN + timedelta(minutes=minute))


def ours(body: JSONObject) -> bool:
    """Whether an object that a partner was sent is of a charge point of ours."""
    return body.get("party_id") != CPO.party_id


async def pushing(world: World) -> None:
    """All charges of the CPO."""
    chance = Random(f"cpo|{world.seed}|course")
    for number in range(world.shape.foreign):
        world.foreign.append(Charge(f"F{number}"))
    await asyncio.gather(*(_charge(world, charge, Random(chance.random())) for charge in world.foreign))


async def _charge(world: World, charge: Charge, chance: Random) -> None:
    """A PUT, PATCHes with a period each, the end, then the CDR; the next one does not always wait for the answer."""
    await asyncio.sleep(chance.random() * world.shape.storm / 3)
    bearer, steps = await _bearer(world), 2 + chance.randrange(4)
    charge.newest = at(steps)
    writes = [
        _put(charge, bearer),
        *(_patch(charge, minute, minute == steps) for minute in range(1, steps + 1)),
    ]
    saying: list[asyncio.Task[None]] = []
    for number, command in enumerate(writes):
        saying.append(asyncio.create_task(_insisted(world, charge, command, f"{charge.id}|{number}")))
        if chance.random() < 0.6:
            await asyncio.wait(saying)
        await asyncio.sleep(chance.random() * world.shape.storm / 6)
    await asyncio.gather(*saying)
    for number, command in enumerate(writes):
        if chance.random() < 0.4:
            await _insisted(world, charge, command, f"{charge.id}|{number}|again")
    cdr = _cdr(charge, bearer)
    await asyncio.gather(*(_insisted(world, charge, cdr, f"{charge.id}|cdr|{n}") for n in range(2)))
    await _insisted(world, charge, msgspec.structs.replace(cdr, fingerprint="other"), f"{charge.id}|other")
    charge.over = True


async def _bearer(world: World) -> Bearer:
    """As `application.bearers` says it."""
    partner = next(one for one in world.shelf.live(HUB, "partners") if one["_id"] == "tnm")
    vault = Vault(MASTER_KEY, StoreKeys(SimReadStore(world.shelf)), monotonic=world.loop.time)
    key = vault.token_key("RFID", UID)
    token: JSONObject = {"uid": UID, "type": "RFID", "contract_id": "C1"}
    token |= {"country_code": EMSP.country_code, "party_id": EMSP.party_id}
    return Bearer(
        owner=EMSP,
        holder=str(partner["holder"]),
        key=key,
        token_type="RFID",
        sealed=await vault.seal(key, msgspec.json.encode(token)),
        fingerprint="t",
    )


def _session(charge: Charge, minute: int) -> JSONObject:
    return {
        "country_code": CPO.country_code,
        "party_id": CPO.party_id,
        "id": charge.id,
        "start_date_time": at(0),
        "kwh": minute,
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "charging_periods": [_period(minute)],
        "status": "ACTIVE",
        "last_updated": at(minute),
    }


def _period(minute: int) -> JSONObject:
    return {"start_date_time": at(minute), "dimensions": [{"type": "ENERGY", "volume": 1}]}


def _put(charge: Charge, bearer: Bearer) -> Command:
    return PutForeignSession(
        owner=CPO,
        session_id=charge.id,
        source=SOURCE,
        last_updated=to_date_time(at(0)),
        bearer=bearer,
        session=_session(charge, 0),
    )


def _patch(charge: Charge, minute: int, last: bool) -> Command:
    changes = {"kwh": minute, "charging_periods": [_period(minute)], "last_updated": at(minute)}
    return PatchForeignSession(
        owner=CPO,
        session_id=charge.id,
        source=SOURCE,
        last_updated=to_date_time(at(minute)),
        version="2.3.0",
        changes={**changes, **({"status": "COMPLETED"} if last else {})},
        fingerprint=f"d{minute}",
    )


def _cdr(charge: Charge, bearer: Bearer) -> PostForeignCdr:
    location = {
        "id": "LOC1",
        "address": "Rue 1",
        "city": "Lyon",
        "country": "FRA",
        "coordinates": {"latitude": "45.76404", "longitude": "4.83566"},
        "evse_uid": "E1",
        "evse_id": "FR*CPO*E1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "SOCKET",
        "connector_power_type": "AC_3_PHASE",
    }
    body: JSONObject = {
        "country_code": CPO.country_code,
        "party_id": CPO.party_id,
        "id": f"C-{charge.id}",
        "session_id": charge.id,
        "start_date_time": at(0),
        "end_date_time": charge.newest,
        "auth_method": "WHITELIST",
        "cdr_location": location,
        "currency": "EUR",
        "charging_periods": [_period(0)],
        "total_cost": {"before_taxes": 1},
        "total_energy": 1,
        "total_time": 1,
        "last_updated": charge.newest,
    }
    return PostForeignCdr(
        owner=CPO,
        cdr_id=f"C-{charge.id}",
        source=SOURCE,
        bearer=bearer,
        cdr=body,
        fingerprint="one",
        check=CdrCheck(outcome="not_checked"),
    )


async def _insisted(world: World, charge: Charge, command: Command, id: str) -> None:
    """Asked again until it is answered; a PATCH of what is not known yet is made anew, as another request."""
    number = 0
    while True:
        name = f"cpo|{id}|{number}"
        charge.ids.append(name)
        reply = await _answered(world, command, name)
        if reply.refusal is not Refusal.UNKNOWN:
            return
        number += 1
        await asyncio.sleep(1.0)


async def _answered(world: World, command: Command, id: str) -> Reply:
    while True:
        process = world.processes["api-0"]
        if process.ready and process.bus is not None and process.node.alive:
            task = world.loop.spawn(process.node, _told(process, command, id))
            done, _ = await asyncio.wait({task}, timeout=AGAIN_S)
            if done:
                try:
                    return task.result()
                except LogUnavailableError:
                    pass
        await asyncio.sleep(0.5)


async def _told(process: Process, command: Command, id: str) -> Reply:
    assert process.bus is not None
    return await process.bus.ask(command, Meta(command_id=id, at=process.clock(), principal="partner:cpo"))


def unfinished(world: World) -> Iterator[str]:
    """A reason to wait."""
    yield from (f"the CPO's {charge.id} is not over" for charge in world.foreign if not charge.over)


def judge(world: World, facts: Facts) -> Iterator[str]:
    """The newest state stands and arrives last, never an older one after it; no period twice; each CDR once."""
    lost = {
        msgspec.json.decode(one.value)["meta"]["command_id"] for one in world.broker.lost if _is_command(one)
    }
    for charge in world.foreign:
        if lost & set(charge.ids):
            continue  # what a single broker promises no more (docs/guarantees.md)
        yield from _session_of(charge, [event for _, event in facts.events.get(_key(charge), [])])
        posted = facts.events.get(f"foreign_cdr|{CPO}|c-{charge.id.lower()}", [])
        kinds = [event["type"] for _, event in posted]
        if kinds != ["foreign_cdr.posted.v1", "foreign_cdr.checked.v1"]:
            yield f"the CDR of {charge.id} is {kinds}"
        if world.shape.effects:
            yield from _arrived(world, charge)


def _key(charge: Charge) -> str:
    return f"foreign_session|{CPO}|{charge.id.lower()}"


def _is_command(lost: Any) -> bool:
    return str(lost.place.topic).startswith("chargesphere.commands.")


def _session_of(charge: Charge, events: list[JSONObject]) -> Iterator[str]:
    periods: dict[str, int] = defaultdict(int)
    said = [event["last_updated"] for event in events if "last_updated" in event]
    for before, after in pairwise(map(_instant, said)):
        if after < before:
            yield f"{charge.id} of {before} was followed by that of {after}"
    if not said or _instant(said[-1]) != _instant(charge.newest):
        yield f"{charge.id} stands as of {said[-1:]}, the newest is of {charge.newest}"
    for event in events:
        for period in event.get("periods") or event.get("session", {}).get("charging_periods", ()):
            periods[period["start_date_time"]] += 1
    yield from (f"{charge.id} has the period of {start} {n} times" for start, n in periods.items() if n > 1)
    ended = sum(event["type"] == "foreign_session.ended.v1" for event in events)
    if ended != 1:
        yield f"{charge.id} ended {ended} times"


def _arrived(world: World, charge: Charge) -> Iterator[str]:
    told = [body for _, id, body in world.inbox.sessions if id == charge.id]
    updates = [_instant(body["last_updated"]) for body in told]
    for before, after in pairwise(updates):
        if after < before:
            yield f"the session {charge.id} of {after} arrived after that of {before}"
    if not told or (told[-1]["status"], updates[-1]) != ("COMPLETED", _instant(charge.newest)):
        yield f"the last of {len(told)} sessions {charge.id} that arrived is not its end"
    cdrs = [body for _, id, body in world.inbox.cdrs if id == f"C-{charge.id}"]
    if not cdrs:
        yield f"the CDR of {charge.id} never arrived"
    if any(body["cdr_token"]["uid"] != UID for body in (*told, *cdrs)):
        yield f"{charge.id} arrived with another token"


def _instant(text: str) -> datetime:
    return to_date_time(text)
