"""A job that somebody asks for: checked, its charge points chosen once, its items listed, and handed to the log.

What enters: who asks, for what, and for which charge points, named or by a filter. What leaves: the decision's reply,
whose `result` is a `commands.job.JobStatus`, or what is wrong with the request. Items are listed in portions before
the job is asked for: whoever dies in between leaves no job.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import msgspec

from application.remote_commands import (
    Place,
    RemoteCommandPorts,
    configuration_in,
    may_not_tell,
    not_switched_on,
    sealed_in,
)
from commands.base import Command, Meta, Refusal
from commands.job import FindJob, RequestJob
from commands.job_items import ListItems
from commands.remote_command_request import ONE_EACH, ask, session_to_stop
from commands.remote_command_rules import ParameterError
from domain.intents import Intent
from domain.job import ITEMS_MOST, LONGEST, Limits
from domain.job_items import PORTION
from domain.tenant import BOUNDS, Configuration
from domain.values import JSONObject
from domain.work import RemoteCommandWork
from projections.job import UNDER_WAY
from projections.store import Condition, Query, ReadStore, Sort, eq, every, is_in, prefix, tenant_database
from projections.store.port import MAX_LIMIT
from streams.log.envelope import Reply

UNKNOWN_MOST: Final = 100
"""Charge points that the read model does not show, for which the log itself is asked."""
UNDER_WAY_MOST: Final = 100
"""Jobs of a tenant that are not over, paused ones too, as the read model knows them: each may have 100 items out."""
WAITED_FOR: Final = timedelta(minutes=1)
"""Longer than anybody waits for the answer to a request."""
WORK_MOST: Final = 100_000
"""Bytes of what is asked of each charge point: it stands in every portion and in every command."""
ANSWER_LONGEST: Final = timedelta(seconds=BOUNDS["message_timeouts.call_seconds"][1])
"""What a tenant may give a charge point for its answer at most: it may be set anew while the job runs, and a place
that is given back before the answer would be one more out than was said."""
SLACK: Final = timedelta(minutes=5)
"""How long after a command's longest time its outcome is waited for."""
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
"""At this time none of a request's times is over: what is wrong with it then is always wrong."""


class Filter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Charge points by what is known of them; all that is said must be so. `all` where nothing else is said."""

    all: bool = False
    location_id: str | None = None
    vendor: str | None = None
    model: str | None = None
    firmware_version: str | None = None
    connected: bool | None = None
    id_prefix: str | None = None

    def conditions(self) -> tuple[Condition, ...]:
        fields = (
            ("location.id", self.location_id),
            ("vendor", self.vendor),
            ("model", self.model),
            ("firmware_version", self.firmware_version),
            ("connected", self.connected),
        )
        found = [eq(name, value) for name, value in fields if value is not None]
        return (*found, prefix("_id", self.id_prefix)) if self.id_prefix else tuple(found)


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `ids` or `filter`; `pause_s` in seconds; `stop_percent` is of all items."""

    name: str = ""
    command_type: str
    parameters: JSONObject
    ids: tuple[str, ...] = ()
    filter: Filter | None = None
    at_once: int
    pause_s: int = 0
    stop_after: int = 0
    stop_percent: int = 0
    attempts: int = 1
    wait_offline_until: datetime | None = None
    expiry_seconds: int | None = None
    override: bool = False


