"""The root of everything that this system raises on purpose."""

from __future__ import annotations


class ChargeSphereError(Exception):
    """Its text is one line for whoever reads it."""
