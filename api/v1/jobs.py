"""`/jobs`: ask many charge points for something, so many at a time, and see how far that is."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.moment import Moment
from api.problems import ProblemRoute, not_found
from api.v1.caller import Caller, Operator, Viewer, accepted, result_of
from api.v1.lists import Page, answer, listed, newest_first, oldest_first, shown
from application.jobs import Filter, JobRequest, request_job
from commands.job import CancelJob, JobStatus, PauseJob, ResumeJob, RetryJob
from domain.job import AT_ONCE_MOST, ITEMS_MOST
from domain.remote_command import EXPIRY_LONGEST
from domain.work import step_id
from projections.store import Condition, Document, eq, is_in
from streams.log.envelope import Reply

routes = APIRouter(route_class=ProblemRoute, tags=["jobs"])

STATES: Final = "^(waiting|running|paused|cancelling|cancelled|done|failed)$"
ITEM_STATES: Final = "^(pending|out|waiting|succeeded|failed|cancelled)$"
_NOT_BEGUN: Final = (None, "waiting")
"""How items stand in the read model that a cancelled job leaves where they are."""

ID: Final = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"
"""Without a dot in front: clients take `/jobs/..` for another path, and nobody could cancel that job."""
JobId = Annotated[str, Path(max_length=64, pattern=ID)]
Text = Annotated[str, Field(min_length=1, max_length=255)]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FilterInput(_Input):
    """Charge points for which all of this is so, as it is known when the job is asked for."""

    all: bool = Field(default=False, description="every charge point; alone")
    location_id: Annotated[str, Field(min_length=1, max_length=36)] | None = None
    vendor: Text | None = None
    model: Text | None = None
    firmware_version: Text | None = None
    connected: bool | None = None
    id_prefix: Annotated[str, Field(min_length=1, max_length=48)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        said = [name for name in self.model_fields_set if getattr(self, name) not in (None, False)]
        said += ["connected"] if self.connected is False else []
        if not said or (self.all and len(said) > 1):
            raise ValueError("say what is so of the charge points, or all alone")
        return self


class ChargePointsInput(_Input):
    """Either `ids` or `filter`."""

    ids: list[Annotated[str, Field(min_length=1, max_length=48)]] | None = Field(
        default=None, min_length=1, max_length=ITEMS_MOST
    )
    filter: FilterInput | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        return self


class StopInput(_Input):
    """Either so many failed items, or a share of all items in percent."""

    count: int | None = Field(default=None, ge=1, le=ITEMS_MOST)
    percent: int | None = Field(default=None, ge=1, le=100)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.count is None) == (self.percent is None):
            raise ValueError("give either count or percent")
        return self


class NewJob(_Input):
    """A remote command to many charge points: `command_type` and `parameters` as in docs/commands.md."""

    job_id: str | None = Field(default=None, max_length=64, pattern=ID)
    name: str = Field(default="", max_length=100)
    command_type: str = Field(max_length=64)
    parameters: dict[str, Any] = {}
    charge_points: ChargePointsInput
    at_once: int = Field(default=10, ge=1, le=AT_ONCE_MOST, description="out at the same time, at most")
    pause_between: int = Field(default=0, ge=0, le=3600, description="seconds from one begin to the next")
    stop_after_failures: StopInput | None = Field(
        default=None, description="pause once so many items have failed"
    )
    attempts: int = Field(default=1, ge=1, le=10, description="tries of each item")
    wait_offline_until: Moment | None = Field(
        default=None, description="wait until then for what is not connected; else that is a failed try"
    )
    expiry_seconds: int | None = Field(default=None, ge=1, le=int(EXPIRY_LONGEST.total_seconds()))
    override: bool = False

    def request(self) -> JobRequest:
        filter = self.charge_points.filter
        stop = self.stop_after_failures or StopInput.model_construct()
        return JobRequest(
            name=self.name,
            command_type=self.command_type,
            parameters=self.parameters,
            ids=tuple(self.charge_points.ids or ()),
            filter=None if filter is None else msgspec.convert(filter.model_dump(), Filter),
            at_once=self.at_once,
            pause_s=self.pause_between,
            stop_after=stop.count or 0,
            stop_percent=stop.percent or 0,
            attempts=self.attempts,
            wait_offline_until=self.wait_offline_until,
            expiry_seconds=self.expiry_seconds,
            override=self.override,
        )


@routes.post("/jobs", status_code=202)
async def create_job(body: NewJob, caller: Operator) -> Response:
    """The charge points are chosen now; what becomes of the job is read by its id."""
    key = caller.idempotency_key
    job_id = body.job_id or (_of_key(caller, key) if key else str(uuid4()))
    asked = await request_job(
        caller.services.remote_commands,
        body.request(),
        tenant=caller.own_tenant,
        job_id=job_id,
        principal=caller.by,
        role=caller.principal.role.text,
    )
    return await _answered(caller, job_id, accepted(asked))


def _of_key(caller: Caller, key: str) -> str:
    """The job's id where only an Idempotency-Key names it."""
    return caller.services.vault.digest("job_id", f"{caller.tenant}|{caller.by}|{key}")[:32]


