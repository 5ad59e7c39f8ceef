"""Every noun's tables, put together once: events, routes, timers, policies, read models, indexes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commands import delivery as delivery_commands
from commands import directory as directory_commands
from commands import fleet as fleet_commands
from commands import foreign_cdr as foreign_cdr_commands
from commands import foreign_session as foreign_session_commands
from commands import job as job_commands
from commands import job_items as job_items_commands
from commands import key as key_commands
from commands import knocking as knocking_commands
from commands import location as location_commands
from commands import partner as partner_commands
from commands import pushes as pushes_commands
from commands import remote_command as remote_commands
from commands import session as session_commands
from commands import subject as subject_commands
from commands import tag as tag_commands
from commands import tariff as tariff_commands
from commands import tenant as tenant_commands
from commands import token as token_commands
from commands.base import Command, Handler, Route
from commands.charge_point import routes as charge_point_commands
from commands.creating import CREATING
from domain import (
    charge_point,
    delivery,
    directory,
    fleet,
    foreign_cdr,
    foreign_session,
    job,
    job_items,
    key,
    knocking,
    location,
    partner,
    pushes,
    remote_command,
    session,
    subject,
    tag,
    tariff,
    tenant,
    token,
)
from domain.aggregate import Aggregate, Event, EventRegistry
from projections import (
    audit as audit_view,
)
from projections import (
    cdr as cdr_view,
)
from projections import (
    charge_point as charge_point_view,
)
from projections import (
    delivery as delivery_view,
)
from projections import erasure
from projections import (
    foreign_cdr as foreign_cdr_view,
)
from projections import (
    foreign_session as foreign_session_view,
)
from projections import (
    frame as frame_view,
)
from projections import (
    job as job_view,
)
from projections import (
    job_items as job_items_view,
)
from projections import (
    key as key_view,
)
from projections import (
    knocking as knocking_view,
)
from projections import (
    location as location_view,
)
from projections import (
    orphan as orphan_view,
)
from projections import (
    partner as partner_view,
)
from projections import (
    placement as placement_view,
)
from projections import (
    pushes as pushes_view,
)
from projections import (
    remote_command as remote_command_view,
)
from projections import (
    reservation as reservation_view,
)
from projections import (
    sample as sample_view,
)
from projections import (
    session as session_view,
)
from projections import (
    story as story_view,
)
from projections import (
    subject as subject_view,
)
from projections import (
    tariff as tariff_view,
)
from projections import (
    tenant as tenant_view,
)
from projections import (
    token as token_view,
)
from projections.base import Blocks, Feed, View
from projections.store import HUB, IndexSpec, Insert
from streams.deciding.partition import Rules

AGGREGATES: dict[type[Aggregate[Any]], tuple[type[Event], ...]] = {
    charge_point.ChargePoint: charge_point.AGGREGATE_EVENTS,
    session.Session: session.AGGREGATE_EVENTS,
    foreign_session.ForeignSession: foreign_session.AGGREGATE_EVENTS,
    foreign_cdr.ForeignCdr: foreign_cdr.AGGREGATE_EVENTS,
    token.Token: token.AGGREGATE_EVENTS,
    tenant.Tenant: tenant.AGGREGATE_EVENTS,
    directory.Directory: directory.AGGREGATE_EVENTS,
    partner.Partner: partner.AGGREGATE_EVENTS,
    tariff.Tariff: tariff.AGGREGATE_EVENTS,
    remote_command.RemoteCommand: remote_command.AGGREGATE_EVENTS,
    delivery.Delivery: delivery.AGGREGATE_EVENTS,
    pushes.Pushes: pushes.AGGREGATE_EVENTS,
    knocking.Knocking: knocking.AGGREGATE_EVENTS,
    tag.Tag: tag.AGGREGATE_EVENTS,
    fleet.Fleet: fleet.AGGREGATE_EVENTS,
    key.Key: key.AGGREGATE_EVENTS,
    subject.Subject: subject.AGGREGATE_EVENTS,
    job.Job: job.AGGREGATE_EVENTS,
    job_items.JobItems: job_items.AGGREGATE_EVENTS,
    location.Location: location.AGGREGATE_EVENTS,
}
EVENTS = EventRegistry(AGGREGATES)
ROUTES: dict[type[Command], Route] = {
    **charge_point_commands.ROUTES,
    **session_commands.ROUTES,
    **foreign_session_commands.ROUTES,
    **foreign_cdr_commands.ROUTES,
    **token_commands.ROUTES,
    **tenant_commands.ROUTES,
    **directory_commands.ROUTES,
    **partner_commands.ROUTES,
    **tariff_commands.ROUTES,
    **remote_commands.ROUTES,
    **delivery_commands.ROUTES,
    **pushes_commands.ROUTES,
    **knocking_commands.ROUTES,
    **tag_commands.ROUTES,
    **fleet_commands.ROUTES,
    **key_commands.ROUTES,
    **subject_commands.ROUTES,
    **job_commands.ROUTES,
    **job_items_commands.ROUTES,
    **location_commands.ROUTES,
}
TIMERS: dict[str, Handler] = {
    "charge_point": charge_point_commands.TIMER,
    "remote_command": remote_commands.TIMER,
    "delivery": delivery_commands.TIMER,
    "job": job_commands.TIMER,
}
RULES = Rules(ROUTES, TIMERS, EVENTS, CREATING)

FAUST_VIEWS: tuple[View, ...] = (
    session_view.HUB_VIEW,
    session_view.TENANT_VIEW,
    cdr_view.VIEW,
    foreign_session_view.VIEW,
    foreign_cdr_view.VIEW,
    token_view.VIEW,
)
"""What Faust owns; the sweeper applies the same."""
VIEWS: tuple[View, ...] = (
    *FAUST_VIEWS,
    charge_point_view.VIEW,
    tenant_view.VIEW,
    partner_view.VIEW,
    tariff_view.VIEW,
    remote_command_view.VIEW,
    delivery_view.VIEW,
    knocking_view.VIEW,
    key_view.VIEW,
    subject_view.VIEW,
    job_view.VIEW,
    location_view.VIEW,
)
FEEDS: tuple[Feed, ...] = (
    erasure.FEED,
    charge_point_view.CREDENTIALS,
    orphan_view.ORPHANS,
    placement_view.PLACEMENTS,
    reservation_view.FEED,
    pushes_view.FEED,
    job_view.FEED,
    job_items_view.FEED,
)
BLOCKS: tuple[Blocks, ...] = (sample_view.BLOCKS,)

PUSHED = (session_view.HUB_VIEW, foreign_session_view.VIEW)
DELIVERED = (cdr_view.VIEW, foreign_cdr_view.VIEW)
"""What partners are told as it is then, and what has a delivery of its own."""

HUB_INDEXES: tuple[Callable[[], tuple[IndexSpec, ...]], ...] = (
    session_view.hub_indexes,
    foreign_session_view.indexes,
    foreign_cdr_view.indexes,
    cdr_view.indexes,
    token_view.indexes,
    tenant_view.indexes,
    partner_view.indexes,
    tariff_view.indexes,
    delivery_view.indexes,
    story_view.indexes,
    charge_point_view.hub_indexes,
    location_view.indexes,
    placement_view.indexes,
    key_view.indexes,
    subject_view.indexes,
    lambda: audit_view.indexes(HUB),
)
TENANT_INDEXES: tuple[Callable[[str], tuple[IndexSpec, ...]], ...] = (
    session_view.tenant_indexes,
    charge_point_view.tenant_indexes,
    sample_view.indexes,
    orphan_view.indexes,
    reservation_view.indexes,
    remote_command_view.indexes,
    job_view.indexes,
    job_items_view.indexes,
    frame_view.indexes,
    audit_view.indexes,
)

READINGS_EXPIRY = sample_view.readings_expiry


def told(decision: story_view.DecisionInLog) -> list[Insert]:
    """What is kept of each decision as such: its lines in stories, and the audit of what persons asked for."""
    return [*story_view.story_writes(decision), *audit_view.audit_writes(decision)]
