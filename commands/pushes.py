"""What can be asked of a partition's account of pushes: take it over, report, hand it over, try one object again."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.pushes import (
    Asked,
    HandedOver,
    Mark,
    Named,
    Pushes,
    Reported,
    RetryRequested,
    TakenOver,
    Waiting,
    pushes_id,
)
from domain.values import PartyId


class _OfPushes(Command, frozen=True, kw_only=True):
    """Replies are not remembered: who gets none asks anew, and what is said again is as true."""

    area: ClassVar[Area] = Area.DELIVERY
    remembered: ClassVar[bool] = False
    module: str
    partition: int

    @property
    def aggregate_id(self) -> str:
        return pushes_id(self.module, self.partition)


class TakeOver(_OfPushes, frozen=True, kw_only=True, tag="pushes.take_over.v1"):
    """`by` holds the partition now. The reply is an `Account`."""

    by: str


class Report(_OfPushes, frozen=True, kw_only=True, tag="pushes.report.v1"):
    """What was told meanwhile, by the holder of `epoch`. The reply is a `Standing`; STALE: somebody else holds it.

    `number` grows with each report of an epoch: one that comes after a later one does not count. What was asked for
    was heard up to the account's version `heard`. `last`: it sends nothing any more. Once somebody else has taken
    over, only that counts of it.
    """

    epoch: int
    through: int = 0
    waiting: tuple[Waiting, ...] = ()
    told: tuple[Named, ...] = ()
    behind: dict[str, Mark] = {}
    caught_up: tuple[str, ...] = ()
    heard: int = 0
    number: int = 0
    last: bool = False


class RetryPush(_OfPushes, frozen=True, kw_only=True, tag="pushes.retry.v1"):
    """Try this object again now, whatever became of it."""

    remembered: ClassVar[bool] = True
    to: PartyId
    object_id: str
    by: str = ""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What is known, for who takes it over."""

    epoch: int
    clear: bool
    through: int
    waiting: tuple[Waiting, ...] = ()
    behind: dict[str, Mark] = {}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`clear`: whoever held it before sends nothing any more. `retries` were asked for."""

    clear: bool
    retries: tuple[Asked, ...] = ()


def take_over(pushes: Pushes, command: TakeOver, meta: Meta) -> Outcome:
    pushes.trigger(TakenOver, meta.at, by=command.by)
    state = pushes.state
    return Accepted(
        Account(
            epoch=state.epoch,
            clear=state.clear,
            through=state.through,
            waiting=tuple(state.waiting.values()),
            behind=dict(state.behind),
        )
    )


def report(pushes: Pushes, command: Report, meta: Meta) -> Outcome:
    state = pushes.state
    if command.epoch != state.epoch or not state.held:
        if command.last and state.held and command.epoch == state.before and not state.clear:
            pushes.trigger(HandedOver, meta.at, epoch=command.epoch)
            return Accepted()
        return Rejected(Refusal.STALE, f"epoch {command.epoch} is over: it is {state.epoch}")
    if command.number < state.number:
        return Rejected(Refusal.STALE, f"report {command.number} comes after {state.number}")
    heard = any(one.version <= command.heard for one in state.retries)
    news = heard or bool(command.waiting or command.told or command.behind or command.caught_up)
    if news or command.through != state.through:
        pushes.trigger(
            Reported,
            meta.at,
            through=command.through,
            waiting=command.waiting,
            told=command.told,
            behind=command.behind,
            caught_up=command.caught_up,
            heard=command.heard,
            number=command.number,
        )
    if command.last:
        pushes.trigger(HandedOver, meta.at, epoch=command.epoch)
    return Accepted(Standing(clear=state.clear, retries=tuple(state.retries)))


def retry(pushes: Pushes, command: RetryPush, meta: Meta) -> Outcome:
    if not pushes.exists:
        return Rejected(Refusal.UNKNOWN, f"nothing of {command.module} {command.object_id} is on its way")
    pushes.trigger(RetryRequested, meta.at, to=command.to, object_id=command.object_id, by=command.by)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    TakeOver: Route(Pushes, take_over),
    Report: Route(Pushes, report),
    RetryPush: Route(Pushes, retry),
}