async def _answered(caller: Caller, job_id: str, reply: Reply) -> Response:
    """202 with the job as it is then."""
    document = await caller.visible(caller.database, "jobs", job_id, reply)
    where = {"Location": f"/api/v1/jobs/{quote(job_id)}"}
    if document is None:  # the read model is behind
        status = result_of(reply, JobStatus)
        return answer({"id": job_id, "state": status.status}, 202, where)
    return answer(await _shown(caller, document), 202, where)


async def _shown(caller: Caller, document: Document) -> Document:
    out = await shown(caller, document)
    return {name: value for name, value in out.items() if name not in ("listing", "job_id")}


@routes.get("/jobs")
async def list_jobs(
    caller: Viewer,
    page: Page,
    state: Annotated[str | None, Query(pattern=STATES)] = None,
) -> Response:
    where: list[Condition] = [*page.within("created_at")]
    if state is not None:
        where.append(eq("state", state))
    return await listed(
        caller,
        caller.database,
        "jobs",
        page,
        where=where,
        sort=newest_first("created_at"),
        show=lambda document: _shown(caller, document),
    )


@routes.get("/jobs/{job_id}")
async def get_job(job_id: JobId, caller: Viewer) -> Response:
    return answer(await _shown(caller, await _job(caller, job_id)))


async def _job(caller: Caller, job_id: str) -> Document:
    document = await caller.services.store.get(caller.database, "jobs", job_id)
    if document is None:
        raise not_found(f"job {job_id}")
    return document


@routes.get("/jobs/{job_id}/items")
async def list_items(
    job_id: JobId,
    caller: Viewer,
    page: Page,
    state: Annotated[str | None, Query(pattern=ITEM_STATES)] = None,
) -> Response:
    """In the order in which they begin. `command_id` is that of the newest attempt."""
    job = await _job(caller, job_id)
    cancelled = job["state"] == "cancelled"
    where: list[Condition] = [eq("listing", str(job["listing"])), *page.within("created_at")]
    if state is not None:
        where.append(_stands(state, cancelled))

    async def show(document: Document) -> Document:
        return _item(document, cancelled)

    return await listed(
        caller, caller.database, "job_items", page, where=where, sort=oldest_first("item"), show=show
    )


def _stands(state: str, cancelled: bool) -> Condition:
    """One that is pending has no state of its own; what a cancelled job did not begin stays as it stood."""
    if state == "cancelled":
        return is_in("progress.state", _NOT_BEGUN if cancelled else ())
    if cancelled and state in ("pending", "waiting"):
        return is_in("progress.state", ())
    return eq("progress.state", None if state == "pending" else state)


def _item(document: Document, cancelled: bool) -> Document:
    progress, begun = document.get("progress"), document.get("begun")
    stands = progress if isinstance(progress, dict) else {"state": None, "reason": None, "at": None}
    state = stands["state"]
    attempt = begun["attempt"] if isinstance(begun, dict) else 0
    number = document["item"]
    assert isinstance(attempt, int) and isinstance(number, int)
    return {
        "item": number,
        "charge_point_id": document["charge_point_id"],
        "state": "cancelled" if cancelled and state in _NOT_BEGUN else state or "pending",
        "reason": stands["reason"],
        "attempt": attempt,
        "command_id": step_id(str(document["listing"]), number, attempt) if attempt else None,
        "updated_at": stands["at"],
    }


async def _told(caller: Caller, command: CancelJob | PauseJob | ResumeJob | RetryJob) -> Response:
    return await _answered(caller, command.job_id, await caller.ask(command, await caller.meta()))


@routes.post("/jobs/{job_id}/cancel", status_code=202)
async def cancel_job(job_id: JobId, caller: Operator) -> Response:
    """Nothing more begins, for good; what is out runs to its end. 409 once the job is over in another way."""
    return await _told(caller, CancelJob(tenant=caller.own_tenant, job_id=job_id, by=caller.by))


@routes.post("/jobs/{job_id}/pause", status_code=202)
async def pause_job(job_id: JobId, caller: Operator) -> Response:
    """Nothing more begins until it is resumed; what is out runs to its end."""
    return await _told(caller, PauseJob(tenant=caller.own_tenant, job_id=job_id, by=caller.by))


@routes.post("/jobs/{job_id}/resume", status_code=202)
async def resume_job(job_id: JobId, caller: Operator) -> Response:
    """It goes on, also after too many failures, which count anew."""
    return await _told(caller, ResumeJob(tenant=caller.own_tenant, job_id=job_id, by=caller.by))


@routes.post("/jobs/{job_id}/retry", status_code=202)
async def retry_job(job_id: JobId, caller: Operator) -> Response:
    """What has failed is tried again, with as many attempts as at first; a job that was over runs again."""
    return await _told(caller, RetryJob(tenant=caller.own_tenant, job_id=job_id, by=caller.by))
