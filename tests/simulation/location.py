"""A CPO in a world: it pushes a Location, an EVSE and a connector, each again and again, through api processes that
overtake one another.

What enters: api processes. What leaves: commands of rising ages in any order. In the end the newest of each stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from chargesphere import registry
from commands.base import Command
from commands.location import PatchEvse, PutConnector, PutEvse, PutLocation
from domain.location import Location, location_key
from domain.values import PartyId
from tests.simulation.keys import asked

if TYPE_CHECKING:
    from tests.simulation.checker import Facts
    from tests.simulation.world import World

CPO: Final = PartyId(country_code="NL", party_id="CPO")
AGGREGATE: Final = f"location|{location_key(CPO, '', 'LOC1')}"
PUSH: Final = "push|"
_ABOUT: Final[dict[str, Any]] = {"owner": CPO, "holder": "cpo@1", "location_id": "LOC1"}
_NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _at(age: int) -> str:
    return (_NOON + timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _connector(age: int) -> dict[str, Any]:
    return {"id": "1", "max_amperage": age, "last_updated": _at(age)}


def _evse(age: int) -> dict[str, Any]:
    first = {**_connector(0), "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "DC"}
    first["max_voltage"] = 230
    status = "AVAILABLE" if age % 4 == 1 else "CHARGING"
    return {"uid": "E1", "status": status, "connectors": [first], "last_updated": _at(age)}


def _location(age: int) -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "CPO",
        "id": "LOC1",
        "publish": True,
        "name": f"n{age}",
        "address": "Kade 1",
        "city": "Delft",
        "country": "NLD",
        "coordinates": {"latitude": "52.01000", "longitude": "4.36000"},
        "time_zone": "Europe/Amsterdam",
        "evses": [_evse(0)],
        "last_updated": _at(age),
    }


def _push(age: int) -> Command:
    """Four kinds by turns."""
    match age % 4:
        case 0:
            return PutLocation(**_ABOUT, location=_location(age))
        case 1:
            return PutEvse(**_ABOUT, evse=_evse(age))
        case 2:
            whole = {**_evse(0)["connectors"][0], **_connector(age)}
            return PutConnector(**_ABOUT, evse_uid="E1", connector=whole)
        case _:
            changes = {"status": _evse(age)["status"], "last_updated": _at(age)}
            return PatchEvse(**_ABOUT, evse_uid="E1", patch=changes)


async def course(world: World) -> None:
    """Each request is made until it is answered, as a CPO does."""
    await asked(world, lambda _: _push(0), f"{PUSH}0")
    chance = world.chance

    async def push(age: int, wait: float) -> None:
        await asyncio.sleep(wait)
        await asked(world, lambda _: _push(age), f"{PUSH}{age}")

    waits = [chance.random() * world.shape.storm / 2 for _ in range(world.shape.pushes)]
    await asyncio.gather(*(push(age, wait) for age, wait in enumerate(waits, start=1)))


def judge(facts: Facts) -> Iterator[str]:
    """Of what was decided as known and accepted, the newest of each object stands."""
    said = facts.events.get(AGGREGATE)
    if not said:
        return
    location = Location.blank(AGGREGATE)
    for _, event in said:
        registry.EVENTS.decode(msgspec.json.encode(event)).mutate(location)
    ages = [
        int(id.removeprefix(PUSH))
        for id, decisions in facts.by_command.items()
        if id.startswith(PUSH) and "refusal" not in decisions[0].entry["reply"]
    ]
    core = msgspec.json.decode(location.state.core)
    evse = msgspec.json.decode(location.state.evses["e1"])
    newest_evse = max([0, *(age for age in ages if age % 2)])
    expected = {
        "name": f"n{max(age for age in ages if age % 4 == 0)}",
        "status": _evse(newest_evse)["status"],
        "amperage": max([0, *(age for age in ages if age % 4 == 2)]),
        "last_updated": _at(max(ages)),
    }
    stands = {
        "name": core["name"],
        "status": evse["status"],
        "amperage": evse["connectors"][0]["max_amperage"],
        "last_updated": core["last_updated"],
    }
    if stands != expected:
        yield f"{stands} stands, the newest are {expected}"
