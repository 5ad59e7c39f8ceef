"""A long series enters, a short one that still spans it leaves; the same one for the same series, always."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def thinned(series: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of them, evenly spread, the last and the first among them; all where they are no more."""
    last = len(series) - 1
    if last < most:
        return series
    if most < 2:
        return series[len(series) - max(most, 0) :]
    return [series[i * last // (most - 1)] for i in range(most)]
