"""What can be asked of an API key: to exist, to have another secret, to be revoked.

Whether who asks may hand that much on is settled at the edge, which knows who asks (`domain.access.exceeds`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.access import Grant, wrong_in
from domain.clock import later
from domain.key import (
    LONGEST_NAME,
    LONGEST_OVERLAP,
    OVERLAP,
    Key,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    key_aggregate_id,
)


class _OfKey(Command, frozen=True, kw_only=True):
    """`tenant` is empty for a key of the platform."""

    area: ClassVar[Area] = Area.KEY
    tenant: str = ""
    key_id: str

    @property
    def aggregate_id(self) -> str:
        return key_aggregate_id(self.tenant, self.key_id)


class CreateKey(_OfKey, frozen=True, kw_only=True, tag="key.create.v1"):
    """A new key with the keyed hash of its secret."""

    name: str
    grant: Grant
    secret_digest: str


class RotateKey(_OfKey, frozen=True, kw_only=True, tag="key.rotate.v1"):
    """Another secret; the one that counts now still does for `overlap_seconds`."""

    secret_digest: str
    overlap_seconds: int = int(OVERLAP.total_seconds())


class RevokeKey(_OfKey, frozen=True, kw_only=True, tag="key.revoke.v1"):
    """It shall open nothing any more; said again it is as true."""


def create(key: Key, command: CreateKey, meta: Meta) -> Outcome:
    state = key.state
    if key.exists:
        same = (state.name, state.grant) == (command.name, command.grant)
        if same and state.secret_digest == command.secret_digest and not state.revoked:
            return Accepted()
        return Rejected(Refusal.ALREADY_EXISTS, "a key with this id was made before")
    if not 0 < len(command.name) <= LONGEST_NAME:
        return Rejected(Refusal.INVALID, f"name: must have 1 to {LONGEST_NAME} characters")
    if wrong := wrong_in(command.grant, command.tenant, meta.at):
        return Rejected(Refusal.INVALID, wrong)
    key.trigger(
        KeyCreated,
        meta.at,
        tenant=command.tenant,
        name=command.name,
        grant=command.grant,
        secret_digest=command.secret_digest,
    )
    return Accepted()


def rotate(key: Key, command: RotateKey, meta: Meta) -> Outcome:
    state = key.state
    if not key.exists:
        return Rejected(Refusal.UNKNOWN, f"key {command.key_id[:40]} is not known")
    if state.revoked:
        return Rejected(Refusal.NOT_ALLOWED, "the key was revoked: make another one")
    if state.grant.expires_at is not None and state.grant.expires_at <= meta.at:
        return Rejected(Refusal.NOT_ALLOWED, "the key has expired: make another one")
    if command.secret_digest == state.secret_digest:
        return Accepted()
    if command.secret_digest == state.previous_digest:
        return Rejected(Refusal.CONFLICT, "this secret was replaced already")
    most = int(LONGEST_OVERLAP.total_seconds())
    if not 0 <= command.overlap_seconds <= most:
        return Rejected(Refusal.INVALID, f"overlap_seconds: must be from 0 to {most}")
    key.trigger(
        KeyRotated,
        meta.at,
        secret_digest=command.secret_digest,
        previous_digest=state.secret_digest,
        previous_until=later(meta.at, timedelta(seconds=command.overlap_seconds)),
    )
    return Accepted()


def revoke(key: Key, command: RevokeKey, meta: Meta) -> Outcome:
    if not key.exists:
        return Rejected(Refusal.UNKNOWN, f"key {command.key_id[:40]} is not known")
    if not key.state.revoked:
        key.trigger(KeyRevoked, meta.at)
    return Accepted()


ROUTES: dict[type[Command], Route] = {
    CreateKey: Route(Key, create),
    RotateKey: Route(Key, rotate),
    RevokeKey: Route(Key, revoke),
}
