"""When what waits to be appended goes, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from streams.log.departures import HASTE_S, PATIENCE_S, Departures
from tests.simulation.loop import SimLoop


class Station:
    """Whatever waits, and when it left."""

    def __init__(self) -> None:
        self.departures = Departures(self._go)
        self.waiting: list[str] = []
        self.left: list[tuple[float, list[str]]] = []
        self._began = asyncio.get_running_loop().time()

    def _go(self) -> None:
        passed = asyncio.get_running_loop().time() - self._began
        self.left.append((round(passed, 4), self.waiting))
        self.waiting = []

    def patiently(self, what: str) -> None:
        self.waiting.append(what)
        self.departures.patiently()

    def in_haste(self, what: str) -> None:
        self.waiting.append(what)
        self.departures.soon()


def left_by(act: Callable[[Station], Awaitable[None]]) -> list[tuple[float, list[str]]]:
    loop: SimLoop = SimLoop(Random(1))  # type: ignore[abstract]

    async def run() -> list[tuple[float, list[str]]]:
        station = Station()
        await act(station)
        await asyncio.sleep(1.0)
        assert not station.waiting
        return station.left

    return loop.run_until_complete(run())


def test_at_rest_it_goes_at_once_with_all_that_is_there_in_the_same_moment() -> None:
    async def act(station: Station) -> None:
        station.patiently("a")
        station.patiently("b")
        station.in_haste("c")

    assert left_by(act) == [(0.0, ["a", "b", "c"])]


def test_the_patient_go_together_20_ms_after_the_departure_before() -> None:
    async def act(station: Station) -> None:
        station.patiently("a")
        await asyncio.sleep(0.004)
        station.patiently("b")
        await asyncio.sleep(0.004)
        station.patiently("c")

    assert left_by(act) == [(0.0, ["a"]), (PATIENCE_S, ["b", "c"])]


def test_who_is_in_haste_takes_the_patient_along_5_ms_after_the_departure_before() -> None:
    async def act(station: Station) -> None:
        station.patiently("a")
        await asyncio.sleep(0.001)
        station.patiently("b")
        await asyncio.sleep(0.001)
        station.in_haste("c")
        await asyncio.sleep(0.010)
        station.in_haste("d")

    assert left_by(act) == [(0.0, ["a"]), (HASTE_S, ["b", "c"]), (0.012, ["d"])]


@pytest.mark.parametrize(("haste", "most"), [(False, 51), (True, 201)])
def test_however_much_there_is_departures_are_few(haste: bool, most: int) -> None:
    async def act(station: Station) -> None:
        for number in range(1000):
            (station.in_haste if haste else station.patiently)(str(number))
            await asyncio.sleep(0.001)

    left = left_by(act)
    assert len(left) <= most
    assert [name for _, names in left for name in names] == [str(number) for number in range(1000)]
