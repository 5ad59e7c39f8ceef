"""What ends a command before it has begun."""

from __future__ import annotations

from domain.errors import ChargeSphereError


class CannotBeginError(ChargeSphereError):
    """One line for the user; exit status 2."""
