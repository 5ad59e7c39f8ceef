"""Which scope a route needs: what its router's tag names, to read or to write. It stands nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_of(tags: Sequence[object], method: str) -> str:
    """`chargepoints:read` of a route with the tag `charge points` that is got; the first tag counts."""
    resource = str(tags[0]).lower().replace(" ", "")
    return f"{resource}:{'read' if method.upper() in READS else 'write'}"
