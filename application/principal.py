"""Who asks, however it was authenticated: by a token (JWT) or by an API key. One value for both."""

from __future__ import annotations

from datetime import datetime

import msgspec

from domain.access import ROLES, Grant, Role
from domain.errors import ChargeSphereError


class BadTokenError(ChargeSphereError):
    """The token or the key is no good; the message says why, without quoting it."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A platform admin has no tenant of its own. `issued_at` is that of a token and None for a key, whose id is
    then the subject."""

    subject: str
    tenant: str | None
    grant: Grant
    issued_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def role(self) -> Role:
        return ROLES[self.grant.role]

    @property
    def credential(self) -> str:
        """What it came with, for a person."""
        return "key" if self.issued_at is None else "token"

    @property
    def by(self) -> str:
        """As it stands in the log and in the audit."""
        return f"{'key' if self.issued_at is None else self.role.text}:{self.subject}"
