"""An API key: a credential of its own for a service, which a tenant's admin makes, limits and revokes.

The secret itself stands nowhere: `secret_digest` is its keyed hash. Who asked for an event stands in its decision.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Final

import msgspec

from domain.access import Grant
from domain.aggregate import Aggregate, Event

LONGEST_NAME: Final = 100
OVERLAP: Final = timedelta(hours=1)
LONGEST_OVERLAP: Final = timedelta(days=7)
"""How long the secret before still counts after another one was made: by default, and at most."""


def key_aggregate_id(tenant: str, key_id: str) -> str:
    """`tenant` is empty for a key of the platform."""
    return f"key|{tenant}|{key_id}"


class KeyState(msgspec.Struct, kw_only=True, omit_defaults=True):
    tenant: str = ""
    name: str = ""
    grant: Grant = Grant(role="")
    secret_digest: str = ""
    previous_digest: str = ""
    revoked: bool = False


class Key(Aggregate[KeyState]):
    """`key|{tenant}|{id}`."""

    kind: ClassVar[str] = "key"
    state_type = KeyState


class KeyCreated(Event, frozen=True, kw_only=True, tag="key.created.v1"):
    """It may do what its grant says from now on."""

    tenant: str
    name: str
    grant: Grant
    secret_digest: str

    def apply(self, aggregate: Key) -> None:
        state = aggregate.state
        state.tenant, state.name, state.grant = self.tenant, self.name, self.grant
        state.secret_digest = self.secret_digest


class KeyRotated(Event, frozen=True, kw_only=True, tag="key.rotated.v1"):
    """It has another secret; the one before counts until `previous_until`, and none before that one."""

    secret_digest: str
    previous_digest: str
    previous_until: datetime

    def apply(self, aggregate: Key) -> None:
        aggregate.state.secret_digest = self.secret_digest
        aggregate.state.previous_digest = self.previous_digest


class KeyRevoked(Event, frozen=True, kw_only=True, tag="key.revoked.v1"):
    """It opens nothing any more, for good."""

    def apply(self, aggregate: Key) -> None:
        aggregate.state.revoked = True


AGGREGATE_EVENTS = (KeyCreated, KeyRotated, KeyRevoked)