async def request_job(
    ports: RemoteCommandPorts,
    request: JobRequest,
    *,
    tenant: str,
    job_id: str,
    principal: str,
    role: str,
) -> Reply | ParameterError:
    """The reply: accepted with the job's status, CONFLICT where the id was used for another job, FORBIDDEN and
    NOT_ALLOWED as for one remote command. The same id with the same request is the same job, whatever its filter
    would find by now, which of its times are over and what its tenant has switched off. One that is not decided
    while a command of it may wait to be sent, or in the first minute, is refused as EXPIRED.

    Raises LogUnavailableError, StoreUnavailableError, DestroyedError."""
    intent = _intent(ports, request, _BEFORE_ALL)
    if isinstance(intent, ParameterError):
        return intent
    if (refused := may_not_tell(intent, role)) is not None:
        return refused
    fingerprint = ports.vault.digest("job", msgspec.json.encode(request, order="deterministic").decode())
    listing = uuid4().hex

    async def told(command: Command, step: str, who: str = "", within: timedelta | None = None) -> Reply:
        id, at = f"job|{tenant}|{job_id}|{listing}|{step}", ports.clock()
        deadline = None if within is None else at + within
        meta = Meta(command_id=id, at=at, tenant=tenant, correlation_id=id, principal=who, deadline=deadline)
        return await ports.bus.ask(command, meta)

    there = await told(FindJob(tenant=tenant, job_id=job_id, fingerprint=fingerprint), "find")
    if there.refusal is not Refusal.UNKNOWN:
        return there
    now = ports.clock()
    intent = _intent(ports, request, now)
    if isinstance(intent, ParameterError):
        return intent
    configuration = await configuration_in(ports.store, tenant)
    if (refused := not_switched_on(intent, request.command_type, configuration)) is not None:
        return refused
    if await _under_way(ports.store, tenant) >= UNDER_WAY_MOST:
        message = f"{UNDER_WAY_MOST} jobs are under way: one has to end, or be cancelled, before the next"
        return Reply(refusal=Refusal.NOT_ALLOWED, message=message)
    limits = _limits(request, configuration, now)
    if isinstance(limits, ParameterError):
        return limits
    about = await _chosen(ports, tenant, request)
    if isinstance(about, ParameterError):
        return about
    work = RemoteCommandWork(
        command_type=request.command_type,
        intent=await sealed_in(ports.vault, tenant, "job", f"{tenant}|{job_id}", intent),
        expiry_s=request.expiry_seconds or configuration.message_timeouts.expiry_seconds,
        override=request.override,
        by=principal,
    )
    if len(msgspec.json.encode(work)) > WORK_MOST:
        return ParameterError("parameters", f"must have at most {WORK_MOST} bytes in a job")
    for number, first in enumerate(range(0, len(about), PORTION)):
        portion = ListItems(
            tenant=tenant,
            job_id=job_id,
            listing=listing,
            portion=number,
            about=tuple(about[first : first + PORTION]),
            work=work,
        )
        listed = await told(portion, f"list-{number}")
        if listed.refusal is not None:
            return listed
    share = -(-len(about) * request.stop_percent // 100)
    job = RequestJob(
        tenant=tenant,
        job_id=job_id,
        name=request.name,
        listing=listing,
        items=len(about),
        selection=_selection(request),
        work=work,
        limits=msgspec.structs.replace(limits, stop_after=request.stop_after or share),
        fingerprint=fingerprint,
        by=work.by,
    )
    return await told(job, "request", work.by, max(timedelta(seconds=work.expiry_s), WAITED_FOR))


def _intent(ports: RemoteCommandPorts, request: JobRequest, now: datetime) -> Intent | ParameterError:
    """What is asked of each charge point, or what is wrong with it at this time."""
    if isinstance(session_to_stop(request.command_type, request.parameters), str):
        intent = ask(request.command_type, request.parameters, now, ports.fits)
    else:
        intent = ParameterError("parameters.session_id", "names no transaction of many charge points")
    if isinstance(intent, ParameterError) or request.command_type in ONE_EACH:
        return intent
    return ParameterError("command_type", "is for one charge point at a time, not for a job")


async def _under_way(store: ReadStore, tenant: str) -> int:
    return await store.count(Query(tenant_database(tenant), "jobs", (is_in("state", UNDER_WAY),)))


def _limits(request: JobRequest, configuration: Configuration, now: datetime) -> Limits | ParameterError:
    until = request.wait_offline_until
    if until is not None and not now < until <= now + LONGEST:
        return ParameterError("wait_offline_until", f"must lie within the next {LONGEST.days} days")
    expiry = timedelta(seconds=request.expiry_seconds or configuration.message_timeouts.expiry_seconds)
    return Limits(
        at_once=request.at_once,
        pause_s=request.pause_s,
        attempts=request.attempts,
        patience_s=int((expiry + ANSWER_LONGEST + SLACK).total_seconds()),
        wait_until=until,
    )


def _selection(request: JobRequest) -> JSONObject:
    """As it was asked for, in a few words: the items themselves say which they were."""
    if request.filter is None:
        return {"ids": len(request.ids)}
    filter: JSONObject = msgspec.to_builtins(request.filter)
    return {"filter": filter}


async def _chosen(
    ports: RemoteCommandPorts, tenant: str, request: JobRequest
) -> Sequence[str] | ParameterError:
    """The charge points, each once: as named, or those that the filter finds, in the order of their ids."""
    db = tenant_database(tenant)
    if request.filter is not None:
        found: list[str] = []
        query = Query(db, "charge_points", request.filter.conditions(), (Sort("_id"),), limit=MAX_LIMIT)
        async for document in every(ports.store, query):
            found.append(str(document["_id"]))
            if len(found) > ITEMS_MOST:
                return ParameterError("charge_points.filter", f"finds more than {ITEMS_MOST} charge points")
        return found or ParameterError("charge_points.filter", "finds no charge point")
    ids = list(dict.fromkeys(request.ids))
    known: set[str] = set()
    for first in range(0, len(ids), MAX_LIMIT):
        known |= (await ports.store.versions(db, "charge_points", ids[first : first + MAX_LIMIT])).keys()
    missing = [id for id in ids if id not in known]
    for number, id in enumerate(missing):
        place = Place(ports, tenant, id, principal="")
        if number >= UNKNOWN_MOST or await place.unknown() is not None:
            return ParameterError(
                f"charge_points.ids[{request.ids.index(id)}]", "there is no such charge point"
            )
    return ids
