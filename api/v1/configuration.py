"""`/chargepoints/{id}/configuration`: what is wanted of a charge point's variables beside what it has."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemRoute, invalid, not_found
from api.v1.caller import Caller, Operator, Viewer
from api.v1.lists import answer, empty
from commands.charge_point import WantVariables
from domain.charge_point.variable_keys import folded
from domain.charge_point.wanted import (
    KEY_MOST,
    VALUE_MOST,
    WISHES_MOST,
    VariableState,
    Wanted,
    Wish,
    wrong_in,
)
from projections.charge_point import wanted_of
from projections.store import Document

routes = APIRouter(route_class=ProblemRoute, tags=["charge points"])

Id = Annotated[str, Path(max_length=128)]
Key = Annotated[str, Path(min_length=1, max_length=KEY_MOST)]
STATES: Final = "|".join(state.value for state in VariableState)


class VariableShown(BaseModel):
    """A configuration variable (OCPP 1.6, 9)."""

    key: str
    actual: str | None = Field(description="as it said last; null where it never did")
    wanted: str | None = Field(description="null where nothing is wanted of it")
    source: str | None = Field(description="whose wish counts: `charge_point` or `tenant`")
    state: str | None = Field(description=f"{STATES.replace('|', ', ')}; null where nothing is wanted of it")
    reason: str | None = Field(
        description="why it is not as wanted, in the charge point's word where it has one"
    )
    pushes: int = Field(description="how often it was told since it was in sync; three at most")
    readonly: bool | None
    after_reboot: str | None = Field(description="what it has taken for after its next boot")


class Variables(BaseModel):
    items: list[VariableShown]
    next_cursor: None = None


class Wishes(BaseModel):
    """By key; null: nothing is wanted of it any more but what the tenant wants of all."""

    model_config = ConfigDict(extra="forbid")

    wanted: dict[
        Annotated[str, Field(max_length=KEY_MOST)], Annotated[str, Field(max_length=VALUE_MOST)] | None
    ] = Field(min_length=1, max_length=2 * WISHES_MOST)


class WishedValue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: str = Field(max_length=VALUE_MOST)


@routes.get("/chargepoints/{charge_point_id}/configuration", response_model=Variables)
async def list_variables(
    charge_point_id: Id,
    caller: Viewer,
    state: Annotated[str | None, Query(pattern=f"^({STATES})$")] = None,
) -> Response:
    """All that it told and all that is wanted, by key, in one page. Secrets are not among them (SEC-04)."""
    return _page(await _known(caller, charge_point_id), state)


@routes.patch("/chargepoints/{charge_point_id}/configuration", response_model=Variables)
async def want(charge_point_id: Id, body: Wishes, caller: Operator) -> Response:
    """Told once it is connected, read first and pushed where it has something else. The same again is tried anew."""
    document = await _want(caller, charge_point_id, body.wanted, "wanted.{}")
    return _page(document, None)


@routes.put("/chargepoints/{charge_point_id}/configuration/{key}", response_model=VariableShown)
async def want_one(charge_point_id: Id, key: Key, body: WishedValue, caller: Operator) -> Response:
    """As with PATCH, of one variable."""
    document = await _want(caller, charge_point_id, {key: body.value}, "value")
    shown = next((one for one in _shown(document) if folded(str(one["key"])) == folded(key)), None)
    return answer(shown or _item(Wanted(key=key, own=body.value), {}))  # not shown yet, or no more


@routes.delete("/chargepoints/{charge_point_id}/configuration/{key}", status_code=204)
async def want_no_more(charge_point_id: Id, key: Key, caller: Operator) -> Response:
    """What it has it keeps, unless its tenant wants something else of all."""
    await _want(caller, charge_point_id, {key: None}, "key")
    return empty()


async def _want(caller: Caller, charge_point_id: str, wanted: dict[str, str | None], field: str) -> Document:
    for key, value in wanted.items():
        if wrong := wrong_in(key, value):
            raise invalid("body", field.format(key), wrong)
    command = WantVariables(
        tenant=caller.own_tenant,
        charge_point_id=charge_point_id,
        wishes=tuple(Wish(key=key, value=value) for key, value in wanted.items()),
    )
    reply = await caller.ask(command, await caller.meta())
    document = await caller.visible(caller.database, "charge_points", charge_point_id, reply)
    if document is None:
        raise not_found(f"charge point {charge_point_id}")
    return document


def _page(document: Document, state: str | None) -> Response:
    items = [one for one in _shown(document) if state in (None, one["state"])]
    return answer({"items": items, "next_cursor": None})


def _shown(document: Document) -> list[Document]:
    configuration = document["configuration"]
    keys = configuration.get("keys") if isinstance(configuration, dict) else None
    told = {
        folded(str(one["key"])): one
        for one in (keys if isinstance(keys, list) else [])
        if isinstance(one, dict)
    }
    wanted = wanted_of(document)
    return [_item(wanted.get(name), told.get(name, {})) for name in sorted({*told, *wanted})]


def _item(one: Wanted | None, has: Document) -> Document:
    return {
        "key": one.key if one is not None else has["key"],
        "actual": has["value"] if has else one.told if one is not None else None,
        "wanted": one.value if one is not None else None,
        "source": None if one is None else "tenant" if one.own is None else "charge_point",
        "state": one.state.value if one is not None else None,
        "reason": one.reason or None if one is not None else None,
        "pushes": one.pushes if one is not None else 0,
        "readonly": has.get("readonly"),
        "after_reboot": has.get("after_reboot"),
    }


async def _known(caller: Caller, charge_point_id: str) -> Document:
    document = await caller.services.store.get(caller.database, "charge_points", charge_point_id)
    if document is None:
        raise not_found(f"charge point {charge_point_id}")
    return document
