"""A job: items begin → their work is issued → what became of it → the next items begin.

items_begun → the portions in which they stand · issued → what is done for each, by its kind of work · a remote
command's outcome → the item's · an item waits → its charge point tells once it is connected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from commands.base import Command, Meta, Policy
from commands.charge_point import AwaitConnection
from commands.job import ConcludeItem, NoteReached
from commands.job_items import IssueItems
from commands.remote_command import RequestRemoteCommand
from domain.aggregate import Event
from domain.charge_point.events import AwaitedConnectionMade
from domain.clock import lasting, later
from domain.job import JobItemsBegun, JobItemWaited
from domain.job_items import JobItemsIssued, portion_of
from domain.remote_command import RemoteCommandConcluded
from domain.work import RemoteCommandWork, Work, step_id


def begun(event: JobItemsBegun, meta: Meta) -> Sequence[Command]:
    return tuple(
        IssueItems(
            tenant=event.tenant,
            job_id=event.job_id,
            listing=event.listing,
            portion=portion,
            items=tuple(items),
            begun_at=event.timestamp,
        )
        for portion, items in groupby(
            sorted(event.items, key=lambda one: one.item), key=lambda one: portion_of(one.item)
        )
    )


def issued(event: JobItemsIssued, meta: Meta) -> Sequence[Command]:
    return STEPS[type(event.work)](event, event.work)


def remote_commands(event: JobItemsIssued, work: RemoteCommandWork) -> Sequence[Command]:
    """One for each item, known by the attempt; it may wait to be sent for so long since the item began, so that
    nothing of it is left to come once the item has had its time."""
    return tuple(
        RequestRemoteCommand(
            tenant=event.tenant,
            command_id=step_id(item.listing, item.item, item.attempt),
            charge_point_id=item.about,
            command_type=work.command_type,
            intent=work.intent,
            fingerprint=step_id(item.listing, item.item, item.attempt),
            by=work.by,
            expires_at=later(event.begun_at, lasting(work.expiry_s)),
            override=work.override,
            job=item,
        )
        for item in event.items
    )


STEPS: Mapping[type[Work], Callable[[JobItemsIssued, RemoteCommandWork], Sequence[Command]]] = {
    RemoteCommandWork: remote_commands
}
"""What is done for items, by their kind of work; what became of each is told to the job by a `ConcludeItem`."""


def concluded(event: RemoteCommandConcluded, meta: Meta) -> Sequence[Command]:
    """An answer that comes after all corrects its command, no item."""
    if event.job is None or event.late:
        return ()
    return (
        ConcludeItem(
            tenant=meta.tenant,
            item=event.job,
            succeeded=event.status == "accepted",
            unreached=event.unreached,
            reason=event.reason
            if event.status == "failed"
            else f"{event.status}: {event.reason}".strip(": "),
        ),
    )


def waited(event: JobItemWaited, meta: Meta) -> Sequence[Command]:
    return (
        AwaitConnection(
            tenant=event.tenant, charge_point_id=event.item.about, item=event.item, until=event.until
        ),
    )


def connected(event: AwaitedConnectionMade, meta: Meta) -> Sequence[Command]:
    return tuple(NoteReached(tenant=meta.tenant, item=item) for item in event.items)


POLICIES: dict[type[Event], Policy] = {
    JobItemsBegun: begun,
    JobItemsIssued: issued,
    RemoteCommandConcluded: concluded,
    JobItemWaited: waited,
    AwaitedConnectionMade: connected,
}
