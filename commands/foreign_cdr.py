"""What can be asked of a CDR that a CPO posts: to be kept as it is, once."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.bearer import Bearer
from domain.foreign_cdr import (
    CdrCheck,
    ForeignCdr,
    ForeignCdrChecked,
    ForeignCdrPosted,
    foreign_cdr_aggregate_id,
)
from domain.values import JSONObject, PartyId, Sealed, Value

MOST_BYTES: Final = 400_000
"""Of a CDR's JSON: what the log takes as one record, with room beside it."""


class PostForeignCdr(Command, frozen=True, kw_only=True, tag="foreign_cdr.post.v1"):
    """An OCPI 2.3.0 CDR, validated and priced again at the edge; as in `ForeignCdrPosted`.

    A repeat is known by what it says, for ever: no reply is kept for it.
    """

    area: ClassVar[Area] = Area.SESSION
    remembered: ClassVar[bool] = False
    owner: PartyId
    cdr_id: str
    source: str
    bearer: Bearer
    cdr: JSONObject
    private: Sealed = ""
    session_id: str = ""
    fingerprint: str
    check: CdrCheck

    @property
    def aggregate_id(self) -> str:
        return foreign_cdr_aggregate_id(self.owner, self.cdr_id)


class PostReply(Value, frozen=True):
    """Whether the CDR is new: HTTP 201 instead of 200."""

    created: bool


def post(cdr: ForeignCdr, command: PostForeignCdr, meta: Meta) -> Outcome:
    state = cdr.state
    if cdr.exists:
        if (state.source, state.fingerprint) != (command.source, command.fingerprint):
            return Rejected(
                Refusal.CONFLICT,
                f"CDR {command.cdr_id} is known with another content: a CDR never changes; "
                "send a Credit CDR for it, and a new one with an id of its own",
            )
        return Accepted(PostReply(created=False))
    if len(msgspec.json.encode(command.cdr)) + len(command.private) > MOST_BYTES:
        return Rejected(Refusal.INVALID, f"a CDR may have {MOST_BYTES} bytes")
    cdr.trigger(
        ForeignCdrPosted,
        meta.at,
        source=command.source,
        bearer=command.bearer,
        cdr=command.cdr,
        private=command.private,
        session_id=command.session_id,
        fingerprint=command.fingerprint,
    )
    cdr.trigger(ForeignCdrChecked, meta.at, check=command.check)
    return Accepted(PostReply(created=True))


ROUTES: dict[type[Command], Route] = {PostForeignCdr: Route(ForeignCdr, post)}
