"""What can be asked of an id tag that may charge at one charge point of its tenant at a time."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Route
from domain.clock import later
from domain.tag import CLAIM, Tag, TagClaimed, TagFreed, TagHeld, tag_aggregate_id
from domain.values import Value


class TagClaimReply(Value, frozen=True, kw_only=True):
    """Whether another charge point has the tag."""

    elsewhere: bool = False


class _OfTag(Command, frozen=True, kw_only=True):
    """A tag is found by its tenant and its key; the key is the partition's, as a token's."""

    area: ClassVar[Area] = Area.TOKEN
    tenant: str
    key: str
    charge_point_id: str

    @property
    def aggregate_id(self) -> str:
        return tag_aggregate_id(self.tenant, self.key)

    @property
    def group(self) -> str:
        return self.key


class ClaimTag(_OfTag, frozen=True, kw_only=True, tag="tag.claim.v1"):
    """A start is about to be decided. Answered with `TagClaimReply`; said again, it finds its claim."""

    remembered: ClassVar[bool] = False


class HoldTag(_OfTag, frozen=True, kw_only=True, tag="tag.hold.v1"):
    """A transaction runs with it; `told` is the version of the charge point's fact."""

    recognised: ClassVar[bool] = True

    session_id: str
    told: int


class FreeTag(_OfTag, frozen=True, kw_only=True, tag="tag.free.v1"):
    """That transaction has it no more; `told` is the version of the charge point's fact."""

    recognised: ClassVar[bool] = True

    session_id: str
    told: int


def claim(tag: Tag, command: ClaimTag, meta: Meta) -> Outcome:
    """Other charge points count; between its own connectors a charge point decides itself."""
    state, who = tag.state, command.charge_point_id
    if tag.is_elsewhere(who, meta.at):
        return Accepted(TagClaimReply(elsewhere=True))
    known = state.claims.get(who)
    if who not in state.holding.values() and (known is None or known <= meta.at):
        tag.trigger(
            TagClaimed, meta.at, tenant=command.tenant, charge_point_id=who, until=later(meta.at, CLAIM)
        )
    return Accepted(TagClaimReply())


def hold(tag: Tag, command: HoldTag, meta: Meta) -> Outcome:
    if command.told > tag.state.told.get(command.charge_point_id, 0):
        tag.trigger(
            TagHeld,
            meta.at,
            tenant=command.tenant,
            charge_point_id=command.charge_point_id,
            session_id=command.session_id,
            told=command.told,
        )
    return Accepted()


def free(tag: Tag, command: FreeTag, meta: Meta) -> Outcome:
    """Also behind what was told later: no transaction begins again that is over."""
    state = tag.state
    if command.session_id in state.holding or command.told > state.told.get(command.charge_point_id, 0):
        tag.trigger(
            TagFreed,
            meta.at,
            charge_point_id=command.charge_point_id,
            session_id=command.session_id,
            told=command.told,
        )
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    ClaimTag: Route(Tag, claim),
    HoldTag: Route(Tag, hold),
    FreeTag: Route(Tag, free),
}
