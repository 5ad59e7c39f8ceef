"""Which scope a route needs: what its router's tag names, to read or to write. It stands nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from domain.access import READ_ONLY

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_of(tags: Sequence[object], method: str) -> str:
    """`chargepoints:read` of a route with the tag `charge points` that is got; the first tag counts. Where nothing
    can be changed, whatever is asked is read."""
    resource = str(tags[0]).lower().replace(" ", "")
    reads = method.upper() in READS or resource in READ_ONLY
    return f"{resource}:{'read' if reads else 'write'}"
