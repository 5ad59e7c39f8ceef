"""The connecting of all charge points: who was refused why, and how far it came where it did not end."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any, cast

import pytest
from rich.console import Console

from bench.clients import Client
from bench.connecting import connect_all


class Process:
    """A client process that has said all it will; with no answer it never gets ready."""

    def __init__(self, connected: int, refusals: Counter[str] | None) -> None:
        self.progress = (connected, 7)
        self.orders: list[tuple[object, ...]] = []
        self._refusals = refusals

    def order(self, *order: object) -> None:
        self.orders.append(order)

    def answer(self, seconds: float) -> tuple[Any, ...]:
        if self._refusals is None:
            raise TimeoutError("nothing")
        return "connected", self._refusals


async def test_the_refusals_of_all_clients_are_counted_by_their_reason() -> None:
    one, two = Process(5, Counter({"HTTP 503": 2})), Process(5, Counter({"HTTP 503": 1, "TimeoutError": 1}))
    screen = io.StringIO()

    found = await connect_all(cast("list[Client]", [one, two]), 10, 5.0, Console(file=screen, width=200))

    assert found == {"HTTP 503": 3, "TimeoutError": 1}
    assert one.orders == two.orders == [("connect",)]
    assert "10 connected in" in screen.getvalue() and "3 HTTP 503, 1 TimeoutError" in screen.getvalue()


async def test_where_patience_ends_it_says_how_far_it_came() -> None:
    clients = cast("list[Client]", [Process(4, None), Process(5, Counter())])
    with pytest.raises(TimeoutError, match="9 of 10 charge points connected in 5 s, 14 times refused"):
        await connect_all(clients, 10, 5.0, Console(file=io.StringIO()))
