"""What can be asked of a delivery: want a version, report an attempt's outcome, try again by hand."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route, TimerDue
from domain.delivery import (
    GIVE_UP_AFTER,
    LEASE,
    OUTCOME_GIVE_UP_AFTER,
    AttemptDue,
    AttemptFailed,
    Delivered,
    Delivery,
    GivenUp,
    RetryRequested,
    Wanted,
    delivery_id,
    wait_before,
)
from domain.partner_command import CommandOutcome
from domain.values import PartyId


class _OfDelivery(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.DELIVERY
    to: PartyId
    module: str
    object_id: str

    @property
    def aggregate_id(self) -> str:
        return delivery_id(self.to, self.module, self.object_id)


class Want(_OfDelivery, frozen=True, kw_only=True, tag="delivery.want.v1"):
    """The party shall have `version` of the object, which the fact at `offset` of `partition` issued, or which is the
    `result` of a command."""

    recognised: ClassVar[bool] = True  # by the version
    tenant: str
    version: int
    partition: int = 0
    offset: int = -1
    result: CommandOutcome | None = None


class ReportAttempt(_OfDelivery, frozen=True, kw_only=True, tag="delivery.report_attempt.v1"):
    """How an attempt ended: `outcome` delivered, refused, unreachable, offline or unknown.

    `begun` is the version of the delivery at which the attempt began; `attempt` begins anew with each run.
    """

    recognised: ClassVar[bool] = True  # by the attempt that it is about
    attempt: int
    begun: int = 0
    outcome: str
    sent: int = 0
    http_status: int = 0
    reason: str = ""
    remote_url: str = ""


class Retry(_OfDelivery, frozen=True, kw_only=True, tag="delivery.retry.v1"):
    """Try again now, whatever became of it."""

    after_all: ClassVar[bool] = True
    by: str = ""


def want(delivery: Delivery, command: Want, meta: Meta) -> Outcome:
    state = delivery.state
    if command.version <= max(state.sent, state.wanted):
        return Accepted()
    busy = state.phase in ("in_flight", "waiting")
    delivery.trigger(
        Wanted,
        meta.at,
        to=command.to,
        module=command.module,
        object_id=command.object_id,
        tenant=command.tenant,
        wanted=command.version,
        partition=command.partition,
        offset=command.offset,
        result=command.result,
    )
    if not busy:
        _attempt(delivery, meta)
    return Accepted()


def report_attempt(delivery: Delivery, command: ReportAttempt, meta: Meta) -> Outcome:
    state = delivery.state
    under_way = state.phase == "in_flight" and command.begun == state.begun
    if command.outcome == "delivered":
        if command.sent <= state.sent and not under_way:
            return Accepted()
        due = meta.at if state.wanted > command.sent else None
        delivery.trigger(
            Delivered,
            meta.at,
            attempt=command.attempt,
            sent=command.sent,
            http_status=command.http_status,
            remote_url=command.remote_url,
            due=due,
        )
        return Accepted()
    if not under_way:
        return Rejected(Refusal.STALE, f"attempt {command.attempt} is not the one under way")
    _failed(delivery, command.outcome, command.reason, meta)
    return Accepted()


def retry(delivery: Delivery, command: Retry, meta: Meta) -> Outcome:
    if not delivery.exists:
        return Rejected(Refusal.UNKNOWN, f"nothing of {command.module} {command.object_id} is on its way")
    if delivery.state.phase == "in_flight":
        return Rejected(Refusal.NOT_ALLOWED, "an attempt is under way")
    delivery.trigger(RetryRequested, meta.at, by=command.by)
    _attempt(delivery, meta)
    return Accepted()


def timer_due(delivery: Delivery, command: TimerDue, meta: Meta) -> Outcome:
    state = delivery.state
    if state.due != command.due:
        return Accepted()
    if state.phase == "waiting":
        _attempt(delivery, meta)
    elif state.phase == "in_flight":
        _failed(delivery, "unknown", "nobody reported the outcome of the attempt", meta)
    return Accepted()


def _attempt(delivery: Delivery, meta: Meta) -> None:
    state = delivery.state
    to, module, object_id = delivery.job
    delivery.trigger(
        AttemptDue,
        meta.at,
        to=to,
        module=module,
        object_id=object_id,
        tenant=state.tenant,
        attempt=state.attempt + 1,
        wanted=state.wanted,
        partition=state.partition,
        offset=state.offset,
        lease=meta.at + LEASE,
        result=state.result,
    )


def _failed(delivery: Delivery, outcome: str, reason: str, meta: Meta) -> None:
    state = delivery.state
    due = meta.at + wait_before(state.attempt + 1)
    told = state.result is not None
    tried_at = None if outcome == "offline" and not told else state.first_tried_at
    if tried_at is not None and due > tried_at + (OUTCOME_GIVE_UP_AFTER if told else GIVE_UP_AFTER):
        delivery.trigger(GivenUp, meta.at, attempt=state.attempt, outcome=outcome, reason=reason)
    else:
        delivery.trigger(
            AttemptFailed, meta.at, attempt=state.attempt, outcome=outcome, reason=reason, due=due
        )


ROUTES: dict[type[Command], Route] = {
    Want: Route(Delivery, want),
    ReportAttempt: Route(Delivery, report_attempt),
    Retry: Route(Delivery, retry),
}
TIMER = timer_due
