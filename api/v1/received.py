"""`/sessions/received` and `/cdrs/received`: what CPOs pushed of charges at their charge points.

A tenant sees those of its own tokens; a platform admin who names none sees all, those that went on to eMSPs too.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Response

from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Viewer
from api.v1.lists import MASK, Page, answer, listed, newest_first, plain
from application.bearers import private_fields
from projections.store import HUB, JSON, Condition, Document, eq, gt

sessions = APIRouter(route_class=ProblemRoute, tags=["sessions"])
cdrs = APIRouter(route_class=ProblemRoute, tags=["CDRs"])

Party = Annotated[str | None, Query(max_length=6, description="the CPO, CC*PID")]
_OBJECT: Final = {"sessions": "session", "cdrs": "cdr"}
_INNER: Final = ("holder", "source", "private", "start_date_time", "explanation", "warnings")
"""Fields of the documents that stand for the hub, or elsewhere in the answer."""


@sessions.get("/sessions/received")
async def list_sessions(
    caller: Viewer,
    page: Page,
    party: Party = None,
    status: Annotated[
        str | None, Query(pattern="^(ACTIVE|COMPLETED|INVALID|PENDING|RESERVATION)$", description="OCPI's")
    ] = None,
) -> Response:
    where = [eq("session.status", status)] if status is not None else []
    return await _listed(caller, page, "sessions", party, where)


@sessions.get("/sessions/received/{session_id:path}")
async def get_session(session_id: str, caller: Viewer) -> Response:
    """`session_id` is `CC*PID|id`, as in the list."""
    return await _got(caller, "sessions", session_id)


@cdrs.get("/cdrs/received")
async def list_cdrs(
    caller: Viewer,
    page: Page,
    party: Party = None,
    check: Annotated[
        str | None,
        Query(
            pattern="^(equal|differs|not_checked)$", description="what it comes to when it is priced again"
        ),
    ] = None,
) -> Response:
    where = [eq("check.outcome", check)] if check is not None else []
    return await _listed(caller, page, "cdrs", party, where)


@cdrs.get("/cdrs/received/{cdr_id:path}")
async def get_cdr(cdr_id: str, caller: Viewer) -> Response:
    """`cdr_id` is `CC*PID|id`, as in the list. What was priced again stands under `check`, with each difference."""
    return await _got(caller, "cdrs", cdr_id)


async def _listed(
    caller: Caller, page: Page, module: str, party: str | None, where: list[Condition]
) -> Response:
    where += page.within("last_updated")
    where.append(gt("source", "") if caller.tenant is None else eq("receiver_tenant", caller.tenant))
    if party is not None:
        where.append(eq("party", party.upper()))
    return await listed(
        caller,
        HUB,
        module,
        page,
        where=where,
        sort=newest_first("last_updated"),
        show=lambda document: _shown(caller, module, document),
    )


async def _got(caller: Caller, module: str, id: str) -> Response:
    document = await caller.services.store.get(HUB, module, id)
    if document is None or not document.get("source"):
        raise not_found(f"{_OBJECT[module]} {id}")
    if caller.tenant is not None and document["receiver_tenant"] != caller.tenant:
        raise not_found(f"{_OBJECT[module]} {id}")
    return answer(await _shown(caller, module, document))


async def _shown(caller: Caller, module: str, document: Document) -> Document:
    """The OCPI object, with its token for those who may see people."""
    rest = {name: value for name, value in plain(document).items() if name not in _INNER}
    sealed, field, vault = rest.pop("cdr_token", None), _OBJECT[module], caller.services.vault
    token: JSON = None
    private: Document = {}
    if sealed:
        opened = await vault.open(str(sealed)) if caller.sees_people else None
        token = msgspec.json.decode(opened) if opened is not None else MASK
    if caller.sees_people:
        private = msgspec.json.decode(msgspec.json.encode(await private_fields(vault, document)))
    body = rest[field]
    assert isinstance(body, dict)
    out: Document = {
        **rest,
        "tenant_id": document["receiver_tenant"],
        field: {**body, **private, "cdr_token": token},
    }
    del out["receiver_tenant"]
    if module == "cdrs":
        check = document["check"]
        lines: Document = {"explanation": document["explanation"], "warnings": document["warnings"]}
        out["check"] = {**check, **lines} if isinstance(check, dict) else None
        out.setdefault("delivery", None)
    return out
